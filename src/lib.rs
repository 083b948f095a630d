//! mintkey: a self-hosted API-key service.
//!
//! | room | what it is | may use |
//! |---|---|---|
//! | [`domain`] | the words of the product and their rules; no I/O | nothing |
//! | [`store`] | what outlives the process; the only room that knows `entity` | `domain` |
//! | [`service`] | what the product does; knows no HTTP | `store`, `domain` |
//! | [`api`] | the product over HTTP | `service`, `domain` |
//! | [`config`], [`files`] | settings, private files | `service`, `domain` |
//! | [`telemetry`] | logs and traces | `config`, `api` |
//! | [`server`], [`cli`] | everything put together | all |
//!
//! Imports run one way, api -> service -> store -> entity; `make lint` checks it. One create, read top to bottom:
//! [`api::boundary`] (an answer in any case) -> [`api::auth`] (who) -> [`api::keys`] (what) -> [`service::keys`] (rules)
//! -> [`domain::secret`] (mint) -> `store::api_keys` (one transaction).

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
