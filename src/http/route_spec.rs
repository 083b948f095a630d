//! RouteSpec: the facts about an operation that its schema cannot express. They are declared beside the operation.

use crate::http::negotiation::ErrorFormat;
use crate::http::problem::Problem;

/// How the pipeline treats an operation. [`RouteSpec::new`] has the safe choice for each fact.
#[derive(Debug, Clone, Copy)]
pub struct RouteSpec {
    /// The operation's id in the OpenAPI document.
    pub operation_id: &'static str,
    pub dispatch: Dispatch,
    pub cancellation: Cancellation,
    pub log: LogPolicy,
    pub query: QueryPolicy,
    pub target: TargetPolicy,
    /// The media type of errors for clients that accept any.
    pub error_format: ErrorFormat,
    /// Adds to a problem what the operation's own protocol requires of an error response.
    pub problem_members: fn(Problem) -> Problem,
    /// True if it is served also to clients for which the server has no place: the probes of an orchestrator, and metrics.
    pub is_probe: bool,
    /// True if pages of the origins in `--cors-origin` may read its responses. False for what machines call.
    pub allows_cors: bool,
}

/// How a request reaches the handler. poem's nested routers cost a tenth of a verification, and as much as the rules of a
/// create, so that the busiest operations bypass them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dispatch {
    /// Through poem's router, which alone extracts path parameters.
    Router,
    /// By a call of the operation's own boxed endpoint.
    Endpoint,
    /// By a static call of the pipeline's [`InlineOperation`](crate::http::pipeline::InlineOperation).
    Inline,
}

/// What happens to an operation whose client disconnects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancellation {
    /// It continues in a task of its own: a change must not stop between its commit and the invalidation of the cache.
    RunToCompletion,
    /// It is dropped at its next suspension point.
    Allowed,
}

/// The level of the access log line of a response with status 200.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogPolicy {
    Info,
    /// For requests that machines send all the time: their lines would be a log of all traffic, and half of the work.
    DebugOn200,
}

/// The query parameters that an operation accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryPolicy {
    /// Those in the document, each at most once.
    Declared,
    /// Any, because a third party adds its own: a proxied client, or an identity provider.
    Any,
}

/// The methods and paths that lead to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetPolicy {
    /// The operation's own.
    Exact,
    /// Any method, and any path below the operation's own: a proxy forwards those of its client.
    AnyMethodAndSubpath,
}

impl RouteSpec {
    pub const fn new(operation_id: &'static str) -> Self {
        Self {
            operation_id,
            dispatch: Dispatch::Router,
            cancellation: Cancellation::RunToCompletion,
            log: LogPolicy::Info,
            query: QueryPolicy::Declared,
            target: TargetPolicy::Exact,
            error_format: ErrorFormat::ProblemJson,
            problem_members: std::convert::identity,
            is_probe: false,
            allows_cors: true,
        }
    }
}
