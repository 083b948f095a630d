//! mintkey: a self-hosted API-key service.
//!
//! | layer | contents | may import |
//! |---|---|---|
//! | [`domain`] | the product's types and rules, without I/O | nothing |
//! | [`json`] | strict JSON parsing | nothing |
//! | [`store`] | transactions on SQLite and PostgreSQL; alone uses `entity` | `domain`, `files` |
//! | [`service`] | what the product does, without HTTP | `store`, `domain`, `json` |
//! | [`config`], [`files`] | settings and private files | `service`, `domain` |
//! | [`telemetry`] | logs, traces and metrics | `config`, `service` |
//! | [`http`] | plumbing that names no operation | `domain`, `json`, `telemetry` |
//! | [`api`] | the operations of the HTTP API | `http`, `service`, `domain` |
//! | [`openapi`] | the OpenAPI document and its page | `api`, `http` |
//! | [`server`], [`cli`] | the process | all |
//!
//! `make lint` checks the directions; docs/development/architecture.md explains them. A create passes, in order:
//! [`http::pipeline`] (request handling), [`api::auth`] (the caller), [`api::keys`] (the operation), [`service::keys`] (the
//! rules), [`domain::secret`] (minting) and `store::api_keys` (one transaction).

pub mod api;
pub mod cli;
pub mod config;
pub mod domain;
pub mod files;
pub mod http;
pub mod json;
pub mod openapi;
pub mod server;
pub mod service;
pub mod store;
pub mod telemetry;

/// The tracing target of spans that are exported to a collector and kept out of log lines. `store` and `http` open such
/// spans, `telemetry` filters by the target.
pub const SPAN_TARGET: &str = "trace";
