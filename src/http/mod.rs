//! HTTP: plumbing that names no operation and no rule of the service.

pub mod body;
pub mod headers;
pub mod otel;
pub mod params;
pub mod pipeline;
pub mod problem;
pub mod request_context;
pub mod router;
pub mod run_to_completion;
pub mod values;
