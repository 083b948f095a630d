//! The tables and views, one a file: columns and relations only. The schema itself is made by `migration`.

pub mod api_key;
pub mod audit_event;
pub mod former_secret;
pub mod idempotent_request;
pub mod key_usage;
pub mod pepper;
pub mod schema_level;
pub mod secret;
pub mod secret_use;
