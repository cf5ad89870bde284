//! Randomness, as an injected dependency: every id and secret is drawn from it.

use std::fmt::Debug;

use uuid::Uuid;

use crate::error::InternalError;

/// A cryptographically secure source of random bytes.
pub trait Random: Debug + Send + Sync {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), InternalError>;
}

impl dyn Random + '_ {
    /// `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> Result<[u8; N], InternalError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// A random UUID (RFC 9562, 5.4).
    pub fn uuid(&self) -> Result<Uuid, InternalError> {
        Ok(uuid::Builder::from_random_bytes(self.bytes()?).into_uuid())
    }
}

/// The operating system's randomness, through aws-lc's generator.
#[derive(Clone, Copy, Debug)]
pub struct SystemRandom;

impl Random for SystemRandom {
    #[expect(clippy::disallowed_methods, reason = "the one place that draws from the system")]
    fn fill(&self, bytes: &mut [u8]) -> Result<(), InternalError> {
        aws_lc_rs::rand::fill(bytes).map_err(|error| InternalError::new("draw random bytes", error))
    }
}

/// Gives the same bytes each time.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Fixed(pub(crate) [u8; 32]);

#[cfg(test)]
impl Random for Fixed {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), InternalError> {
        bytes.iter_mut().zip(self.0).for_each(|(to, from)| *to = from);
        Ok(())
    }
}
