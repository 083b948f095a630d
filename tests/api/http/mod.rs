//! HTTP: what holds for every operation.

mod bodies;
mod cors;
mod credentials;
mod declared_errors;
mod errors;
mod headers;
mod http2;
mod limits;
mod tls;
