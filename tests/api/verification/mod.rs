//! Verification: three operations that check a key, for services, for proxies and for OAuth clients.

mod forward_auth;
mod introspect;
mod verify;
