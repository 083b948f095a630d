//! Verification: `verify`, `forward` and `introspect` say whether a key is valid.

mod forward_auth;
mod introspect;
mod verify;
