//! `User-Agent`, as audit events store it.

use poem::Request;
use poem::http::header;

use crate::domain::secret::Secret;

/// Enough of a user agent to recognize it.
const MAX_CHARS: usize = 255;

/// Returns the first 255 characters, or nothing if the header may hold a credential that was put there by mistake.
pub fn user_agent(request: &Request) -> Option<String> {
    let text = request.headers().get(header::USER_AGENT)?.to_str().ok()?;
    let has_credential = text.contains("eyJ") || Secret::is_in(text);
    (!has_credential).then(|| text.chars().take(MAX_CHARS).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(text: &str) -> Option<String> {
        user_agent(&Request::builder().header(header::USER_AGENT, text).finish())
    }

    #[test]
    fn user_agent_keeps_255_characters() {
        assert_eq!(sent("curl/8.5.0"), Some("curl/8.5.0".into()));
        assert_eq!(sent(&"a".repeat(300)), Some("a".repeat(255)));
        assert_eq!(user_agent(&Request::builder().finish()), None);
    }

    #[test]
    fn user_agent_with_a_credential_is_dropped() {
        assert_eq!(sent("curl eyJhbGciOiJFUzI1NiJ9.e30.x"), None);
    }
}
