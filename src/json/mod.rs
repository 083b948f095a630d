//! JSON: readers that are stricter than serde_json.

pub mod strict;
