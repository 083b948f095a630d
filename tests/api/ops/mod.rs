//! Operations: settings, commands, logs, metrics, health, backup and durability.

mod backup;
mod canaries;
mod closed_pipe;
mod config;
mod creates_nothing;
mod disconnects;
mod durability;
mod file_modes;
pub mod health;
mod keys_cli;
pub mod logs;
mod logs_sampled;
mod logs_unread;
pub mod metrics;
mod missing_master_secret;
mod pepper_rotation;
mod signals;
mod sqlite;
