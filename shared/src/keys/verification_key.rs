//! A public key that verifies our tokens.

use aws_lc_rs::rsa::PublicKey;
use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{error::InternalError, id::KeyId};

#[derive(Debug)]
pub struct VerificationKey {
    /// The `kid` of the tokens that it verifies.
    pub id: KeyId,
    /// SubjectPublicKeyInfo, DER (RFC 5280, 4.1).
    spki: Vec<u8>,
    rsa: PublicKey,
}

impl VerificationKey {
    pub(crate) fn new(id: KeyId, spki: Vec<u8>, context: &'static str) -> Result<Self, InternalError> {
        let rsa = PublicKey::from_der(&spki).map_err(|error| InternalError::new(context, error))?;
        Ok(Self { id, spki, rsa })
    }

    pub(crate) fn rsa(&self) -> &PublicKey {
        &self.rsa
    }

    /// The modulus, big-endian without leading zeros: `n` of a JWK (RFC 7518, 6.3.1.1).
    #[must_use]
    pub fn modulus(&self) -> &[u8] {
        self.rsa.modulus().big_endian_without_leading_zero()
    }

    /// The exponent, big-endian without leading zeros: `e` of a JWK (RFC 7518, 6.3.1.2).
    #[must_use]
    pub fn exponent(&self) -> &[u8] {
        self.rsa.exponent().big_endian_without_leading_zero()
    }

    /// The key in PEM (RFC 7468, 13).
    #[must_use]
    pub fn pem(&self) -> String {
        let base64 = STANDARD.encode(&self.spki);
        let lines = base64.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line) + "\n").collect::<String>();
        format!("-----BEGIN PUBLIC KEY-----\n{lines}-----END PUBLIC KEY-----\n")
    }
}
