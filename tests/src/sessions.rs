//! A user's sessions: `provision`'s `listSessions` and `endSessions`, and what `exchange-token` makes of an end.

use chrono::TimeDelta;
use futures_util::future::{join, join_all};
use serde_json::{Value, json};

use crate::harness::{
    ApiRequest, InjectedFault, Node, TestStack, calls,
    exchange_token::{self, CLIENT, code_body, exchange, issue, refresh_body},
    with,
};

async fn start() -> TestStack {
    let stack = TestStack::start().await;
    exchange_token::client(&stack, &json!({"refreshReuseSeconds": 0})).await;
    stack
}

fn action(name: &str, more: &Value) -> Value {
    with(&json!({"action": name, "clientId": CLIENT, "subject": "user-1"}), more)
}

async fn list(stack: &TestStack, more: &Value) -> Value {
    stack.provision(&action("listSessions", more)).await
}

async fn end(stack: &TestStack, more: &Value) -> u64 {
    stack.provision(&action("endSessions", more)).await["ended"].as_u64().unwrap()
}

/// A session of a user: its id and its refresh token.
async fn session(stack: &TestStack, subject: &str) -> (String, String) {
    let code = issue(stack, &json!({"subject": subject})).await;
    (exchange_token::session(&code), exchange(stack, &code).await.refresh_token())
}

/// The status of a refresh, which leaves a good token rotated.
async fn refresh(stack: &TestStack, token: &str) -> u16 {
    let answer = exchange_token::refresh(stack, token).await;
    if answer.status == 201 {
        let _ = answer.refresh_token();
    }
    answer.status
}

fn sids(answer: &Value) -> Vec<&str> {
    answer["items"].as_array().unwrap().iter().map(|item| item["sid"].as_str().unwrap()).collect()
}

/// What the index does not show yet has no owner there.
async fn hide_from_the_index(stack: &TestStack, sid: &str) {
    let update = json!({
        "Key": {"pk": {"S": format!("GRANT#{sid}")}, "sk": {"S": "ITEM"}},
        "UpdateExpression": "REMOVE #owner", "ExpressionAttributeNames": {"#owner": "owner"},
    });
    stack.dynamodb("UpdateItem", update).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_can_be_used_are_listed_oldest_first() {
    let stack = start().await;
    assert_eq!(list(&stack, &json!({})).await, json!({"items": []}));
    let (first, _) = session(&stack, "user-1").await;
    stack.clock.advance(1);
    let narrow = issue(&stack, &json!({"scope": "openid"})).await;
    let body = with(&code_body(&narrow), &json!({"scope": "openid"}));
    assert_eq!(exchange_token::post(&stack, &body).await.status, 201);
    issue(&stack, &json!({})).await;
    session(&stack, "user-2").await;
    let expected = json!({"items": [
        {
            "sid": first, "scope": "openid profile email", "createdAt": "2027-01-15T08:00:00.250Z",
            "expiresAt": "2027-02-14T08:00:00.000Z",
        },
        {
            "sid": exchange_token::session(&narrow), "scope": "openid", "createdAt": "2027-01-15T08:00:01.250Z",
            "expiresAt": "2027-02-14T08:00:01.000Z",
        },
    ]});
    assert_eq!(list(&stack, &json!({})).await, expected);
    // A second use ends the second one, and time the first.
    exchange(&stack, &narrow).await;
    assert_eq!(sids(&list(&stack, &json!({})).await), [first.as_str()]);
    stack.clock.advance(30 * 86400 - 1);
    assert_eq!(list(&stack, &json!({})).await, json!({"items": []}));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_go_on_at_a_cursor_of_the_same_list() {
    let stack = start().await;
    let mut expected = vec![];
    for n in 0..5 {
        expected.push(session(&stack, "user-1").await.0);
        issue(&stack, &json!({})).await;
        stack.clock.advance(n % 2);
    }
    let mut seen = vec![];
    let mut cursor = json!(null);
    for page in 0.. {
        let answer = list(&stack, &json!({"limit": 2, "cursor": cursor})).await;
        seen.extend(sids(&answer).into_iter().map(str::to_owned));
        cursor = answer["cursor"].clone();
        assert_eq!(cursor.is_string(), page < 2, "{answer}");
        if !cursor.is_string() {
            break;
        }
        for foreign in [json!({"subject": "user-2"}), json!({"cursor": format!("{}A", cursor.as_str().unwrap())})] {
            let request = with(&action("listSessions", &json!({"cursor": cursor})), &foreign);
            let refused = stack.try_provision(&request).await.unwrap_err();
            let message = "cursor must be one that this list returned";
            assert_eq!(refused, json!({"errorType": "InvalidRequest", "errorMessage": message}));
        }
    }
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_sessions_of_a_user_end_and_later_ones_do_not() {
    let stack = start().await;
    let (one, two) = (session(&stack, "user-1").await, session(&stack, "user-1").await);
    let other = session(&stack, "user-2").await;
    let code = issue(&stack, &json!({})).await;
    stack.calls.reset();
    assert_eq!(end(&stack, &json!({})).await, 3);
    assert_eq!(stack.calls.count(), calls(&[("DeleteItem", 3), ("GetItem", 1), ("Query", 1), ("UpdateItem", 3)]));
    assert_eq!([refresh(&stack, &one.1).await, refresh(&stack, &two.1).await], [400, 400]);
    assert_eq!(exchange(&stack, &code).await.status, 400);
    assert_eq!(list(&stack, &json!({})).await, json!({"items": []}));
    assert_eq!(end(&stack, &json!({})).await, 0, "safe to repeat");

    let later = session(&stack, "user-1").await;
    assert_eq!(sids(&list(&stack, &json!({})).await), [later.0.as_str()]);
    assert_eq!([refresh(&stack, &later.1).await, refresh(&stack, &other.1).await], [201, 201]);
    assert_eq!(end(&stack, &json!({})).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_ends_and_the_others_do_not() {
    let stack = start().await;
    let (one, two) = (session(&stack, "user-1").await, session(&stack, "user-1").await);
    let other = session(&stack, "user-2").await;
    for unknown in [&other.0, &"0".repeat(32)] {
        assert_eq!(end(&stack, &json!({"sid": unknown})).await, 0);
    }
    assert_eq!(end(&stack, &json!({"sid": one.0})).await, 1);
    assert_eq!(end(&stack, &json!({"sid": one.0})).await, 0);
    let statuses = [refresh(&stack, &one.1).await, refresh(&stack, &two.1).await, refresh(&stack, &other.1).await];
    assert_eq!(statuses, [400, 201, 201]);
    let code = issue(&stack, &json!({})).await;
    assert_eq!(end(&stack, &json!({"sid": exchange_token::session(&code)})).await, 1);
    assert_eq!(exchange(&stack, &code).await.status, 400);
    for wrong in ["", "x", &two.0.to_uppercase(), &two.0[1..]] {
        let refused = stack.try_provision(&action("endSessions", &json!({"sid": wrong}))).await.unwrap_err();
        assert_eq!(refused["errorMessage"], "sid must be 32 lower-case hexadecimal digits", "{wrong}");
    }
    // Fifty at once count it once.
    let ended = join_all((0..50).map(|_| async { end(&stack, &json!({"sid": two.0})).await })).await;
    assert_eq!(ended.iter().sum::<u64>(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_client_is_not_found() {
    let stack = start().await;
    for name in ["listSessions", "endSessions"] {
        let unknown = json!({"clientId": "22222222-2222-2222-2222-222222222222"});
        let refused = stack.try_provision(&action(name, &unknown)).await.unwrap_err();
        assert_eq!(refused, json!({"errorType": "NotFound", "errorMessage": "clientId does not exist"}));
    }
}

/// The index follows the table when it likes; the end of all sessions does not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_the_index_does_not_show_yet_ends_too() {
    let stack = start().await;
    let (session_id, token) = session(&stack, "user-1").await;
    let code = issue(&stack, &json!({})).await;
    hide_from_the_index(&stack, &session_id).await;
    hide_from_the_index(&stack, &exchange_token::session(&code)).await;
    assert_eq!(end(&stack, &json!({})).await, 2);
    assert_eq!([refresh(&stack, &token).await, exchange(&stack, &code).await.status], [400, 400]);
    let (_, later) = session(&stack, "user-1").await;
    assert_eq!(refresh(&stack, &later).await, 201);
}

/// Chains of refreshes go on in several processes while the sessions are ended, with or without the index showing them.
#[tokio::test(flavor = "multi_thread")]
async fn no_refresh_token_outlives_an_end_that_races_with_it() {
    let stack = start().await;
    let nodes: Vec<_> = (0..3).map(|_| Node::start(&stack, TimeDelta::zero())).collect();
    let send = async |node: usize, token: &str| {
        let request = exchange_token::request(&refresh_body(token));
        nodes[node % nodes.len()].send(&request).await
    };
    for round in 0..12 {
        let mut tokens = vec![];
        for n in 0..6 {
            let (session_id, token) = session(&stack, "user-1").await;
            if n % 2 == 0 {
                hide_from_the_index(&stack, &session_id).await;
            }
            tokens.push(token);
        }
        let chains = join_all(tokens.into_iter().enumerate().map(|(n, token)| {
            let send = &send;
            async move {
                let mut token = token;
                for step in 0..6 {
                    let answer = send(n + step, &token).await;
                    if answer.status != 201 {
                        assert_eq!(answer.status, 400, "{answer:?}");
                        break;
                    }
                    token = answer.refresh_token();
                }
                token
            }
        }));
        let ending = async {
            for _ in 0..round {
                tokio::task::yield_now().await;
            }
            end(&stack, &json!({})).await
        };
        let (last_tokens, _) = join(chains, ending).await;
        for (n, token) in last_tokens.iter().enumerate() {
            assert_eq!(send(n, token).await.status, 400, "round {round}, chain {n}");
        }
        assert_eq!(list(&stack, &json!({})).await, json!({"items": []}));
        let (_, later) = session(&stack, "user-1").await;
        assert_eq!(refresh(&stack, &later).await, 201, "round {round}");
    }
}

/// The first attempts of an end arrive after logins that it must not touch.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_arrives_late_changes_nothing() {
    let stack = start().await;
    let (_, before) = session(&stack, "user-1").await;
    let node = Node::start(&stack, TimeDelta::zero());
    node.calls.fail("UpdateItem", &[InjectedFault::Overtaken]);
    let request = ApiRequest::provision(action("endSessions", &json!({})));
    assert_eq!(node.send(&request).await.body, json!({"ended": 1}));
    let (_, later) = session(&stack, "user-1").await;
    node.calls.deliver().await;
    assert_eq!([refresh(&stack, &before).await, refresh(&stack, &later).await], [400, 201]);
}

/// The clock of the function that ends may be ahead of the one that exchanges, or a code may expire while its exchange
/// waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_about_to_expire_ends_whatever_the_clock_shows() {
    let stack = start().await;
    let code = issue(&stack, &json!({})).await;
    stack.clock.advance(117);
    let ahead = Node::start(&stack, TimeDelta::seconds(5));
    let request = ApiRequest::provision(action("endSessions", &json!({})));
    assert_eq!(ahead.send(&request).await.body, json!({"ended": 0}), "of its clock, the code has expired");
    assert_eq!(exchange(&stack, &code).await.status, 400);
    stack.calls.reset();
    assert_eq!(end(&stack, &json!({})).await, 0);
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 1), ("Query", 1)]), "what has ended is not looked at again");
}

/// An entry may name a grant that was never written, or that was deleted after it had expired.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_without_a_grant_costs_one_call_only() {
    let stack = start().await;
    for _ in 0..3 {
        let code = issue(&stack, &json!({})).await;
        let key = json!({"pk": {"S": format!("GRANT#{}", exchange_token::session(&code))}, "sk": {"S": "ITEM"}});
        stack.dynamodb("DeleteItem", json!({"Key": key})).await;
    }
    let ended = async |looked_at: usize, forgotten: usize| {
        stack.calls.reset();
        assert_eq!(end(&stack, &json!({})).await, 0);
        let mut expected = calls(&[("GetItem", 1), ("Query", 1)]);
        let more = [("UpdateItem", looked_at), ("DeleteItem", forgotten)].into_iter().filter(|(_, count)| *count > 0);
        expected.extend(more.map(|(operation, count)| (operation.to_owned(), count)));
        assert_eq!(stack.calls.count(), expected);
    };
    // The code may be under way: its grant is written at the same time as the entry.
    ended(3, 0).await;
    stack.clock.advance(130);
    ended(3, 3).await;
    ended(0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failure_does_not_keep_the_other_sessions_alive() {
    let stack = start().await;
    for _ in 0..60 {
        session(&stack, "user-1").await;
    }
    let node = Node::start(&stack, TimeDelta::zero());
    node.calls.fail_nth("UpdateItem", 3, &[InjectedFault::Error("ThrottlingException"); 3]);
    let request = ApiRequest::provision(action("endSessions", &json!({})));
    assert_eq!(node.send(&request).await.body["errorType"], "InternalError");
    let left = sids(&list(&stack, &json!({"limit": 100})).await).len();
    assert!((1..=3).contains(&left), "{left}");
    assert_eq!(end(&stack, &json!({})).await, left as u64);
    assert_eq!(list(&stack, &json!({})).await, json!({"items": []}));
}

/// A code is handed out only once its grant is named among those of its user.
#[tokio::test(flavor = "multi_thread")]
async fn no_code_is_known_whose_session_cannot_be_found() {
    let stack = start().await;
    for nth in 0..2 {
        let node = Node::start(&stack, TimeDelta::zero());
        node.calls.fail_nth("PutItem", nth, &[InjectedFault::NotSent; 3]);
        let answer = node.send(&ApiRequest { function: "issue-code", event: exchange_token::login() }).await;
        assert_eq!((answer.status, &answer.body["errorType"]), (500, &json!("InternalError")));
    }
    assert!(end(&stack, &json!({})).await <= 1);
}
