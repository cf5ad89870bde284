//! Watches the log of the whole test run. A line that contains a secret ends the run.

use std::{
    io::{self, Write},
    sync::{Mutex, Once},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::lock;

static SECRETS: Mutex<Vec<String>> = Mutex::new(Vec::new());
static LINES: Mutex<usize> = Mutex::new(0);

/// What must not appear in the log.
pub(crate) struct Secrets;

impl Secrets {
    /// Adds a credential and its hash.
    pub(crate) fn add_credential(credential: &str) {
        assert!(!credential.is_empty());
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, credential.as_bytes());
        lock(&SECRETS).extend([credential.to_owned(), URL_SAFE_NO_PAD.encode(hash)]);
    }

    /// The secret in `line`, if there is one.
    pub(crate) fn found_in(line: &str) -> Option<String> {
        let known = lock(&SECRETS).iter().find(|secret| line.contains(secret.as_str())).cloned();
        // Credentials of every kind, JWTs, e-mail addresses, private keys.
        let forms = ["tmk_", "tma_", "tmc_", "tmr_", "eyJ", "@", "PRIVATE KEY"];
        known.or_else(|| forms.into_iter().find(|form| line.contains(form)).map(str::to_owned))
    }

    /// The number of lines that were checked.
    pub(crate) fn lines() -> usize {
        *lock(&LINES)
    }
}

/// Watches the log from now on.
pub(crate) fn guard() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = shared::runtime::telemetry::subscriber(|| Watched, tracing::level_filters::LevelFilter::INFO);
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

struct Watched;

impl Write for Watched {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        if let Some(secret) = Secrets::found_in(&text) {
            // A panic would only end the task that logged.
            // Not `eprintln!`, whose output the test runner keeps to itself.
            let _ = writeln!(io::stderr(), "a secret is in the log ({secret}): {text}");
            std::process::exit(101);
        }
        *lock(&LINES) += 1;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
