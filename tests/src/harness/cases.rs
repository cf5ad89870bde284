//! The kinds of requests, and what each must do whatever happens to its AWS calls: the rows of the fault matrix.

use serde_json::Value;

use self::CaseName::*;
use self::Repeat::{Another, Refused, Replayed, Same};
use super::Outcome;

/// A kind of request. Its [`Fixture::subject`](super::Fixture::subject) is one that has never been made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CaseName {
    CreateToken,
    CreateTokenOnce,
    CreateTokenAsToken,
    CreateAppToken,
    CreateAppTokenOnce,
    ExchangeCode,
    Refresh,
    IssueCode,
    CreateRegistration,
    CreateApiKey,
    UpdateRegistration,
    UpdateApplication,
    RevokeApiKey,
    RotateApiKey,
    RotateSecret,
    RotateSecretOfRegistration,
    RevokeTokensOfApplication,
    RevokeTokensOfClient,
    SuspendOrganization,
    ResumeOrganization,
    DeleteRegistration,
    GetRegistration,
    ListApplications,
    ListSessions,
    EndSessions,
    ListTokens,
    RevokeToken,
    RevokeTokens,
    ListAppTokens,
    RevokeAppToken,
    Introspect,
    ClientCredentials,
    RevokeMachineToken,
    StandardCode,
    StandardRefresh,
    RevokeGrant,
    Userinfo,
    Authorize,
    KeySet,
    AppKeys,
}

/// What the repeat of a request does if an earlier attempt has done the work and its answer was lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Repeat {
    /// It does the work once more, since it looks like a new request.
    Another,
    /// It is recognized, and gets the first answer again, marked as replayed.
    Replayed,
    /// It succeeds, and the table holds no more than after the first.
    Same,
    /// It is refused, since there is nothing left to do.
    Refused,
}

impl CaseName {
    pub(crate) fn case(self) -> &'static Case {
        CASES.iter().find(|case| case.name == self).unwrap()
    }
}

pub(crate) struct Case {
    pub(crate) name: CaseName,
    pub(crate) function: &'static str,
    pub(crate) success: u64,
    /// The JSON text of a 500.
    failure: &'static str,
    pub(crate) repeat: Repeat,
}

impl Case {
    /// The body of a 500.
    pub(crate) fn failure(&self) -> Value {
        serde_json::from_str(self.failure).unwrap()
    }

    /// Whether this answer says that an earlier attempt, whose answer was lost, has done the work.
    pub(crate) fn is_done_already(&self, answer: &Outcome) -> bool {
        self.repeat == Refused && (answer.status == 404 || answer.body["errorType"] == "NotFound")
    }
}

const MESSAGE: &str = r#"{"message": "Internal server error"}"#;
const APP_TOKEN: &str = r#"{"status": false, "error": {"code": 1001, "message": "Internal server error"}}"#;
const ITEMS: &str = r#"{"errors": [{"validation": "error", "code": "[E0000]", "message": "Internal Server Error"}]}"#;
const INVOKED: &str = r#"{"errorType": "InternalError", "errorMessage": "Internal server error"}"#;
const OAUTH2: &str = r#"{"error": "server_error", "error_description": "internal server error"}"#;

pub(crate) static CASES: [Case; 40] = [
    Case { name: CreateToken, function: "create-token", success: 201, failure: MESSAGE, repeat: Another },
    Case { name: CreateTokenOnce, function: "create-token", success: 201, failure: MESSAGE, repeat: Replayed },
    Case { name: CreateTokenAsToken, function: "create-token", success: 201, failure: MESSAGE, repeat: Another },
    Case { name: CreateAppToken, function: "create-app-token", success: 200, failure: APP_TOKEN, repeat: Another },
    Case { name: CreateAppTokenOnce, function: "create-app-token", success: 200, failure: APP_TOKEN, repeat: Replayed },
    Case { name: ExchangeCode, function: "exchange-token", success: 201, failure: ITEMS, repeat: Same },
    Case { name: Refresh, function: "exchange-token", success: 201, failure: ITEMS, repeat: Same },
    Case { name: IssueCode, function: "issue-code", success: 200, failure: INVOKED, repeat: Another },
    Case { name: CreateRegistration, function: "provision", success: 200, failure: INVOKED, repeat: Another },
    Case { name: CreateApiKey, function: "provision", success: 200, failure: INVOKED, repeat: Another },
    Case { name: UpdateRegistration, function: "provision", success: 200, failure: INVOKED, repeat: Same },
    Case { name: UpdateApplication, function: "provision", success: 200, failure: INVOKED, repeat: Same },
    Case { name: RevokeApiKey, function: "provision", success: 200, failure: INVOKED, repeat: Refused },
    Case { name: RotateApiKey, function: "provision", success: 200, failure: INVOKED, repeat: Another },
    Case { name: RotateSecret, function: "provision", success: 200, failure: INVOKED, repeat: Same },
    Case { name: RotateSecretOfRegistration, function: "provision", success: 200, failure: INVOKED, repeat: Same },
    Case { name: RevokeTokensOfApplication, function: "provision", success: 200, failure: INVOKED, repeat: Another },
    Case { name: RevokeTokensOfClient, function: "provision", success: 200, failure: INVOKED, repeat: Another },
    Case { name: SuspendOrganization, function: "provision", success: 200, failure: INVOKED, repeat: Same },
    Case { name: ResumeOrganization, function: "provision", success: 200, failure: INVOKED, repeat: Same },
    Case { name: DeleteRegistration, function: "provision", success: 200, failure: INVOKED, repeat: Refused },
    Case { name: GetRegistration, function: "provision", success: 200, failure: INVOKED, repeat: Same },
    Case { name: ListApplications, function: "provision", success: 200, failure: INVOKED, repeat: Same },
    Case { name: ListSessions, function: "provision", success: 200, failure: INVOKED, repeat: Same },
    Case { name: EndSessions, function: "provision", success: 200, failure: INVOKED, repeat: Same },
    Case { name: ListTokens, function: "manage-tokens", success: 200, failure: MESSAGE, repeat: Same },
    Case { name: RevokeToken, function: "manage-tokens", success: 200, failure: MESSAGE, repeat: Refused },
    Case { name: RevokeTokens, function: "manage-tokens", success: 200, failure: MESSAGE, repeat: Another },
    Case { name: ListAppTokens, function: "manage-tokens", success: 200, failure: APP_TOKEN, repeat: Same },
    Case { name: RevokeAppToken, function: "manage-tokens", success: 200, failure: APP_TOKEN, repeat: Refused },
    Case { name: Introspect, function: "oauth2", success: 200, failure: OAUTH2, repeat: Same },
    Case { name: ClientCredentials, function: "oauth2", success: 200, failure: OAUTH2, repeat: Same },
    Case { name: RevokeMachineToken, function: "oauth2", success: 200, failure: OAUTH2, repeat: Same },
    Case { name: StandardCode, function: "oauth2", success: 200, failure: OAUTH2, repeat: Same },
    Case { name: StandardRefresh, function: "oauth2", success: 200, failure: OAUTH2, repeat: Same },
    Case { name: RevokeGrant, function: "oauth2", success: 200, failure: OAUTH2, repeat: Same },
    Case { name: Userinfo, function: "oauth2", success: 200, failure: OAUTH2, repeat: Same },
    Case { name: Authorize, function: "authorize", success: 200, failure: INVOKED, repeat: Same },
    Case { name: KeySet, function: "publish-keys", success: 200, failure: MESSAGE, repeat: Same },
    Case { name: AppKeys, function: "publish-keys", success: 200, failure: MESSAGE, repeat: Same },
];
