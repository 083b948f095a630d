//! OAuth: the endpoints of OAuth 2.0 that work on API keys. Token introspection (RFC 7662) tells whether a key is valid,
//! token revocation (RFC 7009) ends one.
//!
//! Both take forms, and both take the credential of their client in the three ways that OAuth clients send it
//! ([`client`]). Their errors have the members that such clients read ([`problem`]).

mod client;
mod form;
pub mod introspect;
pub mod problem;
pub mod revoke;
