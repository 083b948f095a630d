//! Verification: operations that check a key, for services and for proxies.

mod forward_auth;
mod verify;
