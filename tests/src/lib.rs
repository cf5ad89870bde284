//! End-to-end tests: HTTP requests to the whole stack, the real SDK over sockets to the embedded DynamoDB and KMS.
#![cfg(test)]

mod allowed_hosts;
mod authorize;
mod checklist;
mod create_app_token;
mod create_token;
mod dependencies;
mod documents;
mod envelope;
mod exchange_token;
mod faults;
mod functions;
mod grants;
mod harness;
mod hostile;
mod idempotency;
mod issue_code;
mod late_writes;
mod login;
mod manage_tokens;
mod oauth2;
mod openapi;
mod pages;
mod processes;
mod provision;
mod publish_keys;
mod readme;
mod repository;
mod revoked_stays_revoked;
mod sessions;
mod signing_keys;
mod skew;
mod standard_clients;
mod storms;
mod whole_answers;
mod wire_formats;
