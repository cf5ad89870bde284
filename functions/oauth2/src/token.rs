//! `POST /oauth2/token` (RFC 6749, 3.2).
//!
//! 1. The form and its `grant_type`.
//! 2. Client authentication. Its errors take precedence over all others but those of the form itself.
//! 3. The grant: a code or refresh token, or a registration's own token.

use chrono::{DateTime, Utc};
use shared::{
    auth::{
        AuthenticatedClient, AuthenticatedRegistration, ClientCredentials, IdempotencyKey, ParsedClientId, Permission,
    },
    credential::GrantCredential,
    error::{ApiError, OauthError},
    id::TokenId,
    input::oidc::OPENID,
    input::{CodeVerifier, Parameters, Scopes},
    keys::Signer,
    keys::jwt::TokenType,
    runtime::http::{Request, Response},
    tokens::grants::{Binding, GrantRequest, Issuance, PresentedGrant, RequestClient},
    tokens::registration_tokens::IssueRequest,
};

use crate::{
    claims::{IdClaims, access_claims},
    endpoints::Endpoints,
    wire::TokenResponse,
};

/// The endpoint in the derivation of idempotent ids. It must never change.
const ENDPOINT: &str = "oauth2/token";

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
    scopes: Option<Scopes>,
    presented: PresentedGrant,
}

impl GrantParameters {
    /// RFC 6749, 4.1.3, and RFC 7636, 4.5. A malformed code gets the same answer as an unknown one.
    fn of_code(form: &Parameters) -> Result<Self, ApiError> {
        let code = form.required("code")?;
        let redirect_uri = form.required("redirect_uri")?.to_owned();
        // A malformed verifier is a wrong one, so that it does not hide a second use of the code.
        let code_verifier = form.get("code_verifier").map(CodeVerifier::of);
        let code = GrantCredential::parse_code(code).ok_or(ApiError::BadCredential)?;
        let presented = PresentedGrant::Code { code, code_verifier };
        Ok(Self { binding: Binding::Code { redirect_uri }, scopes: None, presented })
    }

    /// RFC 6749, 6. A malformed refresh token gets the same answer as an unknown one.
    fn of_refresh(form: &Parameters) -> Result<Self, ApiError> {
        let token = form.required("refresh_token")?;
        let scopes = scopes(form)?;
        let token = GrantCredential::parse_refresh_token(token).ok_or(ApiError::BadCredential)?;
        Ok(Self { binding: Binding::Refresh, scopes, presented: PresentedGrant::RefreshToken(token) })
    }
}

fn scopes(form: &Parameters) -> Result<Option<Scopes>, ApiError> {
    form.parsed("scope").map_err(|_| OauthError::InvalidScope.into())
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
                self.issue_registration_token(request, &form, &client, now).await
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
        let GrantParameters { binding, scopes, presented } = parameters;
        let request = GrantRequest { client, binding, scopes, presented };
        let tokens = &self.tokens;
        let sign = async |signer: &Signer, issuance: &Issuance<'_>| {
            let jti = TokenId::random(tokens.random.as_ref())?;
            let claims = access_claims(issuance, &tokens.issuer, &tokens.audience, jti);
            let access_token = signer.sign(TokenType::AtJwt, &claims).await?;
            let id_token = if issuance.scopes.contains(OPENID) {
                // After the access token, because its `at_hash` is the hash of that one with its signature.
                let claims = IdClaims::new(issuance, &claims, &access_token);
                Some(signer.sign(TokenType::Jwt, &claims).await?)
            } else {
                None
            };
            Ok((access_token, id_token, claims.scope))
        };
        let exchanged = self.grants.exchange(&request, now, sign).await?;
        let (access_token, id_token, scope) = exchanged.signed;
        let expires_in = exchanged.expires_at.timestamp().saturating_sub(now.timestamp());
        let response = TokenResponse {
            refresh_token: exchanged.refresh_token.map(|token| token.expose().to_owned()),
            id_token,
            ..TokenResponse::new(access_token, expires_in, scope)
        };
        Ok(response.into())
    }

    /// Issues a token for a registration itself (RFC 6749, 4.4).
    async fn issue_registration_token(
        &self,
        request: &Request,
        form: &Parameters,
        client: &ClientCredentials,
        now: DateTime<Utc>,
    ) -> Result<Response, ApiError> {
        let prepare = self.tokens.signer.prepare();
        let (authenticated, prepared) = self.authenticator.authenticate_client(client, now, prepare).await?;
        let AuthenticatedClient::Registration(authenticated) = authenticated else {
            return Err(OauthError::UnauthorizedClient.into());
        };
        let AuthenticatedRegistration { id: registration_id, registration, caller } = *authenticated;
        let idempotency_key = request.header(IdempotencyKey::HEADER)?;
        let scopes = scopes(form)?;
        caller.require(Permission::OauthTokenCreate).map_err(|_| OauthError::UnauthorizedClient)?;
        prepared?;
        let request = IssueRequest {
            endpoint: ENDPOINT,
            registration_id: &registration_id,
            scopes: scopes.as_ref(),
            email: None,
            idempotency_key: idempotency_key.as_ref(),
        };
        let issued =
            self.tokens.issue(&caller, Some(registration), &request, now).await.map_err(|error| match error {
                ApiError::Forbidden => OauthError::InvalidScope.into(),
                ApiError::NotFound => client.invalid(),
                other => other,
            })?;
        let expires_in = issued.claims.exp.timestamp().saturating_sub(now.timestamp());
        let response = Response::from(TokenResponse::new(issued.jwt, expires_in, issued.claims.scope));
        Ok(if issued.replayed { response.replayed() } else { response })
    }
}
