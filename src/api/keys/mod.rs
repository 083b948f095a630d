//! Operations on the current user's API keys, one file each.

pub mod create;
pub mod delete;
pub mod get;
pub mod list;
pub mod requests;
pub mod responses;
pub mod revoke;
pub mod rotate;
pub mod schemas;
pub mod update;
