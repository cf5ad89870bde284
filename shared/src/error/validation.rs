//! What is wrong with a value that somebody sent or configured.

use std::{borrow::Cow, ops::RangeInclusive};

/// The rule that a value breaks, as the end of a sentence that begins with the field's name: "must be a UUID".
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Constraint(Cow<'static, str>);

impl Constraint {
    /// A rule with a fixed text.
    #[must_use]
    pub const fn new(rule: &'static str) -> Self {
        Self(Cow::Borrowed(rule))
    }

    /// "must be a, b or c".
    #[must_use]
    pub fn one_of(names: &[&str]) -> Self {
        let (last, others) = names.split_last().map_or(("", &[][..]), |(last, others)| (*last, others));
        Self(format!("must be {} or {last}", others.join(", ")).into())
    }

    /// The error that `field` breaks this rule.
    pub fn of(self, field: impl Into<Cow<'static, str>>) -> ValidationError {
        ValidationError::new(field, self.0)
    }

    /// `rule` is broken unless the length of `text` in bytes is in `length` and every byte is allowed.
    pub fn check(
        text: &str,
        length: RangeInclusive<usize>,
        allowed: impl Fn(u8) -> bool,
        rule: &'static str,
    ) -> Result<(), Self> {
        Self::require(length.contains(&text.len()) && text.bytes().all(allowed), rule)
    }

    /// `rule` is broken unless `holds`.
    pub fn require(holds: bool, rule: &'static str) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self::new(rule)) }
    }
}

/// A field of a request breaks a rule.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field} {rule}")]
pub struct ValidationError {
    field: Cow<'static, str>,
    rule: Cow<'static, str>,
}

impl ValidationError {
    /// `field` is a name, from the code or from the request. It is never a value, because messages repeat it.
    pub fn new(field: impl Into<Cow<'static, str>>, rule: impl Into<Cow<'static, str>>) -> Self {
        Self { field: field.into(), rule: rule.into() }
    }
}
