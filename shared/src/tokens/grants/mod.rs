//! The life of a grant: an authorization code, and every refresh token that descends from it.
//!
//! ```text
//!             exchange the code          rotate
//!  (issued) --------------------> (active) ---.
//!      |                           |   ^      |
//!      |                           |   '------'
//!      '------> (revoked) <--------'
//! ```
//!
//! 1. `issue-code` creates the grant with the hash of its code.
//! 2. The first exchange of the code within its lifetime makes the grant active, with a random refresh token. The grant
//!    ends at a fixed time, however often it is refreshed. If the client gets no refresh token for it, nobody learns
//!    that token, and the grant ends with its access token.
//! 3. A refresh *rotates*: the successor of the current refresh token takes its place. A token has one successor,
//!    derived from it under the salt of the grant, so that everybody who presents it gets the same one.
//! 4. The token that was rotated away last may be presented again for a short time, as long as its successor was not
//!    used: by a client whose answer was lost, or by another tab. That *repeats* the rotation and writes nothing.
//! 5. A refresh token that was rotated away earlier, a refresh token that the grant never had, or a second use of the
//!    code is a *replay*: it revokes the grant (RFC 6749, 4.1.2; RFC 9700, 4.14.2).
//!
//! A refresh token expires earlier than its grant if the client has an idle timeout. When it expires is decided at the
//! exchange and at each rotation, by the client's settings at that time, and written down. So a repeat does not extend
//! it, and a change of the settings does not shorten or lengthen it.
//!
//! Redirect URI, service, scope and PKCE are checked last: reuse is evidence of theft even if they are wrong. A request
//! from another client has no reuse window. Only its authenticated client can use a confidential client's grant, or
//! trigger its revocation by a replay.

mod decide;
mod exchange;
mod request;

pub use self::{
    exchange::{Exchanged, Grants, Issuance},
    request::{Binding, GrantRequest, PresentedGrant, RequestClient, Targets},
};
