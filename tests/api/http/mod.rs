//! HTTP: what holds for every operation.

mod absent_fields;
mod bodies;
mod client_address;
mod cors;
mod credentials;
mod declared_errors;
mod errors;
mod headers;
mod http2;
mod limits;
mod root;
mod tls;
