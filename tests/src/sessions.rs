//! A user's sessions: `provision`'s `listSessions` and `endSessions`, and what `exchange-token` makes of an end.

use std::collections::BTreeSet;

use std::collections::BTreeMap;

use chrono::TimeDelta;
use futures_util::future::{join, join_all};
use serde_json::{Value, json};

use crate::harness::{
    ApiRequest, InjectedFault, Node, TestStack, calls,
    exchange_token::{self, CLIENT, code_body, exchange, issue, refresh_body},
    with,
};

const CLIENTS: [&str; 3] = [CLIENT, "33333333-3333-3333-3333-333333333333", "44444444-4444-4444-4444-444444444444"];

/// A stack with all clients.
async fn start() -> TestStack {
    let stack = TestStack::start().await;
    for client in CLIENTS {
        exchange_token::client(&stack, &json!({"clientId": client, "refreshReuseSeconds": 0})).await;
    }
    stack
}

fn action(name: &str, more: &Value) -> Value {
    with(&json!({"action": name, "subject": "user-1"}), more)
}

async fn list(stack: &TestStack, more: &Value) -> Value {
    stack.provision(&action("listSessions", more)).await
}

async fn end(stack: &TestStack, more: &Value) -> u64 {
    stack.provision(&action("endSessions", more)).await["ended"].as_u64().unwrap()
}

/// The AWS calls of an end.
async fn calls_of_end(stack: &TestStack, more: &Value) -> (u64, BTreeMap<String, usize>) {
    stack.calls.reset();
    (end(stack, more).await, stack.calls.count())
}

/// A session of a user at the first client: its id and its refresh token.
async fn session(stack: &TestStack, subject: &str) -> (String, String) {
    let code = issue(stack, &json!({"subject": subject})).await;
    (exchange_token::session(&code), exchange(stack, &code).await.refresh_token())
}

struct Session {
    client: &'static str,
    sid: String,
    refresh_token: String,
}

impl Session {
    async fn start(stack: &TestStack, subject: &str, client: &'static str) -> Self {
        let code = issue(stack, &json!({"subject": subject, "clientId": client})).await;
        let body = with(&code_body(&code), &json!({"client_id": client}));
        let refresh_token = exchange_token::post(stack, &body).await.refresh_token();
        Self { client, sid: exchange_token::session(&code), refresh_token }
    }

    /// Two sessions of a user at each client, one after the other.
    async fn two_at_each_client(stack: &TestStack, subject: &str) -> Vec<Self> {
        let mut sessions = vec![];
        for client in [CLIENTS, CLIENTS].concat() {
            sessions.push(Self::start(stack, subject, client).await);
            stack.clock.advance(1);
        }
        sessions
    }

    /// Whether it can be refreshed. A session that can is refreshed, and has its next token then.
    async fn is_good(&mut self, stack: &TestStack) -> bool {
        let body = with(&refresh_body(&self.refresh_token), &json!({"client_id": self.client}));
        let answer = exchange_token::post(stack, &body).await;
        let is_good = answer.status == 201;
        assert!(is_good || answer.status == 400, "{answer:?}");
        if is_good {
            self.refresh_token = answer.refresh_token();
        }
        is_good
    }
}

/// The numbers of the sessions that are good.
async fn good(stack: &TestStack, sessions: &mut [Session]) -> Vec<usize> {
    let mut numbers = vec![];
    for (n, session) in sessions.iter_mut().enumerate() {
        if session.is_good(stack).await {
            numbers.push(n);
        }
    }
    numbers
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
    let (first, token) = session(&stack, "user-1").await;
    stack.clock.advance(1);
    let narrow = issue(&stack, &json!({"scope": "openid"})).await;
    let body = with(&code_body(&narrow), &json!({"scope": "openid"}));
    assert_eq!(exchange_token::post(&stack, &body).await.status, 201);
    issue(&stack, &json!({})).await;
    session(&stack, "user-2").await;
    let mut expected = json!({"items": [
        {
            "clientId": CLIENT, "sid": first, "scopes": ["openid", "profile", "email"],
            "createdAt": "2027-01-15T08:00:00.250Z", "expiresAt": "2027-02-14T08:00:00.000Z",
        },
        {
            "clientId": CLIENT, "sid": exchange_token::session(&narrow), "scopes": ["openid"],
            "createdAt": "2027-01-15T08:00:01.250Z", "expiresAt": "2027-02-14T08:00:01.000Z",
        },
    ]});
    assert_eq!(list(&stack, &json!({})).await, expected);
    // Each refresh is later than the one before.
    let mut token = token;
    for refreshed_at in ["2027-01-15T08:00:11.250Z", "2027-01-15T08:00:21.250Z"] {
        stack.clock.advance(10);
        token = exchange_token::refresh(&stack, &token).await.refresh_token();
        expected["items"][0]["refreshedAt"] = refreshed_at.into();
        assert_eq!(list(&stack, &json!({})).await, expected);
    }
    // A second use ends the second one, and time the first.
    exchange(&stack, &narrow).await;
    assert_eq!(sids(&list(&stack, &json!({})).await), [first.as_str()]);
    stack.clock.advance(30 * 86400 - 21);
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
    let expected = calls(&[("DeleteItem", 3), ("GetItem", 1), ("Query", 1), ("UpdateItem", 3)]);
    assert_eq!(calls_of_end(&stack, &json!({})).await, (3, expected));
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

#[tokio::test(flavor = "multi_thread")]
async fn the_sessions_at_all_clients_are_listed_in_order_and_by_pages() {
    let stack = start().await;
    let sessions = Session::two_at_each_client(&stack, "user-1").await;
    Session::two_at_each_client(&stack, "user-2").await;
    let expected: Vec<_> = sessions.iter().map(|session| (session.client, session.sid.as_str())).collect();
    let by_pages = async |limit: usize, filter: &Value| {
        let (mut items, mut cursors, mut cursor) = (vec![], vec![], json!(null));
        loop {
            let answer = list(&stack, &with(filter, &json!({"limit": limit, "cursor": cursor}))).await;
            items.extend(answer["items"].as_array().unwrap().clone());
            cursor = answer["cursor"].clone();
            if cursor.is_null() {
                return (items, cursors);
            }
            assert_eq!(items.len(), limit * (cursors.len() + 1), "{answer}");
            cursors.push(cursor.clone());
        }
    };
    let filters = [json!({}), json!({"clientId": CLIENTS[0]}), json!({"clientId": CLIENTS[1]})];
    let mut cursors = vec![];
    for filter in &filters {
        let client = filter["clientId"].as_str();
        let expected: Vec<_> = expected.iter().filter(|(at, _)| client.is_none_or(|client| client == *at)).collect();
        for limit in [1, 2, 4, 100] {
            let (items, more) = by_pages(limit, filter).await;
            let ids = items.iter().map(|item| (item["clientId"].as_str().unwrap(), item["sid"].as_str().unwrap()));
            assert!(ids.eq(expected.iter().map(|ids| **ids)), "{filter} by {limit}: {items:?}");
            cursors.extend(more.into_iter().map(|cursor| (filter, cursor)));
        }
    }
    for (of, cursor) in &cursors {
        for filter in filters.iter().filter(|filter| filter != of) {
            let foreign = action("listSessions", &with(filter, &json!({"cursor": cursor})));
            let refused = stack.try_provision(&foreign).await.unwrap_err();
            assert_eq!(refused["errorMessage"], "cursor must be one that this list returned", "{of} {filter}");
        }
    }
    // Of six sessions: five, two and one cursors; of two: one.
    assert_eq!(cursors.len(), 8 + 1 + 1);
}

/// The second call has nothing to do, whatever the first one chose, and no other session has ended.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_chosen_ends_once_and_nothing_else_does() {
    /// The fields that choose, and the numbers of the sessions that are left.
    type Choice = (fn(&[Session]) -> Value, &'static [usize]);
    let choices: [Choice; 8] = [
        (|_| json!({}), &[]),
        (|_| json!({"clientId": CLIENTS[1]}), &[0, 2, 3, 5]),
        (|of| json!({"sid": of[4].sid}), &[0, 1, 2, 3, 5]),
        (|of| json!({"sid": of[4].sid, "clientId": CLIENTS[1]}), &[0, 1, 2, 3, 5]),
        (|of| json!({"sid": of[4].sid, "clientId": CLIENTS[2]}), &[0, 1, 2, 3, 4, 5]),
        (|of| json!({"exceptSid": of[4].sid}), &[4]),
        (|of| json!({"exceptSid": of[4].sid, "clientId": CLIENTS[1]}), &[0, 2, 3, 4, 5]),
        (|of| json!({"exceptSid": of[4].sid, "clientId": CLIENTS[2]}), &[0, 1, 3, 4]),
    ];
    let stack = start().await;
    let mut others = Session::two_at_each_client(&stack, "user-2").await;
    for (choice, left) in choices {
        let mut sessions = Session::two_at_each_client(&stack, "user-1").await;
        let choice = choice(&sessions);
        let count = sessions.len() - left.len();
        // A client that is named is read, and then that of each session that ends.
        let named = usize::from(choice["clientId"].is_string());
        let ended = (0..sessions.len()).filter(|n| !left.contains(n));
        let clients = named + ended.map(|n| n % CLIENTS.len()).collect::<BTreeSet<_>>().len();
        let expected = |clients, count| {
            let counts = [("Query", 1), ("GetItem", clients), ("UpdateItem", count), ("DeleteItem", count)];
            calls(&counts.into_iter().filter(|(_, count)| *count > 0).collect::<Vec<_>>())
        };
        assert_eq!(calls_of_end(&stack, &choice).await, (count as u64, expected(clients, count)), "{choice}");
        assert_eq!(calls_of_end(&stack, &choice).await, (0, expected(named, 0)), "{choice} again");
        assert_eq!(good(&stack, &mut sessions).await, left, "{choice}");
        let listed = list(&stack, &json!({})).await;
        assert!(sids(&listed).into_iter().eq(left.iter().map(|n| sessions[*n].sid.as_str())), "{choice}: {listed}");

        // Whatever was left is still found.
        assert_eq!(end(&stack, &json!({})).await, left.len() as u64, "{choice}");
        assert!(good(&stack, &mut sessions).await.is_empty(), "{choice}");
    }
    assert_eq!(good(&stack, &mut others).await, [0, 1, 2, 3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_either_chosen_or_spared() {
    let stack = start().await;
    let (sid, _) = session(&stack, "user-1").await;
    stack.calls.reset();
    let both = action("endSessions", &json!({"sid": sid, "exceptSid": sid}));
    let message = "exceptSid must not be given together with sid";
    let refused = json!({"errorType": "InvalidRequest", "errorMessage": message});
    assert_eq!(stack.try_provision(&both).await.unwrap_err(), refused);
    assert!(stack.calls.count().is_empty());
    assert_eq!(sids(&list(&stack, &json!({})).await), [sid.as_str()]);
}

/// The codes are as fresh as they can be, and the index does not show them yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_of_a_moment_ago_ends() {
    let stack = start().await;
    let client = CLIENTS[2];
    let choices: [fn(&str) -> Value; 4] = [
        |_| json!({}),
        |_| json!({"clientId": CLIENTS[2]}),
        |sid| json!({"sid": sid}),
        |_| json!({"exceptSid": "0".repeat(32)}),
    ];
    for choice in choices {
        let code = issue(&stack, &json!({"clientId": client})).await;
        let sid = exchange_token::session(&code);
        let choice = choice(&sid);
        hide_from_the_index(&stack, &sid).await;
        assert_eq!(end(&stack, &choice).await, 1, "{choice}");
        let body = with(&code_body(&code), &json!({"client_id": client}));
        exchange_token::post(&stack, &body).await.assert(400, &exchange_token::bad_credential());
    }
}

/// An entry of the table that is wrong must not end a session of somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_names_the_session_of_another_user_or_client_ends_nothing() {
    let stack = start().await;
    let mut sessions =
        [Session::start(&stack, "user-2", CLIENT).await, Session::start(&stack, "user-1", CLIENTS[1]).await];
    for session in &sessions {
        let entry = json!({
            "pk": {"S": "SUBJECT#user-1"}, "sk": {"S": session.sid}, "clientId": {"S": CLIENT},
            "issuedAt": {"N": "1800000000"},
        });
        stack.dynamodb("PutItem", json!({"Item": entry})).await;
    }
    assert_eq!(end(&stack, &json!({"clientId": CLIENT})).await, 0);
    assert_eq!(good(&stack, &mut sessions).await, [0, 1]);
    // The entry of the second one names the wrong client, but the right user.
    assert_eq!(end(&stack, &json!({})).await, 1);
    assert_eq!(good(&stack, &mut sessions).await, [0]);
}

/// All of them have read what is there before any of them writes. Each session counts in one of the answers.
#[tokio::test(flavor = "multi_thread")]
async fn racing_ends_end_everything_once() {
    const CALLERS: usize = 20;
    for round in 0..3 {
        let stack = start().await;
        let mut sessions = Session::two_at_each_client(&stack, "user-1").await;
        let mut codes = vec![];
        for client in CLIENTS {
            codes.push((client, issue(&stack, &json!({"clientId": client})).await));
        }
        let choices = [
            json!({}),
            json!({"clientId": CLIENTS[0]}),
            json!({"clientId": CLIENTS[1]}),
            json!({"exceptSid": sessions[0].sid}),
            json!({"sid": sessions[0].sid}),
        ];
        stack.calls.answer_together("Query", CALLERS);
        let ended = join_all((0..CALLERS).map(|n| end(&stack, &choices[n % choices.len()]))).await;
        assert_eq!(ended.iter().sum::<u64>(), 9, "round {round}: {ended:?}");
        assert!(good(&stack, &mut sessions).await.is_empty(), "round {round}");
        for (client, code) in codes {
            let body = with(&code_body(&code), &json!({"client_id": client}));
            assert_eq!(exchange_token::post(&stack, &body).await.status, 400, "round {round}");
        }
        let node = Node::start(&stack, TimeDelta::zero());
        let again = node.send(&ApiRequest::provision(action("endSessions", &json!({})))).await;
        assert_eq!((again.body, node.calls.count()), (json!({"ended": 0}), calls(&[("Query", 1)])), "round {round}");
    }
}

/// A write whose answer is lost is recognized when the SDK sends it again. If no answer comes at all, the call fails,
/// and the next one does the rest.
#[tokio::test(flavor = "multi_thread")]
async fn no_lost_answer_keeps_a_session_alive_or_counts_it_twice() {
    let stack = start().await;
    let mut other = Session::start(&stack, "user-2", CLIENT).await;
    for (operation, nth) in ["UpdateItem", "DeleteItem"].into_iter().flat_map(|name| (0..6).map(move |n| (name, n))) {
        for lost in [1, 3] {
            let what = format!("{operation} {nth}, {lost} lost");
            let mut sessions = Session::two_at_each_client(&stack, "user-1").await;
            let node = Node::start(&stack, TimeDelta::zero());
            node.calls.fail_nth(operation, nth, &vec![InjectedFault::AnswerLost; lost]);
            let answer = node.send(&ApiRequest::provision(action("endSessions", &json!({})))).await;
            assert!(node.calls.all_failed(), "{what}");
            let mut expected = calls(&[("Query", 1)]);
            if lost == 1 {
                assert_eq!(answer.body, json!({"ended": 6}), "{what}");
            } else {
                assert_eq!(answer.body["errorType"], "InternalError", "{what}");
                if operation == "UpdateItem" {
                    // It has happened, but its entry is left.
                    expected.extend(calls(&[("GetItem", 1), ("UpdateItem", 1), ("DeleteItem", 1)]));
                }
            }
            assert_eq!(calls_of_end(&stack, &json!({})).await, (0, expected), "{what}");
            assert_eq!(calls_of_end(&stack, &json!({})).await, (0, calls(&[("Query", 1)])), "{what}");
            assert!(good(&stack, &mut sessions).await.is_empty(), "{what}");
        }
    }
    assert!(other.is_good(&stack).await);
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
    let ended_again = calls_of_end(&stack, &json!({})).await;
    assert_eq!(ended_again, (0, calls(&[("Query", 1)])), "what has ended is not looked at again");
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
        let mut expected = calls(&[("Query", 1)]);
        let more = [("GetItem", looked_at.min(1)), ("UpdateItem", looked_at), ("DeleteItem", forgotten)];
        let more = more.into_iter().filter(|(_, count)| *count > 0);
        expected.extend(more.map(|(operation, count)| (operation.to_owned(), count)));
        assert_eq!(calls_of_end(&stack, &json!({})).await, (0, expected));
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

/// Sessions of clients that are off are left out without a query for each of them.
#[tokio::test(flavor = "multi_thread")]
async fn many_sessions_that_cannot_be_used_are_left_out_at_once() {
    let stack = start().await;
    let mut all = Vec::new();
    for _ in 0..4 {
        all.extend(Session::two_at_each_client(&stack, "user-1").await);
    }
    for client in &CLIENTS[..2] {
        stack.provision(&json!({"action": "updateClient", "clientId": client, "enabled": false})).await;
    }
    let usable: Vec<_> = all.iter().skip(2).step_by(3).map(|session| session.sid.as_str()).collect();
    let (mut seen, mut cursor) = (Vec::new(), Value::Null);
    loop {
        stack.calls.reset();
        let page = list(&stack, &json!({"limit": 1, "cursor": cursor})).await;
        assert!(stack.calls.count()["Query"] <= 2, "{:?}", stack.calls.count());
        seen.extend(sids(&page).into_iter().map(str::to_owned));
        cursor = page["cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(seen, usable);
}
