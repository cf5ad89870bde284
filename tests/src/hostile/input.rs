//! Random changes of valid input.

use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::{Value, json};

use super::MARKER;

/// JSON texts, and some that are not JSON.
const FIXED: &[&str] = &[
    "null",
    "true",
    "0",
    "-1",
    "-0.0",
    "1e400",
    "1E-400",
    "18446744073709551616",
    "-9223372036854775809",
    "\"\"",
    "[]",
    "{}",
    "[null]",
    "[[]]",
    "NaN",
    "Infinity",
    "'x'",
    "01",
    "+1",
    ".5",
    "",
    "\"",
    "[",
    "{\"",
    ",",
    "\\",
    "/**/1",
    "\u{feff}1",
    "\"hostileMarker\"",
    "\"\\u0000hostileMarker\"",
    "\"\\ud800hostileMarker\"",
    "\"\\udc00\\ud800hostileMarker\"",
    "\"hostileMarker\\ud83d\\ude00\"",
    "\"\u{202e}hostileMarker\"",
    "[\"hostileMarker\"]",
    "[\"hostileMarker\",\"hostileMarker\"]",
    "{\"x\":\"hostileMarker\"}",
    "\"hostileMarker@example.com\"",
    "\"hostileMarker\u{0}\"",
    "\"hostileMarker\u{1f}\"",
];

/// A text in place of a JSON value.
pub(super) fn fragment() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => proptest::sample::select(FIXED).prop_map(str::to_owned),
        2 => any::<String>().prop_map(|text| json!(format!("{MARKER}{text}")).to_string()),
        1 => any::<f64>().prop_map(|number| number.to_string()),
        1 => any::<i128>().prop_map(|number| number.to_string()),
        1 => (1..3000_usize).prop_map(|depth| "[".repeat(depth) + &"]".repeat(depth)),
        1 => (1..300_usize).prop_map(|depth| "{\"x\":".repeat(depth) + "1" + &"}".repeat(depth)),
        1 => (0..20_000_usize).prop_map(|length| format!("\"{MARKER}{}\"", "x".repeat(length))),
        1 => vec(Just(format!("\"{MARKER}\"")), 0..60).prop_map(|entries| format!("[{}]", entries.join(","))),
    ]
}

/// A change to the members of a valid request, which are pairs of name and JSON text.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Value(Index, String),
    Repeat(Index, String),
    Unknown(String),
    Remove(Index),
}

pub(super) fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        4 => (any::<Index>(), fragment()).prop_map(|(at, value)| Change::Value(at, value)),
        1 => (any::<Index>(), fragment()).prop_map(|(at, value)| Change::Repeat(at, value)),
        1 => fragment().prop_map(Change::Unknown),
        1 => any::<Index>().prop_map(Change::Remove),
    ];
    vec(change, 0..4)
}

/// A change to the bytes of a text.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    Truncate(Index),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Replace(Vec<u8>),
    Prefix(Vec<u8>),
}

pub(super) fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        any::<Index>().prop_map(Edit::Truncate),
        (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        (any::<Index>(), vec(any::<u8>(), 1..8)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        vec(any::<u8>(), 0..200).prop_map(Edit::Replace),
        prop_oneof![Just("\u{feff}".into()), Just(b"\xff".to_vec()), Just(vec![0]), Just(b" \n".to_vec())]
            .prop_map(Edit::Prefix),
    ];
    prop_oneof![2 => Just(vec![]), 1 => vec(edit, 1..3)]
}

/// A form, changed and then edited. The JSON text of a value takes the place of a parameter's.
pub(super) fn broken_form(object: &Value, changes: Vec<Change>, edits: Vec<Edit>) -> Vec<u8> {
    let members = changed(object, |value| value.as_str().unwrap().to_owned(), changes);
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(members).finish();
    edited(body.into_bytes(), edits)
}

/// A JSON object, changed and then edited.
pub(super) fn broken(object: &Value, changes: Vec<Change>, edits: Vec<Edit>) -> Vec<u8> {
    let members = changed(object, Value::to_string, changes);
    let members: Vec<_> = members.into_iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
    edited(format!("{{{}}}", members.join(",")).into_bytes(), edits)
}

/// The names of the members and their values as text, changed.
fn changed(object: &Value, text: impl Fn(&Value) -> String, changes: Vec<Change>) -> Vec<(String, String)> {
    let mut members: Vec<_> =
        object.as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value))).collect();
    for change in changes {
        let at = |index: &Index| index.index(members.len());
        match change {
            Change::Unknown(value) => members.push(("unknown".to_owned(), value)),
            _ if members.is_empty() => {}
            Change::Value(index, value) => {
                let at = at(&index);
                members[at].1 = value;
            }
            Change::Repeat(index, value) => members.push((members[at(&index)].0.clone(), value)),
            Change::Remove(index) => drop(members.remove(at(&index))),
        }
    }
    members
}

fn edited(mut bytes: Vec<u8>, edits: Vec<Edit>) -> Vec<u8> {
    for edit in edits {
        match edit {
            Edit::Replace(other) => bytes = other,
            Edit::Prefix(prefix) => drop(bytes.splice(..0, prefix)),
            _ if bytes.is_empty() => {}
            Edit::Truncate(at) => bytes.truncate(at.index(bytes.len())),
            Edit::Flip(at, bit) => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            Edit::Insert(at, more) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, more);
            }
        }
    }
    bytes
}
