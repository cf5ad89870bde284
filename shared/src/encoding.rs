//! SHA-256, and the texts that bytes are written as: hexadecimal, base62 and base64url.

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: impl AsRef<[u8]>) -> [u8; 32] {
    truncated(digest::digest(&digest::SHA256, bytes.as_ref()).as_ref())
}

/// The first `N` bytes of a digest, which must have that many.
#[must_use]
pub(crate) fn truncated<const N: usize>(digest: &[u8]) -> [u8; N] {
    let mut truncated = [0; N];
    truncated.iter_mut().zip(digest).for_each(|(to, from)| *to = *from);
    truncated
}

/// base64url without padding (RFC 4648, 5).
#[must_use]
pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes of a base64url text without padding; `None` if it is malformed.
#[must_use]
pub fn from_base64url(text: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// `number` (big-endian) in base 62, most significant digit first, in `LENGTH` characters: repeated long division.
pub(crate) fn base62<const LENGTH: usize>(mut number: impl AsMut<[u8]>) -> String {
    let mut text = [0; LENGTH];
    for digit in text.iter_mut().rev() {
        let remainder = number.as_mut().iter_mut().fold(0_u16, |remainder, byte| {
            let dividend = remainder << 8 | u16::from(*byte);
            *byte = u8::try_from(dividend / 62).unwrap_or(u8::MAX);
            dividend % 62
        });
        *digit = BASE62.get(usize::from(remainder)).copied().unwrap_or(b'0');
    }
    text.into_iter().map(char::from).collect()
}

/// The number (big-endian) that [`base62`] wrote as this text; `None` if it is malformed or takes more bytes.
pub(crate) fn from_base62<const BYTES: usize>(text: &str) -> Option<[u8; BYTES]> {
    let mut number = [0; BYTES];
    for character in text.bytes() {
        let digit = BASE62.iter().position(|digit| *digit == character)?;
        let carry = number.iter_mut().rev().fold(u16::try_from(digit).ok()?, |carry, byte| {
            let product = u16::from(*byte) * 62 + carry;
            *byte = u8::try_from(product & 0xff).unwrap_or(0);
            product >> 8
        });
        if carry != 0 {
            return None;
        }
    }
    Some(number)
}
