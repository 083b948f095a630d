//! Operations: settings, commands, logs, metrics, health, backup and durability.

mod backup;
mod canaries;
mod config;
mod durability;
pub mod health;
mod keys_cli;
pub mod logs;
mod metrics;
mod pepper_rotation;
mod sqlite;
