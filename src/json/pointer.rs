//! JSON pointers (RFC 6901) to parts of a document that a client sent.

use std::fmt;

/// True if a name that a client made up may appear in a response: a word of ASCII letters, digits, `_` and `-`, too
/// short to be a credential that was sent in the wrong place. Such a name needs no escaping in a pointer.
pub fn is_safe_to_echo(name: &str) -> bool {
    const MAX_BYTES: usize = 40;
    (1..=MAX_BYTES).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// The pointer to an item of the array, or a field that is safe to echo, at `parent`.
pub fn child(parent: &str, step: impl fmt::Display) -> String {
    format!("{parent}/{step}")
}

/// The pointer to a field of the object at `parent`; `parent` itself if the field's name is not safe to echo.
pub fn field(parent: &str, name: &str) -> String {
    if is_safe_to_echo(name) { child(parent, name) } else { parent.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_with_unsafe_name_points_at_the_object() {
        let secret = format!("mk_{}", "a".repeat(49));
        for unsafe_name in ["", "a b", "a/b", "é", "a\"", &secret] {
            assert_eq!(field("/metadata", unsafe_name), "/metadata", "{unsafe_name}");
        }
        assert_eq!(field("/metadata", "key_id-2"), "/metadata/key_id-2");
    }
}
