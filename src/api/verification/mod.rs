//! Verification: one decision about a presented key, in three protocols.

pub mod forward_auth;
pub mod introspect;
pub mod verify;
