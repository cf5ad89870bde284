//! The formats of requests, answers and errors that several functions have in common: one module for each family of
//! endpoints.

pub mod app_tokens;
pub mod registration_tokens;
