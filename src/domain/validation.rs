//! Validation error: a value that breaks a rule.

use std::borrow::Cow;

/// A value that breaks a rule. The text says what the rule is, never what the value was,
/// so that it can be shown to whoever sent the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationError(pub Cow<'static, str>);

impl ValidationError {
    pub const fn new(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl std::fmt::Display for ValidationError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ValidationError {}
