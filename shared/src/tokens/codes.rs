//! Issues authorization codes (RFC 6749, 4.1.2) for users who have logged in.

use std::fmt;

use chrono::{DateTime, Utc};

use crate::{
    clock::expiry,
    credential::{GrantCredential, GrantId},
    error::{InternalError, InvocationError, ValidationError},
    id::ClientId,
    input::{Acr, Audience, AuthenticationMethod, Claims, CodeChallenge, Language, Scopes, Subject},
    random::Random,
    runtime::telemetry::{Phase, timed},
    store::{Client, Grant, GrantDetails, GrantSettings, Store, Update},
};

/// How long a code is valid. RFC 6749, 4.1.2, recommends at most ten minutes.
pub(super) const CODE_LIFETIME_SECONDS: u32 = 120;
/// How long a grant is named among those of its user: as long as any grant can live, and two days more for clocks that
/// are wrong. What the client's grants live now is not enough: it may be raised before the code is exchanged, and a
/// session whose entry is gone could not be ended.
const SESSION_LIFETIME_SECONDS: u32 = GrantSettings::MAX_GRANT_TTL_SECONDS + 2 * 86400;

/// What a code is issued for: who logged in, and what the client asked for.
pub struct CodeRequest {
    pub client_id: ClientId,
    pub service: String,
    pub redirect_uri: String,
    pub subject: Subject,
    /// `None` asks for the client's default scopes.
    pub scopes: Option<Scopes>,
    pub state: Option<String>,
    pub nonce: Option<String>,
    pub code_challenge: Option<CodeChallenge>,
    pub auth_time: DateTime<Utc>,
    pub language: Option<Language>,
    /// The APIs that the access tokens are to be for. Empty: that of the deployment.
    pub resources: Vec<Audience>,
    pub acr: Option<Acr>,
    pub amr: Vec<AuthenticationMethod>,
    pub claims: Claims,
    pub access_token_claims: Claims,
    pub id_token_claims: Claims,
}

/// Personal data is not shown.
impl fmt::Debug for CodeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeRequest").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub struct IssuedCode {
    pub code: GrantCredential,
    pub expires_at: DateTime<Utc>,
}

/// Issues a code. `audience` is that of the deployment.
///
/// # Errors
/// If the client does not exist or is not registered for what is asked for, or a failure.
pub async fn issue(
    store: &Store,
    random: &dyn Random,
    audience: &Audience,
    request: CodeRequest,
    now: DateTime<Utc>,
) -> Result<IssuedCode, InvocationError> {
    let client = timed(Phase::Load, store.load_client(request.client_id)).await?;

    let id = GrantId::random(random)?;
    let code = GrantCredential::generate_code(&id, random)?;
    let expires_at = expiry(now, CODE_LIFETIME_SECONDS);
    let grant = Grant::issued(decide(request, client, audience, &code, expires_at)?, random)?;

    let session = id.session();
    let ttl = expiry(expires_at, SESSION_LIFETIME_SECONDS);
    let recorded = store.record_session(&grant.details, &session, now, ttl);
    // Both must be written before anybody knows the code. If one fails, the other is of no use and does no harm.
    let (created, recorded) = tokio::join!(store.create_grant(&session, &grant, now), recorded);
    recorded?;
    match created? {
        Update::Applied(()) => Ok(IssuedCode { code, expires_at }),
        // With 128 random bits a collision means that the random source is broken.
        Update::Conflict(()) | Update::Missing => {
            Err(InternalError::new("create the grant", "its random id is taken").into())
        }
    }
}

fn decide(
    request: CodeRequest,
    client: Option<Client>,
    audience: &Audience,
    code: &GrantCredential,
    code_expires_at: DateTime<Utc>,
) -> Result<GrantDetails, ValidationError> {
    let client = client
        .filter(|client| client.state.is_usable())
        .ok_or_else(|| ValidationError::new("clientId", "does not exist"))?;
    let not_registered = |field| ValidationError::new(field, "is not registered for this client");
    let service = client.services.iter().find(|service| service.as_str() == request.service);
    let redirect_uri = client.redirect_uri(&request.redirect_uri);
    let scopes = match request.scopes {
        Some(scopes) => Some(scopes).filter(|scopes| scopes.is_subset(&client.scopes)),
        None => Some(client.default_scopes.as_ref().unwrap_or(&client.scopes).clone()),
    };
    if !request.resources.iter().all(|resource| resource.is_allowed(&client.audiences, audience)) {
        return Err(not_registered("resource"));
    }
    Ok(GrantDetails {
        client_id: request.client_id,
        generation: client.state.generation,
        organization_id: client.organization_id,
        confidential: client.is_confidential(),
        service: service.ok_or_else(|| not_registered("service"))?.clone(),
        redirect_uri: redirect_uri.ok_or_else(|| not_registered("redirectUri"))?,
        subject: request.subject,
        scopes: scopes.ok_or_else(|| not_registered("scope"))?,
        state: request.state,
        nonce: request.nonce,
        code_challenge: request.code_challenge,
        auth_time: request.auth_time,
        language: request.language,
        resources: request.resources,
        acr: request.acr,
        amr: request.amr,
        claims: request.claims,
        access_token_claims: request.access_token_claims,
        id_token_claims: request.id_token_claims,
        code: code.hash(),
        code_expires_at,
    })
}
