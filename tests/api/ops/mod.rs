//! Operations: what an operator sets, sees and relies on.

mod backup;
mod config;
mod durability;
pub mod health;
mod keys_cli;
pub mod logs;
mod metrics;
mod pepper_rotation;
mod sqlite;
