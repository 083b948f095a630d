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
    ("extract_scope_schema", passes::scopes::extract_scope_schema),
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
            assert_ne!(document, before, "{name}");
        }
    }
}
