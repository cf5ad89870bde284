//! Events that are not events.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::{Value, json, value::RawValue};

use super::{
    MARKER,
    input::{Change, Edit, broken, changes, edits, fragment},
    timed,
};
use crate::harness::{Answer, TestStack, api, events, runner};

/// The JSON pointers to all values of an event.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    for (name, member) in value.as_object().into_iter().flatten() {
        pointers(member, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found);
    }
    for (index, entry) in value.as_array().into_iter().flatten().enumerate() {
        pointers(entry, &format!("{at}/{index}"), found);
    }
}

#[derive(Clone, Debug)]
struct HostileEvent {
    event: Index,
    places: Vec<(Index, Value)>,
    body: Option<(Vec<Change>, Vec<Edit>, bool)>,
    changes: Vec<Change>,
    edits: Vec<Edit>,
}

impl HostileEvent {
    /// The event, changed as this says.
    fn broken(self, event: &Value) -> Vec<u8> {
        let mut event = event.clone();
        if let (Some((changes, edits, encoded)), Some(body)) = (self.body, event["body"].as_str()) {
            let body = serde_json::from_str(body).unwrap_or(json!({}));
            let body = broken(&body, changes, edits);
            event["body"] = String::from_utf8_lossy(&body).into();
            if encoded {
                event["isBase64Encoded"] = true.into();
                if !body.len().is_multiple_of(4) {
                    event["body"] = STANDARD.encode(body).into();
                }
            }
        }
        for (place, value) in self.places {
            let mut places = vec![];
            pointers(&event, "", &mut places);
            *event.pointer_mut(&places[place.index(places.len())]).unwrap() = value;
        }
        if event.is_object() { broken(&event, self.changes, self.edits) } else { event.to_string().into() }
    }
}

fn hostile_event() -> impl Strategy<Value = HostileEvent> {
    let json = fragment().prop_filter_map("JSON", |text| serde_json::from_str(&text).ok());
    let places = prop_oneof![1 => Just(vec![]), 2 => vec((any::<Index>(), json), 1..3)];
    let body = proptest::option::of((changes(), edits(), any::<bool>()));
    // Most stay valid events, so that the functions see them.
    let outside = prop_oneof![3 => Just((vec![], vec![])), 1 => (changes(), edits())];
    (any::<Index>(), places, body, outside).prop_map(|(event, places, body, (changes, edits))| HostileEvent {
        event,
        places,
        body,
        changes,
        edits,
    })
}

/// Sent through Lambda's Invoke, which accepts any text as an event.
#[test]
fn no_event_causes_more_than_a_function_error() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (stack, _) = runtime.block_on(TestStack::with_demo());
    let events = events();
    let slowest = Cell::new(Duration::ZERO);
    let outcomes = RefCell::new(BTreeMap::<_, usize>::new());
    let result = runner(ProptestConfig::default().cases).run(&hostile_event(), |hostile| {
        let (name, event) = hostile.event.get(&events);
        let function = name.split('.').next().unwrap();
        let payload = hostile.broken(event);
        let is_json = payload.is_empty() || serde_json::from_slice::<Box<RawValue>>(&payload).is_ok();
        let url = stack.url(&format!("/2015-03-31/functions/{function}/invocations"));
        let request = stack.http.post(url).body(payload);
        let (answer, took) = runtime.block_on(timed(stack.send(request)));
        slowest.set(slowest.get().max(took));
        prop_assert_eq!(answer.status, 200);
        let (result, failed) = (answer.json(), answer.header("x-amz-function-error").is_some());
        let (outcome, refused) = match (failed, result["statusCode"].as_u64()) {
            (true, _) => {
                let kind = result["errorType"].as_str().unwrap();
                let known: &[_] =
                    if is_json { &["InvalidRequest", "NotFound", "Taken"] } else { &["Runtime.UnmarshalError"] };
                prop_assert!(known.contains(&kind), "{}", result);
                (kind.to_owned(), true)
            }
            (false, Some(status)) => {
                let http = http_answer(&result);
                prop_assert!(status < 500, "{}", result);
                let documented = api().routes_of(function).any(|route| api().check(route, &http).is_ok());
                prop_assert!(documented, "{}", result);
                (status.to_string(), status >= 300)
            }
            (false, None) => ("done".to_owned(), false),
        };
        prop_assert!(!refused || !answer.text.contains(MARKER), "{}", result);
        *outcomes.borrow_mut().entry((function.to_owned(), outcome)).or_default() += 1;
        Ok(())
    });
    println!("{:#?}, the slowest in {:?}", outcomes.borrow(), slowest.get());
    result.unwrap();
}

/// The HTTP response that API Gateway makes from a function's answer.
fn http_answer(answer: &Value) -> Answer {
    let headers = answer["headers"].as_object().unwrap().iter();
    let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.as_str().unwrap().parse().unwrap()));
    let status = answer["statusCode"].as_u64().unwrap().try_into().unwrap();
    Answer { status, headers: headers.collect(), text: answer["body"].as_str().unwrap().to_owned() }
}
