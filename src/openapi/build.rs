//! Building the document: poem-openapi's description of the operations, then the passes over it, in order.

use serde_json::{Value, json};

use crate::api;
use crate::openapi::{examples, passes};

/// A pass with its name.
type Pass = (&'static str, fn(&mut Value));

/// The passes, in order. Later ones rely on earlier ones: errors become references before headers are added, and
/// `normalize` runs before the passes that move schemas.
const PASSES: [Pass; 9] = [
    ("name_error_responses", passes::errors::name_error_responses),
    ("deny_unknown_properties", passes::requests::deny_unknown_properties),
    ("add_response_links", passes::links::add_response_links),
    ("add_request_id_header", passes::headers::add_request_id_header),
    ("normalize", passes::normalize::normalize),
    ("add_cross_field_rules", passes::requests::add_cross_field_rules),
    ("list_bearer_first", passes::security::list_bearer_first),
    ("add_enum_varnames", passes::enums::add_enum_varnames),
    ("add_examples", examples::add_examples),
];

pub fn build() -> Value {
    let mut document: Value = serde_json::from_str(&api::service().spec()).expect("poem-openapi writes JSON");
    document["openapi"] = json!("3.0.3");
    for (_, pass) in PASSES {
        pass(&mut document);
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pass_changes_the_document() {
        let mut document: Value = serde_json::from_str(&api::service().spec()).unwrap();
        for (name, pass) in PASSES {
            let before = document.clone();
            pass(&mut document);
            // As text, because objects in another order are equal.
            assert_ne!(document.to_string(), before.to_string(), "{name}");
        }
    }

    /// Every value of `pattern` below this one.
    fn patterns(value: &Value) -> Vec<&str> {
        match value {
            Value::Object(members) => {
                let own = members.get("pattern").and_then(Value::as_str);
                own.into_iter().chain(members.values().flat_map(patterns)).collect()
            }
            Value::Array(items) => items.iter().flat_map(patterns).collect(),
            _ => Vec::new(),
        }
    }

    /// Finds what not every regex dialect takes, or takes alike: ECMAScript with its flag `u`, PCRE on bytes, RE2, Python,
    /// Java, .NET and Ruby. The allowed escapes are those of syntax characters, and `\xHH` within ASCII.
    fn dialect_specific(pattern: &str) -> Option<&'static str> {
        if regex::Regex::new(pattern).is_err() {
            return Some("is no regular expression of RE2");
        }
        if !pattern.is_ascii() {
            return Some("has a character outside of ASCII, which PCRE takes for several");
        }
        let (mut rest, mut in_class) = (pattern, false);
        while let Some(first) = rest.chars().next() {
            let syntax = |rest: &str, from: usize| rest[from..].starts_with(|c| "^$\\.*+?()[]{}|/".contains(c));
            let is_ascii_code =
                rest.starts_with("\\x") && rest.as_bytes().get(2).is_some_and(|b| (b'0'..b'8').contains(b));
            rest = match first {
                '\\' if is_ascii_code => &rest[4..],
                '\\' if syntax(rest, 1) => &rest[2..],
                '\\' => return Some("has an escape with a meaning of its own in some dialect"),
                '[' if in_class => return Some("has a bracket in a class, which Java takes for a class"),
                '&' | '~' | '-' if in_class && rest[1..].starts_with(first) => {
                    return Some("has an operator between classes");
                }
                '(' if rest.starts_with("(?") => return Some("has a look-around or a flag"),
                '*' | '+' | '?' | '}' if !in_class && rest[1..].starts_with(['+', '?']) => {
                    return Some("has a lazy or possessive quantifier");
                }
                // RE2 limits what nested counts multiply to.
                ')' if !in_class && rest.starts_with("){") => return Some("has a count of a group"),
                _ => &rest[1..],
            };
            in_class = first == '[' || in_class && first != ']';
        }
        None
    }

    #[test]
    fn patterns_are_in_the_common_subset_of_regex_dialects() {
        let document = build();
        let patterns = patterns(&document);
        assert!(patterns.len() > 10, "{patterns:?}");
        for pattern in patterns {
            assert_eq!(dialect_specific(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn patterns_of_one_dialect_are_found() {
        let bad = [
            r"^(?!x)y$",
            r"\u0000",
            r"\x{7f}",
            r"\x80",
            r"\d",
            r"\s",
            r"\p{L}",
            r"\A",
            r"[[:alpha:]]",
            r"[a[b]",
            r"[a&&b]",
            r"a+?",
            r"a*+",
            r"(a{1,9}){2}",
            r"(a)\1",
            "é",
            "(",
        ];
        for pattern in bad {
            assert!(dialect_specific(pattern).is_some(), "{pattern}");
        }
    }

    /// A client that checks both refuses real times: those patterns know fewer forms than RFC 3339.
    #[test]
    fn formats_have_no_pattern_beside_them() {
        fn check(value: &Value) {
            let both = value.get("format").is_some_and(Value::is_string) && value.get("pattern").is_some();
            assert!(!both, "{value}");
            let below = value.as_object().into_iter().flat_map(|members| members.values());
            below.chain(value.as_array().into_iter().flatten()).for_each(check);
        }
        check(&build());
    }

    #[test]
    fn integers_that_fit_have_32_bits() {
        fn check(value: &Value) {
            let fits = value["maximum"].as_i64().is_some_and(|maximum| i32::try_from(maximum).is_ok());
            assert!(!(fits && value["format"] == "int64"), "{value}");
            let below = value.as_object().into_iter().flat_map(|members| members.values());
            below.chain(value.as_array().into_iter().flatten()).for_each(check);
        }
        check(&build());
    }

    #[test]
    fn bearer_is_the_first_security_scheme() {
        let document = build();
        let schemes = document["components"]["securitySchemes"].as_object().unwrap();
        assert_eq!(schemes.keys().next().map(String::as_str), Some("bearer"));
    }
}
