//! The words of the product and their rules. No I/O, no framework: everything else may use this room.

pub mod access;
pub mod api_key;
pub mod audit;
pub mod caller;
pub mod clock;
pub mod key_name;
pub mod metadata;
pub mod scope;
pub mod secret;
pub mod trace;
pub mod validation;
pub mod verdict;
