//! Limits: sizes, times and numbers of connections.

mod body_size;
mod connections;
mod memory;
mod places;
