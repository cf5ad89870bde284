//! Requests and answers of the four routes. Errors have the format of the endpoint that creates the same kind of token.

use std::str::FromStr;

use serde_json::{Value, json};
use shared::{
    clock::rfc3339,
    error::{ApiError, Constraint, Outcome, ValidationError},
    id::{ObjectId, RegistrationId, TokenId},
    input::required,
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

/// The routes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Route {
    ListTokens,
    RevokeToken,
    ListAppTokens,
    RevokeAppToken,
}

impl Route {
    pub(crate) fn of(request: &Request) -> Option<Self> {
        Self::parse(&request.route)
    }

    fn parse(route: &str) -> Option<Self> {
        match route {
            "POST /api/v1/list-tokens" => Some(Self::ListTokens),
            "POST /api/v1/revoke-token" => Some(Self::RevokeToken),
            "GET /v1/organizations/{organizationId}/apps/{applicationId}/tokens" => Some(Self::ListAppTokens),
            "DELETE /v1/organizations/{organizationId}/apps/{applicationId}/tokens/{tokenId}" => {
                Some(Self::RevokeAppToken)
            }
            _ => None,
        }
    }
}

pub(crate) struct ListTokensRequest {
    pub(crate) registration_id: RegistrationId,
}

impl ListTokensRequest {
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
    let item = |token: &ListedToken<'_>| {
        let mut item = json!({"id": token.id});
        insert(&mut item, "email", token.email.map(|email| email.as_str().into()));
        insert(&mut item, "expiresAt", Some(rfc3339(token.expires_at).into()));
        item
    };
    let body = json!({
        "message": "Tokens retrieved successfully",
        "tokens": tokens.iter().map(item).collect::<Vec<_>>(),
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

pub(crate) fn app_tokens(request: &ListAppTokensRequest, page: Page<ListedAppToken>) -> Response {
    let items = page.items.into_iter().map(|(position, token)| {
        let mut item = json!({
            "id": position.id(),
            "organization": request.path.organization_id,
            "application": request.path.application_id,
        });
        insert(&mut item, "description", token.description.map(Into::into));
        insert(&mut item, "scopes", Some(json!(token.scopes)));
        insert(&mut item, "createdAt", Some(position.created_at().into()));
        item
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

/// Appends a member if it has a value.
fn insert(object: &mut Value, name: &str, value: Option<Value>) {
    if let (Some(members), Some(value)) = (object.as_object_mut(), value) {
        members.insert(name.to_owned(), value);
    }
}

pub(crate) fn error_body(route: &str, error: &ApiError) -> Value {
    match Route::parse(route) {
        Some(Route::ListAppTokens | Route::RevokeAppToken) => app_tokens::error_body(error),
        Some(Route::ListTokens | Route::RevokeToken) | None => registration_tokens::error_body(error),
    }
}
