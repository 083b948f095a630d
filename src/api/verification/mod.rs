//! Verification of a presented key, in three protocols with the same decision.

pub mod forward_auth;
pub mod verify;
