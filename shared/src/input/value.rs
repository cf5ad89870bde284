//! Parses a JSON value literally. `serde_json::Value` treats `{"$serde_json::private::RawValue": "<json>"}` as the JSON
//! in that text and starts counting the nesting levels again, so a sender could avoid the limit.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// A JSON value in which no member name is special.
pub(super) struct PlainValue(pub(super) Value);

impl<'de> Deserialize<'de> for PlainValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PlainVisitor).map(Self)
    }
}

struct PlainVisitor;

impl<'de> Visitor<'de> for PlainVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(PlainValue(value)) = entries.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, PlainValue(value))) = members.next_entry::<String, PlainValue>()? {
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use serde_json::json;

    use super::*;

    fn plain(json: &str) -> Option<Value> {
        serde_json::from_str::<PlainValue>(json).ok().map(|PlainValue(value)| value)
    }

    #[test]
    fn no_member_name_is_special() {
        for name in
            ["$serde_json::private::RawValue", "$serde_json::private::Number", "\\u0024serde_json::private::RawValue"]
        {
            let json = format!("{{\"{name}\":\"[1]\"}}");
            let value = plain(&json).unwrap();
            assert!(value.as_object().unwrap().values().eq([&json!("[1]")]), "{value}");
        }
    }

    #[test]
    fn nesting_is_limited() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(plain(&nested(127)).is_some());
        assert!(plain(&nested(128)).is_none());
    }

    proptest! {
        #[test]
        fn ordinary_json_is_read_as_by_serde_json(
            numbers in vec(any::<f64>(), 0..3), integers in vec(any::<i64>(), 0..3), texts in vec(".*", 0..3), truth: bool,
        ) {
            let json = json!({"n": numbers, "i": integers, "t": texts, "b": truth, "null": null, "u": u64::MAX}).to_string();
            prop_assert_eq!(plain(&json), serde_json::from_str(&json).ok());
        }
    }
}
