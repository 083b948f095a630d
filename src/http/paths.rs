//! Paths: each has one spelling by which it is routed.
//!
//! 1. A collection is declared with a trailing slash: `/keys` is routed as `/keys/`.
//! 2. Any other path loses one trailing slash: `/docs/` is routed as `/docs`; `/docs//` is left alone, and not found.
//! 3. A path below a subtree is routed as the subtree: `/forward/any/path` as `/forward`, but not `/forwarder`.

/// The declared paths to which a rule other than the second applies.
#[derive(Default)]
pub struct PathRules {
    collections: Vec<String>,
    subtrees: Vec<String>,
}

impl PathRules {
    pub fn add_collection(&mut self, path: &str) {
        self.collections.push(path.to_owned());
    }

    pub fn add_subtree(&mut self, path: &str) {
        self.subtrees.push(path.to_owned());
    }

    /// Returns the spelling by which a path is routed.
    pub fn normalize<'a>(&'a self, path: &'a str) -> &'a str {
        let is_collection = |collection: &&String| path == *collection || Some(path) == collection.strip_suffix('/');
        let contains =
            |subtree: &&String| path.strip_prefix(subtree.as_str()).is_some_and(|rest| rest.starts_with('/'));
        if let Some(collection) = self.collections.iter().find(is_collection) {
            return collection;
        }
        if let Some(subtree) = self.subtrees.iter().find(contains) {
            return subtree;
        }
        match path.strip_suffix('/') {
            Some(shorter) if !shorter.is_empty() && !shorter.ends_with('/') => shorter,
            _ => path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalize_leaves_one_spelling_of_each_path() {
        let mut rules = PathRules::default();
        rules.add_collection("/api/auth/api-keys/");
        rules.add_subtree("/api/auth/forward");
        for (path, normal) in [
            ("/api/auth/api-keys", "/api/auth/api-keys/"),
            ("/api/auth/api-keys/", "/api/auth/api-keys/"),
            ("/docs/", "/docs"),
            ("/docs", "/docs"),
            ("/docs//", "/docs//"),
            ("/", "/"),
            ("/api/auth/forward/any/path/", "/api/auth/forward"),
            ("/api/auth/forward/", "/api/auth/forward"),
            ("/api/auth/forwarder", "/api/auth/forwarder"),
        ] {
            assert_eq!(rules.normalize(path), normal, "{path}");
        }
    }
}
