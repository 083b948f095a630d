//! Error responses: an error of the framework becomes a problem, and a problem a response.

use poem::Response;
use poem::error::{MethodNotAllowedError, NotFoundError};
use poem_openapi::error::{ParseParamError, ParsePathError};

use crate::http::access_log::LoggedError;
use crate::http::negotiation::ErrorFormat;
use crate::http::problem::Problem;
use crate::http::request_context::RequestContext;
use crate::http::router::{Operation, Route};

/// Maps an error of the framework to a problem. An unknown one is a bug, and its text may hold internals.
pub fn error_to_problem(error: poem::Error, route: &Route) -> Problem {
    let error = match error.downcast::<Problem>() {
        Ok(problem) => return problem,
        Err(error) => error,
    };
    if let Some(parameter) = error.downcast_ref::<ParseParamError>() {
        Problem::bad_request(format!("The parameter {} {}.", parameter.name, rule(&parameter.reason)))
    } else if error.is::<ParsePathError>() || error.is::<poem::error::ParsePathError>() || error.is::<NotFoundError>() {
        // A malformed id gets the same response as an unknown one.
        Problem::not_found()
    } else if error.is::<MethodNotAllowedError>() {
        Problem::method_not_allowed("this method", &route.allow())
    } else {
        Problem::internal(error.to_string())
    }
}

/// The rule that a parameter breaks, from `failed to parse "Limit": must be ...`, as poem-openapi wraps it.
fn rule(reason: &str) -> String {
    let own =
        reason.split_once("\": ").map_or(reason, |(_, own)| own).split(" (occurred while").next().unwrap_or_default();
    match own.starts_with("must ") {
        true => own.to_owned(),
        false => format!("has an invalid value: {own}"),
    }
}

/// Checks that the document lists the status of an error. If not, that is a bug: it panics in a debug build, as in tests,
/// and is logged in a release build, where the client still gets the error.
pub fn check_declared(problem: &Problem, operation: &Operation) {
    if !operation.declares(problem.status) {
        let operation_id = operation.spec.operation_id;
        debug_assert!(false, "{operation_id} does not declare {problem}");
        tracing::error!(operation_id, %problem, "undeclared error status");
    }
}

/// Returns the response, and the reason and the cause of an error for the log.
pub fn render(
    result: Result<Response, Problem>,
    format: ErrorFormat,
    context: &RequestContext,
) -> (Response, Option<LoggedError>) {
    match result {
        Ok(response) => (response, None),
        Err(mut problem) => {
            let error = LoggedError { reason: problem.reason, cause: problem.log_context.take().map(String::from) };
            (problem.into_response(format.media_type(), context.request_id()), Some(error))
        }
    }
}

#[cfg(test)]
mod tests {
    use poem::http::StatusCode;

    use super::*;
    use crate::http::route_spec::{LogPolicy, QueryPolicy};
    use crate::http::router::{Page, RouteTable};
    use crate::telemetry::metrics::Metrics;

    #[test]
    fn framework_errors_become_problems() {
        let page = Page { path: "/page", query: QueryPolicy::Declared, log: LogPolicy::Info };
        let routes = RouteTable::for_health([], &Metrics::default()).with_pages(&[page], &Metrics::default());
        let route = routes.find("/page").unwrap();
        let status = |error: poem::Error| error_to_problem(error, route).status;
        assert_eq!(status(NotFoundError.into()), 404);
        assert_eq!(status(MethodNotAllowedError.into()), 405);
        assert_eq!(status(ParsePathError { name: "id", reason: "x".into() }.into()), 404);
        let reason = r#"failed to parse "Limit": must be 1 (occurred while parsing "Limits")"#.to_owned();
        let parameter = error_to_problem(ParseParamError { name: "limit", reason }.into(), route);
        assert_eq!(parameter.status, 400);
        assert_eq!(parameter.into_json("r")["detail"], "The parameter limit must be 1.");
        assert_eq!(status(Problem::body_too_large(70_000).into()), 413);
    }

    #[test]
    fn render_keeps_the_cause_for_the_log() {
        let problem = Problem::internal("the inside");
        let (response, error) = render(Err(problem), ErrorFormat::ProblemJson, &RequestContext::default());
        let logged = LoggedError { reason: "internal_error", cause: Some("the inside".to_owned()) };
        assert_eq!((response.status(), error), (StatusCode::INTERNAL_SERVER_ERROR, Some(logged)));
        let (response, error) = render(Ok(Response::default()), ErrorFormat::ProblemJson, &RequestContext::default());
        assert_eq!((response.status(), error), (StatusCode::OK, None));
    }
}
