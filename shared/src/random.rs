//! Randomness, as an injected dependency: ids and secrets come from it and from nothing else.

use std::fmt::Debug;

use uuid::Uuid;

use crate::fault::Fault;

/// A source of random bytes, fit for secrets.
pub trait Random: Debug + Send + Sync {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// When the source has none to give.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), Fault>;
}

impl dyn Random + '_ {
    /// `N` random bytes.
    ///
    /// # Errors
    /// When the source has none to give.
    pub fn bytes<const N: usize>(&self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// A random UUID (RFC 9562, 5.4).
    ///
    /// # Errors
    /// When the source has none to give.
    pub fn uuid(&self) -> Result<Uuid, Fault> {
        Ok(uuid::Builder::from_random_bytes(self.bytes()?).into_uuid())
    }
}

/// The operating system's randomness, through aws-lc's generator.
#[derive(Clone, Copy, Debug)]
pub struct SystemRandom;

impl Random for SystemRandom {
    #[expect(clippy::disallowed_methods, reason = "the one place that draws from the system")]
    fn fill(&self, bytes: &mut [u8]) -> Result<(), Fault> {
        aws_lc_rs::rand::fill(bytes).map_err(|error| Fault::new("draw random bytes", error))
    }
}
