//! Paths: normalization before routing.

/// Where proxies ask, with their clients' methods and queries.
pub const FORWARD: &str = "/api/auth/forward";

/// The one spelling of a path by which it is routed: without a trailing slash, except the collection of keys, whose
/// contract has one.
pub fn normalize_path(path: &str) -> Option<String> {
    const COLLECTION: &str = "/api/auth/api-keys";
    if path == COLLECTION {
        return Some(format!("{COLLECTION}/"));
    }
    // Envoy puts its client's path behind this one.
    if path.starts_with(FORWARD) && path.as_bytes().get(FORWARD.len()) == Some(&b'/') {
        return Some(FORWARD.to_owned());
    }
    match path.strip_suffix('/') {
        Some("" | COLLECTION) | None => None,
        Some(shorter) if shorter.ends_with('/') => None,
        Some(shorter) => Some(shorter.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_of_each_path_is_routed() {
        assert_eq!(normalize_path("/api/auth/api-keys"), Some("/api/auth/api-keys/".into()));
        assert_eq!(normalize_path("/api/auth/api-keys/"), None);
        assert_eq!(normalize_path("/docs/"), Some("/docs".into()));
        assert_eq!(normalize_path("/docs"), None);
        assert_eq!(normalize_path("/docs//"), None, "one slash is forgiven, not two");
        assert_eq!(normalize_path("/"), None);
        assert_eq!(normalize_path("/api/auth/forward/any/path/"), Some(FORWARD.into()));
        assert_eq!(normalize_path("/api/auth/forwarder"), None);
    }
}
