//! ValidationError: a value that breaks a rule.

use std::borrow::Cow;

/// The rule that a value breaks, in words. Never the value, so that the text can be sent to clients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValidationError(pub Cow<'static, str>);

impl ValidationError {
    /// An error with this rule, such as `must be in the future`.
    pub const fn new(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }
}
