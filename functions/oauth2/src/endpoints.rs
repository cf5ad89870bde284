//! What the endpoints share.

use shared::{
    auth::Authenticator,
    error::ValidationError,
    input::{Parameters, required},
    store::Store,
    tokens::{grants::Grants, machine_tokens::MachineTokens},
};

#[derive(Debug)]
pub(crate) struct Endpoints {
    pub(crate) authenticator: Authenticator,
    pub(crate) grants: Grants,
    pub(crate) machine_tokens: MachineTokens,
    pub(crate) store: Store,
}

/// The `token` of a form, without white space around it and a leading `Bearer`: people paste what they find in a
/// header.
pub(crate) fn pasted_token(form: &Parameters) -> Result<&str, ValidationError> {
    let text = form.required("token")?.trim();
    let token = match text.split_at_checked("Bearer".len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("Bearer") && token.starts_with(char::is_whitespace) => {
            token.trim_start()
        }
        _ => text,
    };
    required("token", Some(token).filter(|token| !token.is_empty()))
}
