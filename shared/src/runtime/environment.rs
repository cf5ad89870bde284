//! What a function gets when it starts: environment variables, AWS configuration, time and randomness.

use std::{collections::HashMap, fmt, str::FromStr, sync::Arc};

use aws_config::SdkConfig;

use crate::{
    clock::{Clock, SystemClock},
    error::Constraint,
    random::{Random, SystemRandom},
    runtime::aws,
};

/// The environment that a function runs in. In production it is that of the process; the `local` crate and the tests
/// make their own.
#[derive(Clone)]
pub struct Environment {
    pub variables: HashMap<String, String>,
    /// Region, credentials, endpoints, timeouts and retries for the AWS SDK.
    pub aws: SdkConfig,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
}

impl Environment {
    /// The environment of this process.
    pub async fn of_process() -> Self {
        // What is not UTF-8 becomes a text that no setting accepts, so that it is refused and not taken as absent.
        let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
        let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        Self {
            variables: variables.collect(),
            aws: aws::config().load().await,
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
        }
    }

    /// An environment with these variables and without AWS, to read settings from.
    #[must_use]
    pub fn with_variables(variables: HashMap<String, String>) -> Self {
        let aws = SdkConfig::builder().build();
        Self { variables, aws, clock: Arc::new(SystemClock), random: Arc::new(SystemRandom) }
    }

    /// A setting that the function cannot run without.
    pub fn required<T: FromStr<Err = Constraint>>(&self, variable: &'static str) -> Result<T, SettingsError> {
        self.optional(variable)?.ok_or_else(|| SettingsError::not_set(variable))
    }

    /// An optional setting. An empty variable counts as not set, because an empty parameter of the template results in
    /// one.
    pub fn optional<T: FromStr<Err = Constraint>>(&self, variable: &'static str) -> Result<Option<T>, SettingsError> {
        match self.variables.get(variable).filter(|value| !value.is_empty()) {
            None => Ok(None),
            Some(value) => value.parse().map(Some).map_err(|rule| SettingsError { variable, rule }),
        }
    }
}

/// Does not show the values of the variables, because the AWS credentials are among them.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("variables", &self.variables.keys()).finish_non_exhaustive()
    }
}

/// An environment variable is missing or malformed, so the function cannot start.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("environment variable {variable} {rule}")]
pub struct SettingsError {
    variable: &'static str,
    rule: Constraint,
}

impl SettingsError {
    pub(crate) const fn new(variable: &'static str, rule: Constraint) -> Self {
        Self { variable, rule }
    }

    pub(crate) const fn not_set(variable: &'static str) -> Self {
        Self { variable, rule: Constraint::new("is not set") }
    }
}

#[cfg(test)]
impl Environment {
    /// With these variables, for unit tests.
    pub(crate) fn of(variables: &[(&str, &str)]) -> Self {
        Self::with_variables(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_value() {
        let text = format!("{:?}", Environment::of(&[("AWS_SECRET_ACCESS_KEY", "hush")]));
        assert!(text.contains("AWS_SECRET_ACCESS_KEY") && !text.contains("hush"));
    }
}
