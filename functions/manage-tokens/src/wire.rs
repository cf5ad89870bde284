//! Requests and answers of the four routes. Errors have the format of the endpoint that creates the same kind of token.

use std::str::FromStr;

use serde::Serialize;
use serde_json::json;
use shared::{
    clock::rfc3339,
    error::{ApiError, Constraint, Outcome, ValidationError},
    id::{ObjectId, RegistrationId, TokenId},
    input::{Email, Scopes, required},
    runtime::http::{Request, Response, StatusCode},
    store::{Order, Page, Registration},
    tokens::listing::{ListedAppToken, ListedToken},
    wire::{
        app_tokens::{self, ApplicationPath},
        registration_tokens,
    },
};

/// The most that `page` times `limit` may be.
const MAX_REACH: usize = 10_000;
const DEFAULT_LIMIT: usize = 50;

/// A request about all tokens of a registration.
pub(crate) struct RegistrationRequest {
    pub(crate) registration_id: RegistrationId,
}

impl RegistrationRequest {
    pub(crate) fn parse(request: &Request) -> Result<Self, ValidationError> {
        let mut body = request.fields()?;
        Ok(Self { registration_id: required("registrationId", body.parsed("registrationId")?)? })
    }
}

pub(crate) struct RevokeTokenRequest {
    pub(crate) registration_id: RegistrationId,
    pub(crate) token_id: TokenId,
}

impl RevokeTokenRequest {
    pub(crate) fn parse(request: &Request) -> Result<Self, ValidationError> {
        let mut body = request.fields()?;
        Ok(Self {
            registration_id: required("registrationId", body.parsed("registrationId")?)?,
            token_id: required("tokenId", body.parsed("tokenId")?)?,
        })
    }
}

pub(crate) struct ListAppTokensRequest {
    pub(crate) path: ApplicationPath,
    page: usize,
    pub(crate) limit: usize,
    pub(crate) order: Order,
}

impl ListAppTokensRequest {
    pub(crate) fn parse(request: &Request) -> Result<Self, ValidationError> {
        let path = ApplicationPath::parse(request)?;
        let query = request.query();
        let page = query.parsed("page")?.map_or(1, |PageNumber(page)| page);
        let limit = query.parsed("limit")?.map_or(DEFAULT_LIMIT, |Limit(limit)| limit);
        let order = query.parsed("sort")?.map_or_else(Order::default, |Sort(order)| order);
        if page.saturating_mul(limit) > MAX_REACH {
            return Err(ValidationError::new("page", format!("must be at most {MAX_REACH} divided by limit")));
        }
        Ok(Self { path, page, limit, order })
    }

    /// How many items are before the page.
    pub(crate) fn skip(&self) -> usize {
        self.page.saturating_sub(1).saturating_mul(self.limit)
    }
}

pub(crate) struct RevokeAppTokenRequest {
    pub(crate) path: ApplicationPath,
    pub(crate) token_id: ObjectId,
}

impl RevokeAppTokenRequest {
    pub(crate) fn parse(request: &Request) -> Result<Self, ValidationError> {
        Ok(Self { path: ApplicationPath::parse(request)?, token_id: request.path_parameter("tokenId")? })
    }
}

struct PageNumber(usize);

impl FromStr for PageNumber {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        whole_number(text, MAX_REACH).map(Self).ok_or(Constraint::new("must be a whole number from 1 to 10000"))
    }
}

struct Limit(usize);

impl FromStr for Limit {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        whole_number(text, 100).map(Self).ok_or(Constraint::new("must be a whole number from 1 to 100"))
    }
}

/// A number from 1 to `max` in decimal digits, without a sign or leading zeros.
fn whole_number(text: &str, max: usize) -> Option<usize> {
    let form = text.bytes().all(|c| c.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|number| form && *number <= max)
}

struct Sort(Order);

impl FromStr for Sort {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        match text {
            "createdAt:asc" => Ok(Self(Order::OldestFirst)),
            "createdAt:desc" => Ok(Self(Order::NewestFirst)),
            _ => Err(Constraint::new("must be createdAt:asc or createdAt:desc")),
        }
    }
}

pub(crate) fn tokens(registration: &Registration, tokens: &[ListedToken<'_>]) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Item<'a> {
        id: TokenId,
        #[serde(skip_serializing_if = "Option::is_none")]
        email: Option<&'a Email>,
        expires_at: String,
    }
    let items = tokens.iter();
    let items = items.map(|token| Item { id: token.id, email: token.email, expires_at: rfc3339(token.expires_at) });
    let body = json!({
        "message": "Tokens retrieved successfully",
        "tokens": items.collect::<Vec<_>>(),
        "activeTokens": tokens.len(),
        "maxAllowed": registration.max_allowed,
    });
    Response::new(StatusCode::OK, Outcome::Done, &body)
}

pub(crate) fn token_revoked(active_tokens: usize, max_allowed: u32) -> Response {
    let message = "Token revoked successfully";
    let body = json!({"message": message, "activeTokens": active_tokens, "maxAllowed": max_allowed});
    Response::new(StatusCode::OK, Outcome::Done, &body)
}

pub(crate) fn tokens_revoked(max_allowed: u32) -> Response {
    let message = "Tokens revoked successfully";
    let body = json!({"message": message, "activeTokens": 0, "maxAllowed": max_allowed});
    Response::new(StatusCode::OK, Outcome::Done, &body)
}

pub(crate) fn app_tokens(request: &ListAppTokensRequest, page: &Page<ListedAppToken>) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Item<'a> {
        id: &'a str,
        organization: ObjectId,
        application: ObjectId,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        scopes: &'a Scopes,
        created_at: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        expires_at: Option<String>,
    }
    let items = page.items.iter().map(|(position, token)| Item {
        id: position.id(),
        organization: request.path.organization_id,
        application: request.path.application_id,
        description: token.description.as_deref(),
        scopes: &token.scopes,
        created_at: position.created_at(),
        expires_at: token.expires_at.map(rfc3339),
    });
    // A page that would be refused is no next page.
    let within_reach = request.page.saturating_add(1).saturating_mul(request.limit) <= MAX_REACH;
    let data = json!({
        "items": items.collect::<Vec<_>>(),
        "page": request.page,
        "limit": request.limit,
        "hasNextPage": page.has_more && within_reach,
    });
    app_tokens::success(Outcome::Done, &data)
}

pub(crate) fn app_token_revoked() -> Response {
    app_tokens::success(Outcome::Done, &json!({"delete": "OK"}))
}

pub(crate) fn error(route: &str, error: &ApiError) -> Response {
    if route.contains(" /v1/organizations/") { app_tokens::error(error) } else { registration_tokens::error(error) }
}
