//! The rows of the tables and views, one per file. The `migration` crate creates the schema and documents each column.

pub mod api_key;
pub mod audit_event;
pub mod idempotency_record;
pub mod key_change_event;
pub mod key_usage;
pub mod owner_key_count;
pub mod pepper;
pub mod revocation_job;
pub mod rotated_secret;
pub mod schema_version;
pub mod secret;
pub mod secret_last_used;
