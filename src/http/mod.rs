//! HTTP: request pipeline, routing, bodies, headers and errors. Knows no operation and no rule of the service; the `api`
//! layer passes both in.

pub mod access_log;
pub mod body;
pub mod client_address;
pub mod cors;
pub mod error_reason;
pub mod error_response;
pub mod headers;
pub mod memory_budget;
pub mod negotiation;
pub mod otel;
pub mod panic;
pub mod params;
pub mod paths;
pub mod pipeline;
pub mod problem;
pub mod query_check;

pub mod request_context;
pub mod route_spec;
pub mod router;
pub mod run_to_completion;
pub mod trace_context;
pub mod values;
