//! Randomness that is the same in every run.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use aws_lc_rs::digest;
use shared::{error::InternalError, random::Random};

use super::lock;

/// Random bytes that depend on a seed and on how many were drawn before.
#[derive(Debug)]
pub(crate) struct SeededRandom {
    seed: String,
    drawn: AtomicU64,
}

impl SeededRandom {
    pub(crate) fn new(seed: impl Into<String>) -> Self {
        Self { seed: seed.into(), drawn: AtomicU64::new(0) }
    }

    /// The seed of a test's nth stack is the test's name and n, so no two stacks share an id, whichever tests run
    /// beside it.
    pub(crate) fn of_this_test() -> Self {
        static STACKS: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());
        let test = thread::current().name().unwrap_or_default().to_owned();
        let mut stacks = lock(&STACKS);
        let nth = stacks.entry(test.clone()).or_default();
        *nth += 1;
        Self::new(format!("{test} {nth}"))
    }
}

impl Random for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), InternalError> {
        for chunk in bytes.chunks_mut(digest::SHA256_OUTPUT_LEN) {
            let input = format!("{} {}", self.seed, self.drawn.fetch_add(1, Relaxed));
            let output = digest::digest(&digest::SHA256, input.as_bytes());
            chunk.copy_from_slice(&output.as_ref()[..chunk.len()]);
        }
        Ok(())
    }
}
