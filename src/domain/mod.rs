//! Domain: the types of the product and their rules. No I/O and no framework, so that every layer may use it.

pub mod access;
pub mod api_key;
pub mod audit;
pub mod authority;
pub mod caller;
pub mod clock;
pub mod excerpt;
pub mod id;
pub mod idempotency_key;
pub mod issuer_policy;
pub mod key_limit;
pub mod key_name;
pub mod list_page;
pub mod metadata;
pub mod owner;
pub mod precondition;
pub mod revocation_job;
pub mod scope;
pub mod secret;
pub mod secret_hash;
pub mod text_encoding;
pub(crate) mod text_enum;
pub mod timestamp;
pub mod trusted_proxy;
pub mod validation;
pub mod verdict;
