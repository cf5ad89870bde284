//! Who is logged in, and what is being asked: in memory, by browser.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use shared::id::ClientId;

use super::request::{AuthorizationRequest, ErrorCode};

/// How long a form is valid.
const TICKET_LIFETIME: TimeDelta = TimeDelta::minutes(10);
/// Beyond these the oldest are forgotten, so that nobody can fill the memory.
const MAX_ASKED: usize = 1000;
const MAX_BROWSERS: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// The requests that users are looking at, by the ticket in the form.
    asked: HashMap<String, Asked>,
    /// The logged-in browsers, by the value of their cookie.
    logged_in: HashMap<String, Session>,
}

#[derive(Debug)]
struct Asked {
    browser: String,
    request: AuthorizationRequest,
    at: DateTime<Utc>,
}

#[derive(Debug)]
struct Session {
    auth_time: DateTime<Utc>,
    /// What the user has allowed: client, service and scope.
    allowed: Vec<(ClientId, String, String)>,
}

/// The result of submitting a form.
#[derive(Debug)]
pub(super) enum Answered {
    /// It was never given to this browser, or was used, or is too old.
    Unknown,
    Denied(Box<AuthorizationRequest>),
    Allowed(Box<AuthorizationRequest>),
}

impl Sessions {
    /// Notes that this browser is asked. Returns the browser's id: the one that it has, or the new one.
    pub(super) fn ask(
        &mut self,
        browser: Option<String>,
        new_browser: String,
        ticket: String,
        request: &AuthorizationRequest,
        now: DateTime<Utc>,
    ) -> String {
        self.asked.retain(|_, asked| now - asked.at < TICKET_LIFETIME);
        forget_oldest(&mut self.asked, MAX_ASKED, |asked| asked.at);
        let is_known =
            |id: &String| self.logged_in.contains_key(id) || self.asked.values().any(|asked| asked.browser == *id);
        // An id that this service did not make may be one that somebody else knows.
        let browser = browser.filter(is_known).unwrap_or(new_browser);
        self.asked.insert(ticket, Asked { browser: browser.clone(), request: request.clone(), at: now });
        browser
    }

    /// Takes the answer to a form. With a `new_browser` it is yes, and the browser is logged in under that id from now
    /// on: an id from before the login must not become worth more by it.
    pub(super) fn answer(
        &mut self,
        browser: Option<&str>,
        ticket: &str,
        new_browser: Option<String>,
        now: DateTime<Utc>,
    ) -> Answered {
        let is_its_own = |asked: &Asked| Some(asked.browser.as_str()) == browser && now - asked.at < TICKET_LIFETIME;
        if !self.asked.get(ticket).is_some_and(is_its_own) {
            return Answered::Unknown;
        }
        let Some(asked) = self.asked.remove(ticket) else { return Answered::Unknown };
        let Some(new_browser) = new_browser else { return Answered::Denied(Box::new(asked.request)) };
        let before = self.logged_in.remove(&asked.browser);
        let mut allowed = before.map(|session| session.allowed).unwrap_or_default();
        let AuthorizationRequest { client_id, service, scopes, .. } = &asked.request;
        allowed.extend(scopes.iter().map(|scope| (*client_id, service.clone(), scope.clone())));
        allowed.sort_by_key(|(client, service, scope)| (client.to_string(), service.clone(), scope.clone()));
        allowed.dedup();
        forget_oldest(&mut self.logged_in, MAX_BROWSERS, |session| session.auth_time);
        self.logged_in.insert(new_browser.clone(), Session { auth_time: now, allowed });
        // Its other windows go on.
        for other in self.asked.values_mut().filter(|other| other.browser == asked.browser) {
            other.browser.clone_from(&new_browser);
        }
        Answered::Allowed(Box::new(asked.request))
    }

    /// When this browser logged in, if the user need not be asked.
    pub(super) fn agreed(
        &self,
        browser: Option<&str>,
        request: &AuthorizationRequest,
        now: DateTime<Utc>,
    ) -> Result<DateTime<Utc>, (ErrorCode, &'static str)> {
        let session = browser.and_then(|browser| self.logged_in.get(browser));
        let is_recent = |session: &&Session| {
            request.max_age.is_none_or(|seconds| now - session.auth_time <= TimeDelta::seconds(seconds))
        };
        let session = session.filter(is_recent).ok_or((ErrorCode::LoginRequired, "the user has to log in"))?;
        let has_allowed =
            |scope: &String| session.allowed.contains(&(request.client_id, request.service.clone(), scope.clone()));
        if !request.scopes.iter().all(has_allowed) {
            return Err((ErrorCode::ConsentRequired, "the user has not allowed this"));
        }
        Ok(session.auth_time)
    }
}

/// Makes room for one more.
fn forget_oldest<T>(map: &mut HashMap<String, T>, max: usize, at: impl Fn(&T) -> DateTime<Utc>) {
    if map.len() >= max {
        let oldest = map.iter().min_by_key(|(_, entry)| at(entry)).map(|(id, _)| id.clone());
        map.remove(&oldest.unwrap_or_default());
    }
}
