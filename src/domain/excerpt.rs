//! Excerpt: what a client sent, shortened so that an error or a log line can show it.

use std::fmt;

use serde_json::Value;

use crate::domain::key_name::is_invisible;
use crate::domain::secret::Secret;

/// The beginning of a value that is not trusted: escaped as JSON, without invisible characters, at most 100 characters,
/// and empty if it looks like a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt(String);

impl Excerpt {
    /// In characters, before invisible ones are escaped.
    const MAX: usize = 100;

    /// Of a JSON value; `missing` if there is none.
    pub fn of(value: Option<&Value>) -> Self {
        let Some(value) = value else { return Self("missing".to_owned()) };
        let text = value.to_string();
        if text.contains("eyJ") || Secret::is_in(&text) {
            return Self("(looks like a credential)".to_owned());
        }
        let (shown, rest) = text.split_at(text.char_indices().nth(Self::MAX).map_or(text.len(), |(end, _)| end));
        let mut excerpt = String::new();
        for c in shown.chars() {
            match is_invisible(c) {
                true => excerpt.extend(c.escape_unicode()),
                false => excerpt.push(c),
            }
        }
        if !rest.is_empty() {
            excerpt.push_str("...");
        }
        Self(excerpt)
    }

    /// Of a string; `missing` if there is none.
    pub fn of_text(text: Option<&str>) -> Self {
        Self::of(text.map(Value::from).as_ref())
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::json;

    use super::*;
    use crate::domain::secret::Entropy;

    #[test]
    fn excerpt_is_short_escaped_and_never_a_credential() {
        let secret = Secret::mint(&"mk".parse().unwrap(), &Entropy::fixed([1; 32]), DateTime::UNIX_EPOCH);
        for credential in [secret.expose(), "eyJhbGciOiJFZERTQSJ9.e30.c2ln"] {
            assert_eq!(Excerpt::of_text(Some(credential)).to_string(), "(looks like a credential)");
        }
        for (before, after) in
            [("\n", ""), ("\u{1}", " x"), ("Bearer%20", "%0A"), ("KEY_", ""), ("x_", "_x"), ("é", "é")]
        {
            let text = format!("{before}{}{after}", secret.expose());
            assert_eq!(Excerpt::of_text(Some(&text)).to_string(), "(looks like a credential)", "{text}");
        }
        let shown = |text: &str| Excerpt::of_text(Some(text)).to_string();
        assert_eq!(shown("a\nlevel=INFO"), r#""a\nlevel=INFO""#);
        assert_eq!(shown("a\u{202e}b\u{7f}\u{85}\u{2028}"), r#""a\u{202e}b\u{7f}\u{85}\u{2028}""#);
        assert_eq!(shown(&"é".repeat(200)).chars().count(), Excerpt::MAX + 3);
        assert_eq!(shown(&"é".repeat(98)), format!("\"{}\"", "é".repeat(98)));
        assert_eq!(Excerpt::of(Some(&json!(["a", 1]))).to_string(), r#"["a",1]"#);
        assert_eq!(Excerpt::of(None).to_string(), "missing");
    }
}
