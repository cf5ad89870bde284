//! `POST /oauth2/token` (RFC 6749, 3.2).
//!
//! 1. The form and its `grant_type`.
//! 2. Client authentication: whatever else is wrong, a client that is not who it says it is learns only that.
//! 3. The grant: a code or refresh token, or a registration's own token.

use chrono::{DateTime, Utc};
use shared::{
    auth::{AuthenticatedClient, AuthenticatedRegistration, ClientCredentials, ClientName, IdempotencyKey, Permission},
    clock::expiry,
    credential::GrantCredential,
    input::{Form, ScopeList, required},
    keys::jwt::TokenType,
    runtime::ApiError,
    runtime::http::{Request, Response},
    tokens::grants::{Binding, GrantRequest, PresentedGrant, RequestClient},
    tokens::registration_tokens::IssueRequest,
};

use crate::{
    Endpoints,
    claims::{IdClaims, access_claims},
    wire::TokenResponse,
};

/// How long a user's access token and ID token live.
const TOKEN_LIFETIME_SECONDS: u32 = 3600;
/// What an idempotency key belongs to. It never changes, because ids are derived from it.
const ENDPOINT: &str = "oauth2/token";
/// The scope that asks for an ID token (OpenID Connect Core 1.0, 3.1.2.1).
pub(crate) const OPENID: &str = "openid";

enum GrantType {
    AuthorizationCode,
    RefreshToken,
    ClientCredentials,
}

impl GrantType {
    fn parse(form: &Form) -> Result<Self, ApiError> {
        match required("grant_type", form.text("grant_type"))? {
            "authorization_code" => Ok(Self::AuthorizationCode),
            "refresh_token" => Ok(Self::RefreshToken),
            "client_credentials" => Ok(Self::ClientCredentials),
            _ => Err(ApiError::UnsupportedGrantType),
        }
    }
}

/// What a user's client asks for.
struct GrantParameters {
    binding: Binding,
    scopes: Option<Vec<String>>,
    presented: PresentedGrant,
}

impl GrantParameters {
    /// RFC 6749, 4.1.3, and RFC 7636, 4.5. A malformed code gets the same answer as an unknown one.
    fn of_code(form: &Form) -> Result<Self, ApiError> {
        let code = required("code", form.text("code"))?;
        let redirect_uri = required("redirect_uri", form.text("redirect_uri"))?.to_owned();
        let code_verifier = form.parsed("code_verifier")?;
        let code = GrantCredential::parse_code(code).ok_or(ApiError::BadCredential)?;
        let presented = PresentedGrant::Code { code, code_verifier };
        Ok(Self { binding: Binding::Code { redirect_uri }, scopes: None, presented })
    }

    /// RFC 6749, 6. A malformed refresh token gets the same answer as an unknown one.
    fn of_refresh(form: &Form) -> Result<Self, ApiError> {
        let token = required("refresh_token", form.text("refresh_token"))?;
        let scopes = scopes(form)?;
        let token = GrantCredential::parse_refresh_token(token).ok_or(ApiError::BadCredential)?;
        Ok(Self { binding: Binding::Refresh, scopes, presented: PresentedGrant::RefreshToken(token) })
    }
}

fn scopes(form: &Form) -> Result<Option<Vec<String>>, ApiError> {
    let scopes = form.parsed("scope").map_err(|_| ApiError::InvalidScope)?;
    Ok(scopes.map(ScopeList::into_inner))
}

impl Endpoints {
    pub(crate) async fn token(&self, request: &Request, now: DateTime<Utc>) -> Result<Response, ApiError> {
        let form = request.form()?;
        let grant_type = GrantType::parse(&form)?;
        let client = ClientCredentials::read(&request.headers, &form)?;
        match grant_type {
            GrantType::AuthorizationCode => {
                let client = client.ok_or(ApiError::InvalidClient(None))?;
                self.redeem(Some(client), GrantParameters::of_code(&form), now).await
            }
            GrantType::RefreshToken => self.redeem(client, GrantParameters::of_refresh(&form), now).await,
            GrantType::ClientCredentials => {
                let client = client.ok_or(ApiError::InvalidClient(None))?;
                self.client_credentials(request, &form, &client, now).await
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
        let client_name = client.as_ref().map(ClientCredentials::name).transpose()?;
        let (client, GrantParameters { binding, scopes, presented }) = match (client, client_name, parameters) {
            (Some(credentials), Some(ClientName::Client(id)), Ok(parameters)) => {
                (RequestClient::Authenticated(id, credentials), parameters)
            }
            (Some(credentials), Some(name), parameters) => {
                self.authenticator.authenticate_client(&credentials, now).await?;
                return Err(match (name, parameters) {
                    (ClientName::Client(_), Err(error)) => error,
                    // Registrations have no users.
                    _ => ApiError::UnauthorizedClient,
                });
            }
            (_, _, parameters) => (RequestClient::OfToken, parameters?),
        };
        let request = GrantRequest { client, binding, scopes, presented };
        let (redemption, prepared) = tokio::join!(self.grants.redeem(&request, now), self.tokens.signer.prepare());
        let redemption = redemption?;
        prepared?;

        let expires_at = expiry(now, TOKEN_LIFETIME_SECONDS);
        let claims =
            access_claims(&redemption, (&self.issuer, &self.audience), (now, expires_at), self.grants.random.as_ref())?;
        let signer = &self.tokens.signer;
        let access_token = signer.sign(TokenType::AtJwt, &claims).await?;
        let id_token = if redemption.scopes().iter().any(|scope| scope == OPENID) {
            // After the access token, because its `at_hash` is the hash of that one with its signature.
            let claims = IdClaims::new(&redemption, &claims, &access_token);
            Some(signer.sign(TokenType::Jwt, &claims).await?)
        } else {
            None
        };

        // Up to here, a failure leaves the code or refresh token unchanged.
        let refresh_token = self.grants.commit(redemption, now).await?;
        let response = TokenResponse {
            expires_in: TOKEN_LIFETIME_SECONDS.into(),
            scope: claims.scope,
            refresh_token: Some(refresh_token.expose().to_owned()),
            id_token,
            ..TokenResponse::bearer(access_token)
        };
        Ok(response.into())
    }

    /// Issues a token for a registration itself (RFC 6749, 4.4).
    async fn client_credentials(
        &self,
        request: &Request,
        form: &Form,
        client: &ClientCredentials,
        now: DateTime<Utc>,
    ) -> Result<Response, ApiError> {
        let (authenticated, prepared) =
            tokio::join!(self.authenticator.authenticate_client(client, now), self.tokens.signer.prepare());
        let AuthenticatedClient::Registration(authenticated) = authenticated? else {
            return Err(ApiError::UnauthorizedClient);
        };
        let AuthenticatedRegistration { id: registration_id, registration, caller } = *authenticated;
        let idempotency_key = request.header(IdempotencyKey::HEADER)?;
        let scopes = scopes(form)?;
        caller.require(Permission::OauthTokenCreate).map_err(|_| ApiError::UnauthorizedClient)?;
        prepared?;
        let request = IssueRequest {
            endpoint: ENDPOINT,
            registration_id: &registration_id,
            scopes: scopes.as_deref(),
            email: None,
            idempotency_key: idempotency_key.as_ref(),
        };
        let issued =
            self.tokens.issue(&caller, Some(registration), &request, now).await.map_err(|error| match error {
                ApiError::Forbidden => ApiError::InvalidScope,
                ApiError::NotFound => client.invalid(),
                ApiError::QuotaExceeded { retry_after } => ApiError::TooManyTokens { retry_after },
                other => other,
            })?;
        let response = Response::from(TokenResponse {
            expires_in: issued.claims.exp.timestamp().saturating_sub(now.timestamp()),
            scope: issued.claims.scope,
            ..TokenResponse::bearer(issued.jwt)
        });
        Ok(if issued.replayed { response.replayed() } else { response })
    }
}
