//! The life of a grant: tabs and thieves over a week, and random histories against a model of the rules.

use futures_util::future::join;
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

use crate::harness::{
    InjectedFault, TestStack,
    exchange_token::{
        DAY, bad_credential, client, code_body, exchange, forge, issue, post, refresh, refresh_body, start,
    },
    runner, with,
};

// ------------------------------------------------------------------------------------------------ tabs and thieves

/// Both tabs refresh.
#[derive(Clone, Debug)]
struct Refreshes {
    /// The seconds before, and between the two.
    pause: i64,
    apart: i64,
    second_tab_first: bool,
    together: bool,
}

/// Two tabs that refresh within the window of each other, for a week, are never logged out. An old token ends the
/// grant.
#[test]
fn two_tabs_are_never_logged_out() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let refresh_by_both = (600..7200_i64, 0..=60_i64, any::<bool>(), any::<bool>())
        .prop_map(|(pause, apart, second_tab_first, together)| Refreshes { pause, apart, second_tab_first, together });
    let refreshes = vec(refresh_by_both, 84);
    let result = runner(8).run(&(refreshes, any::<prop::sample::Index>()), |(refreshes, stolen)| {
        runtime.block_on(async {
            let stack = start().await;
            let first = exchange(&stack, &issue(&stack, &json!({})).await).await.refresh_token();
            let (mut tabs, mut used) = ([first.clone(), first], vec![]);
            for Refreshes { pause, apart, second_tab_first, together } in refreshes {
                stack.clock.advance(pause);
                let early = usize::from(second_tab_first);
                used.push(tabs[early].clone());
                let (one, two) = if together {
                    join(refresh(&stack, &tabs[early]), refresh(&stack, &tabs[1 - early])).await
                } else {
                    let one = refresh(&stack, &tabs[early]).await;
                    stack.clock.advance(apart);
                    (one, refresh(&stack, &tabs[1 - early]).await)
                };
                prop_assert_eq!((one.status, two.status), (201, 201));
                tabs[early] = one.refresh_token();
                tabs[1 - early] = two.refresh_token();
                prop_assert_eq!(&tabs[0], &tabs[1]);
            }
            // A token that was rotated more than a window ago ends the grant.
            stack.clock.advance(61);
            let stolen: &String = stolen.get(&used);
            refresh(&stack, stolen).await.assert(400, &bad_credential());
            refresh(&stack, &tabs[0]).await.assert(400, &bad_credential());
            Ok(())
        })
    });
    result.unwrap();
}

/// A thief who refreshes within the window gets the owner's token. When one of the two rotates it, the next refresh of
/// the other is a replay.
#[tokio::test(flavor = "multi_thread")]
async fn a_theft_within_the_window_shows_at_the_next_rotation() {
    let stack = start().await;
    let first = exchange(&stack, &issue(&stack, &json!({})).await).await.refresh_token();
    let (owner, thief) = (refresh(&stack, &first).await.refresh_token(), refresh(&stack, &first).await.refresh_token());
    stack.clock.advance(3600);
    let next = refresh(&stack, &owner).await.refresh_token();
    stack.clock.advance(61);
    refresh(&stack, &thief).await.assert(400, &bad_credential());
    refresh(&stack, &next).await.assert(400, &bad_credential());
}

/// The window is the shorter of what it was at the rotation and what it is now.
#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_was_over_stays_over_when_it_is_raised() {
    for (at_rotation, now, status) in [(10, 300, 400), (0, 300, 400), (300, 10, 400), (300, 30, 201), (30, 300, 201)] {
        let stack = TestStack::start().await;
        let id = client(&stack, &json!({"refreshReuseSeconds": at_rotation})).await;
        let first = exchange(&stack, &issue(&stack, &json!({})).await).await.refresh_token();
        let second = refresh(&stack, &first).await.refresh_token();
        stack.clock.advance(20);
        let update = json!({"action": "updateClient", "clientId": id, "refreshReuseSeconds": now});
        stack.provision(&update).await;
        assert_eq!(refresh(&stack, &first).await.status, status, "{at_rotation} {now}");
        assert_eq!(refresh(&stack, &second).await.status, status, "a replay ends the grant");
    }
}

// ------------------------------------------------------------------------------------------------ the state machine

/// What the property test presents.
#[derive(Clone, Copy, Debug)]
enum Presents {
    Code,
    /// An issued refresh token: as generated, counted from the latest; in a history, its number.
    Token(usize),
    /// A secret of the right grant that was never issued.
    Forged,
    /// No token at all.
    Garbage,
}

#[derive(Clone, Copy, Debug)]
enum Trouble {
    None,
    /// Every attempt of this operation fails before it is sent.
    Fails(&'static str),
    /// This many answers of the commit are lost.
    Lost(usize),
}

#[derive(Clone, Debug)]
enum Event {
    Pass(i64),
    Present(Presents, Trouble),
    Race(Presents),
}

/// A simple model of the rules.
#[derive(Clone, Debug, Default)]
struct Model {
    now: i64,
    reuse: i64,
    /// 0: none.
    idle: i64,
    /// All issued refresh tokens.
    tokens: Vec<String>,
    /// The numbers of the current one and of the one that was rotated away last.
    current: usize,
    rotated_from: Option<usize>,
    rotated_at: i64,
    ends_at: Option<i64>,
    /// When the current token expires.
    expires_at: i64,
    revoked: bool,
}

#[derive(Debug, Eq, PartialEq)]
enum Expected {
    Tokens,
    Refused,
    Revoked,
}

impl Model {
    /// The same with the number of the token in place of its position.
    fn numbered(&self, presents: Presents) -> Presents {
        match presents {
            Presents::Token(_) if self.tokens.is_empty() => Presents::Garbage,
            Presents::Token(back) => Presents::Token(self.tokens.len() - 1 - back % self.tokens.len()),
            other => other,
        }
    }

    fn expected(&self, presents: Presents) -> Expected {
        let over = self.ends_at.is_some_and(|ends_at| ends_at <= self.now);
        match presents {
            _ if self.revoked || over => Expected::Refused,
            Presents::Forged | Presents::Token(_) if self.ends_at.is_some() && self.expires_at <= self.now => {
                Expected::Refused
            }
            Presents::Forged => Expected::Revoked,
            Presents::Code if self.ends_at.is_some() => Expected::Revoked,
            Presents::Code if self.now < 120 => Expected::Tokens,
            Presents::Code | Presents::Garbage => Expected::Refused,
            Presents::Token(token) => {
                let repeated =
                    self.rotated_from == Some(token) && self.reuse > 0 && self.now - self.rotated_at <= self.reuse;
                if self.current == token || repeated { Expected::Tokens } else { Expected::Revoked }
            }
        }
    }

    /// The result of presenting it, if the answer has this refresh token.
    fn present(&mut self, presents: Presents, successor: impl FnOnce() -> String) {
        match self.expected(presents) {
            Expected::Tokens => self.given(presents, successor()),
            Expected::Revoked => self.revoked = true,
            Expected::Refused => {}
        }
    }

    /// Records a set of tokens that was issued.
    fn given(&mut self, presents: Presents, successor: String) {
        match presents {
            Presents::Token(used) if self.current == used => {
                (self.rotated_from, self.rotated_at) = (Some(used), self.now);
            }
            // A repeat gets the same token.
            Presents::Token(_) => return assert_eq!(successor, self.tokens[self.current]),
            _ => self.ends_at = Some(self.now + 30 * DAY),
        }
        let ends_at = self.ends_at.unwrap();
        self.expires_at = if self.idle == 0 { ends_at } else { ends_at.min(self.now + self.idle) };
        assert!(!self.tokens.contains(&successor));
        self.tokens.push(successor);
        self.current = self.tokens.len() - 1;
    }
}

#[test]
fn the_state_machine_of_a_grant() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stack = runtime.block_on(TestStack::start());
    let presents = prop_oneof![
        3 => Just(Presents::Code),
        12 => (0..4_usize).prop_map(Presents::Token),
        1 => Just(Presents::Forged),
        1 => Just(Presents::Garbage),
    ];
    let trouble = prop_oneof![
        6 => Just(Trouble::None),
        1 => Just(Trouble::Fails("GetItem")),
        1 => Just(Trouble::Fails("Sign")),
        1 => Just(Trouble::Fails("UpdateItem")),
        2 => (1..4_usize).prop_map(Trouble::Lost),
    ];
    let event = prop_oneof![
        2 => prop_oneof![8 => 1..40_i64, 1 => Just(29 * DAY), 1 => Just(30 * DAY)].prop_map(Event::Pass),
        6 => (presents.clone(), trouble).prop_map(|(presents, trouble)| Event::Present(presents, trouble)),
        1 => presents.prop_map(Event::Race),
    ];
    let idle = prop_oneof![3 => Just(0_i64), 1 => Just(35), 1 => Just(DAY)];
    let runs = (prop_oneof![Just(0_i64), Just(20), Just(60)], idle, vec(event, 1..20));
    let result = runner(60).run(&runs, |(reuse, idle, events)| {
        // Every history begins with an exchange; otherwise most would consist of refusals.
        let events = [Event::Present(Presents::Code, Trouble::None)].into_iter().chain(events);
        runtime.block_on(history(&stack, (reuse, idle), events))
    });
    result.unwrap();
}

async fn history(
    stack: &TestStack,
    (reuse, idle): (i64, i64),
    events: impl Iterator<Item = Event>,
) -> Result<(), TestCaseError> {
    let settings = json!({"clientId": null, "refreshReuseSeconds": reuse, "idleTimeoutSeconds": idle});
    let client = client(stack, &settings).await;
    let code = issue(stack, &json!({"clientId": client})).await;
    let mut history = History { stack, client, code, model: Model { reuse, idle, ..Model::default() } };
    for event in events {
        match event {
            Event::Pass(seconds) => {
                stack.clock.advance(seconds);
                history.model.now += seconds;
            }
            Event::Present(presents, trouble) => history.present(history.model.numbered(presents), trouble).await?,
            Event::Race(presents) => history.race(history.model.numbered(presents)).await?,
        }
    }
    Ok(())
}

/// A grant, and the model that its answers are compared with.
struct History<'s> {
    stack: &'s TestStack,
    client: String,
    code: String,
    model: Model,
}

impl History<'_> {
    fn body(&self, presents: Presents) -> Value {
        let body = match presents {
            Presents::Code => code_body(&self.code),
            Presents::Garbage => refresh_body("tmr_garbage"),
            Presents::Forged => refresh_body(&forge(&self.code)),
            Presents::Token(token) => refresh_body(&self.model.tokens[token]),
        };
        with(&body, &json!({"client_id": self.client}))
    }

    async fn present(&mut self, presents: Presents, trouble: Trouble) -> Result<(), TestCaseError> {
        match trouble {
            Trouble::None => {}
            Trouble::Fails(operation) => self.stack.calls.fail(operation, &[InjectedFault::NotSent; 6]),
            Trouble::Lost(answers) => self.stack.calls.fail("UpdateItem", &vec![InjectedFault::AnswerLost; answers]),
        }
        let body = self.body(presents);
        let mut answer = post(self.stack, &body).await;
        self.stack.calls.heal();
        let expected = self.model.expected(presents);
        if answer.status == 500 {
            // Nothing has happened, or a revocation that is as good; whoever repeats the request is served as if for
            // the first time.
            prop_assert!(expected == Expected::Revoked || matches!(trouble, Trouble::Fails(_)), "{:?}", answer);
            answer = post(self.stack, &body).await;
        }
        prop_assert_eq!(answer.status == 201, expected == Expected::Tokens, "{:?} {:?}", self.model, answer);
        prop_assert!(expected == Expected::Tokens || answer.json() == bad_credential());
        self.model.present(presents, || answer.refresh_token());
        Ok(())
    }

    async fn race(&mut self, presents: Presents) -> Result<(), TestCaseError> {
        let body = self.body(presents);
        let (one, two) = join(post(self.stack, &body), post(self.stack, &body)).await;
        let mut given: Vec<_> = [one, two].into_iter().filter(|answer| answer.status == 201).collect();
        // The same as one after the other.
        for _ in 0..2 {
            let expected = self.model.expected(presents) == Expected::Tokens;
            prop_assert!(!expected || !given.is_empty(), "{:?}", self.model);
            self.model.present(presents, || given.pop().unwrap().refresh_token());
        }
        prop_assert!(given.is_empty(), "{:?}", self.model);
        Ok(())
    }
}
