//! End-to-end tests: HTTP requests to the whole stack, the real SDK over sockets to the embedded DynamoDB and KMS.
#![cfg(test)]

mod create_app_token;
mod create_token;
mod dead;
mod envelope;
mod exchange_token;
mod faults;
mod functions;
mod harness;
mod hostile;
mod idempotency;
mod issue_code;
mod manage_tokens;
mod openapi;
mod own;
mod processes;
mod publish_keys;
mod repository;
mod signing_keys;
mod skew;
mod storms;
