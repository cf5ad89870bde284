//! A request for the tokens of a grant.

use crate::{
    auth::ClientCredentials,
    credential::{GrantCredential, SessionId},
    error::OauthError,
    id::ClientId,
    input::{Audience, Audiences, CodeVerifier, Scopes},
};

/// A request for tokens.
#[derive(Debug)]
pub struct GrantRequest {
    pub client: RequestClient,
    pub binding: Binding,
    /// The scopes that are asked for. `None` asks for those that were granted.
    pub scopes: Option<Scopes>,
    /// `None` at `/api/v1/tokens`, whose access tokens are for their client.
    pub targets: Option<Targets>,
    /// What is malformed in the scope or the targets. It is told after a second use was found, which it must not hide.
    pub malformed: Option<OauthError>,
    pub presented: PresentedGrant,
}

/// The APIs that a request asks for (RFC 8707).
#[derive(Debug)]
pub struct Targets {
    /// Empty: those that the login was for.
    pub requested: Vec<Audience>,
    /// That of the deployment.
    pub deployment: Audience,
}

impl Targets {
    /// The audiences of the access token, after a login for these resources; `None` if it was not for all that is
    /// requested. A login for none was for the deployment.
    pub(super) fn audiences(&self, resources: &[Audience]) -> Option<Audiences> {
        let granted = if resources.is_empty() { std::slice::from_ref(&self.deployment) } else { resources };
        let requested = if self.requested.is_empty() { granted } else { &self.requested };
        requested.iter().all(|target| granted.contains(target)).then(|| requested.to_vec().into())
    }
}

/// Which client a request is from.
#[derive(Debug)]
pub enum RequestClient {
    /// `/api/v1/tokens` authenticates no client, so it serves public clients only.
    IdOnly(ClientId),
    /// Authenticated when it is loaded.
    WithCredentials(ClientId, ClientCredentials),
    /// No `client_id`, which only a public client may omit, in a refresh. The client is the grant's.
    Omitted,
}

/// What must match the authorization request, besides PKCE.
#[derive(Debug)]
pub enum Binding {
    /// At `/api/v1/tokens`.
    ApiV1 {
        /// The login service that the user came through.
        service: String,
        redirect_uri: String,
        /// Compared in a code exchange, if the code has one.
        state: Option<String>,
        /// Compared in a code exchange, if the code has one.
        nonce: Option<String>,
    },
    /// At `/oauth2/token`, in a code exchange (RFC 6749, 4.1.3). A public client needs a PKCE challenge (RFC 9700,
    /// 2.1.1).
    Code {
        /// A client with one redirect URI may leave it out (OAuth 2.1), unless that is at a loopback host, where it may
        /// have any port.
        redirect_uri: Option<String>,
    },
    /// At `/oauth2/token`, in a refresh (RFC 6749, 6).
    Refresh,
}

/// What is presented for tokens.
#[derive(Debug)]
pub enum PresentedGrant {
    /// An authorization code (RFC 6749, 4.1.3).
    Code {
        code: GrantCredential,
        /// What answers the challenge of the authorization request (RFC 7636, 4.5).
        code_verifier: Option<CodeVerifier>,
    },
    /// A refresh token (RFC 6749, 6).
    RefreshToken(GrantCredential),
}

impl PresentedGrant {
    pub(super) fn credential(&self) -> &GrantCredential {
        match self {
            Self::Code { code: credential, .. } | Self::RefreshToken(credential) => credential,
        }
    }

    pub(super) fn session_id(&self) -> SessionId {
        self.credential().grant().session()
    }
}
