//! `POST /oauth2/token` (RFC 6749, 3.2).
//!
//! 1. The form and its `grant_type`.
//! 2. Client authentication. Its errors take precedence over all others but those of the form itself.
//! 3. The grant: a code or refresh token, or a machine token.

use chrono::{DateTime, Utc};
use shared::{
    auth::{AuthenticatedClient, ClientCredentials, ParsedClientId},
    credential::GrantCredential,
    error::{ApiError, OauthError},
    id::TokenId,
    input::oidc::OPENID,
    input::{Audience, CodeVerifier, Parameters, Scopes},
    keys::Signer,
    keys::jwt::{TokenType, WithClaims},
    runtime::http::{Request, Response},
    store::MAX_AUDIENCES,
    tokens::grants::{Binding, GrantRequest, Issuance, PresentedGrant, RequestClient, Targets},
    tokens::machine_tokens::{MachineTokenRequest, MachineTokens},
};

use crate::{
    claims::{IdClaims, access_claims},
    endpoints::Endpoints,
    wire::TokenResponse,
};

shared::named! {
    enum GrantType {
        AuthorizationCode = "authorization_code",
        RefreshToken = "refresh_token",
        ClientCredentials = "client_credentials",
    }
}

/// What a user's client asks for.
struct GrantParameters {
    binding: Binding,
    requested: Requested,
    presented: PresentedGrant,
}

impl GrantParameters {
    /// RFC 6749, 4.1.3, and RFC 7636, 4.5. A malformed code gets the same answer as an unknown one.
    fn of_code(form: &Parameters) -> Result<Self, ApiError> {
        let code = form.required("code")?;
        let redirect_uri = form.get("redirect_uri").map(str::to_owned);
        // A malformed verifier is a wrong one, so that it does not hide a second use of the code.
        let code_verifier = form.get("code_verifier").map(CodeVerifier::of);
        let requested = targets(form).map(|targets| (None, targets));
        let code = GrantCredential::parse_code(code).ok_or_else(|| bad_credential(&requested))?;
        let presented = PresentedGrant::Code { code, code_verifier };
        Ok(Self { binding: Binding::Code { redirect_uri }, requested, presented })
    }

    /// RFC 6749, 6. A malformed refresh token gets the same answer as an unknown one.
    fn of_refresh(form: &Parameters) -> Result<Self, ApiError> {
        let token = form.required("refresh_token")?;
        let requested = requested(form);
        let token = GrantCredential::parse_refresh_token(token).ok_or_else(|| bad_credential(&requested))?;
        Ok(Self { binding: Binding::Refresh, requested, presented: PresentedGrant::RefreshToken(token) })
    }
}

/// The scopes and APIs that are asked for.
type Requested = Result<(Option<Scopes>, Vec<Audience>), OauthError>;

/// The error for a bad code or refresh token: what else is wrong, if anything.
fn bad_credential(requested: &Requested) -> ApiError {
    requested.as_ref().err().map_or(ApiError::BadCredential, |error| error.clone().into())
}

fn requested(form: &Parameters) -> Requested {
    let scopes = form.parsed("scope").map_err(|_| OauthError::InvalidScope)?;
    Ok((scopes, targets(form)?))
}

/// The APIs that are asked for, in the order of the form: by `resource` (RFC 8707, 2) or `audience`. One that is named
/// twice counts once.
fn targets(form: &Parameters) -> Result<Vec<Audience>, OauthError> {
    let mut targets = Vec::new();
    for (name, text) in form.iter().filter(|(name, _)| ["resource", "audience"].contains(name)) {
        let target: Audience = text.parse().map_err(|_| OauthError::InvalidTarget)?;
        if name == "resource" && !target.is_resource() {
            return Err(OauthError::InvalidTarget);
        }
        if targets.contains(&target) {
            continue;
        }
        // No client and no login has more, and comparing thousands with each other takes long.
        if targets.len() > MAX_AUDIENCES {
            return Err(OauthError::InvalidTarget);
        }
        targets.push(target);
    }
    Ok(targets)
}

impl Endpoints {
    pub(crate) async fn token(&self, request: &Request, now: DateTime<Utc>) -> Result<Response, ApiError> {
        let form = request.form()?;
        let grant_type = GrantType::named(form.required("grant_type")?).ok_or(OauthError::UnsupportedGrantType)?;
        let client = ClientCredentials::read(&request.headers, &form)?;
        match grant_type {
            GrantType::AuthorizationCode => {
                let client = client.ok_or(OauthError::InvalidClient(None))?;
                self.redeem(Some(client), GrantParameters::of_code(&form), now).await
            }
            GrantType::RefreshToken => self.redeem(client, GrantParameters::of_refresh(&form), now).await,
            GrantType::ClientCredentials => {
                let client = client.ok_or(OauthError::InvalidClient(None))?;
                self.issue_machine_token(&form, &client, now).await
            }
        }
    }

    /// Exchanges a code or refresh token.
    async fn redeem(
        &self,
        client: Option<ClientCredentials>,
        parameters: Result<GrantParameters, ApiError>,
        now: DateTime<Utc>,
    ) -> Result<Response, ApiError> {
        let (client, parameters) = match client {
            None => (RequestClient::Omitted, parameters?),
            Some(credentials) => match (credentials.parse_id()?, parameters) {
                (ParsedClientId::UserClient(id), Ok(parameters)) => {
                    (RequestClient::WithCredentials(id, credentials), parameters)
                }
                (id, parameters) => {
                    // Wrong credentials take precedence over wrong parameters.
                    self.authenticator.authenticate_client(&credentials, now, async {}).await?;
                    return Err(match (id, parameters) {
                        (ParsedClientId::UserClient(_), Err(error)) => error,
                        // Registrations have no users.
                        _ => OauthError::UnauthorizedClient.into(),
                    });
                }
            },
        };
        let GrantParameters { binding, requested, presented } = parameters;
        let ((scopes, targets), malformed) = match requested {
            Ok(requested) => (requested, None),
            Err(error) => (Default::default(), Some(error)),
        };
        let MachineTokens { issuer, audience, random, .. } = &self.machine_tokens;
        let targets = Some(Targets { requested: targets, deployment: audience.clone() });
        let request = GrantRequest { client, binding, scopes, targets, malformed, presented };
        let sign = async |signer: &Signer, issuance: &Issuance<'_>| {
            let claims = access_claims(issuance, issuer, TokenId::random(random.as_ref())?);
            let all = WithClaims { own: &claims, others: &issuance.grant.access_token_claims };
            let access_token = signer.sign(TokenType::AtJwt, &all).await?;
            let id_token = if issuance.scopes.contains(OPENID) {
                // After the access token, because its `at_hash` is the hash of that one with its signature.
                let claims = IdClaims::new(issuance, &claims, &access_token);
                Some(signer.sign(TokenType::Jwt, &claims).await?)
            } else {
                None
            };
            Ok((access_token, id_token, claims.scope))
        };
        let exchanged = self.grants.exchange(&request, now, sign).await;
        let exchanged = exchanged.map_err(|error| match (&request.malformed, error) {
            (Some(malformed), ApiError::BadCredential) => malformed.clone().into(),
            (_, error) => error,
        })?;
        let (access_token, id_token, scope) = exchanged.signed;
        let expires_in = exchanged.expires_at.timestamp().saturating_sub(now.timestamp());
        let response = TokenResponse {
            refresh_token: exchanged.refresh_token.map(|token| token.expose().to_owned()),
            id_token,
            ..TokenResponse::new(access_token, expires_in, scope)
        };
        Ok(response.into())
    }

    /// Issues a machine token (RFC 6749, 4.4).
    async fn issue_machine_token(
        &self,
        form: &Parameters,
        client: &ClientCredentials,
        now: DateTime<Utc>,
    ) -> Result<Response, ApiError> {
        let prepare = self.machine_tokens.signer.prepare();
        let (client, prepared) = self.authenticator.authenticate_client(client, now, prepare).await?;
        let AuthenticatedClient::Registration(registration) = client else {
            return Err(OauthError::UnauthorizedClient.into());
        };
        prepared?;
        let request = requested(form).map(|(scopes, targets)| MachineTokenRequest { scopes, targets });
        let token = self.machine_tokens.issue(&registration, request, now).await?;
        let expires_in = token.claims.exp.timestamp().saturating_sub(now.timestamp());
        Ok(TokenResponse::new(token.jwt, expires_in, token.claims.scope).into())
    }
}
