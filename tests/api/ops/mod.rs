//! Operations: what an operator sets, sees and relies on.

mod backup;
mod config;
mod durability;
mod health;
mod keys_cli;
mod logs;
mod metrics;
mod pepper_rotation;
mod sqlite;
