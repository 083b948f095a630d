//! RequestPipeline: the outermost endpoint. Whatever happens inside, a request gets an answer in our shape, an id, and one line
//! in the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use poem::error::{MethodNotAllowedError, NotFoundError};
use poem::http::uri::PathAndQuery;
use poem::http::{HeaderValue, Method, Uri, header};
use poem::{Endpoint, Request, Response};
use poem_openapi::error::{ParseParamError, ParsePathError};
use tracing::{Instrument, Span, debug, error, info, warn};

use crate::api::verification::verify;
use crate::http::body::buffer::{BufferedBody, buffer_body};
use crate::http::negotiation::problem_media_type;
use crate::http::panic::catch_panic;
use crate::http::paths::{FORWARD, normalize_path};
use crate::http::problem::Problem;
use crate::http::query_check::check_query;
use crate::http::request_context::{REQUEST_ID, RequestContext};
use crate::http::router::{Route, RouteTable, Way, method_label};
use crate::http::run_to_completion::RunToCompletion;
use crate::service::Services;

pub struct RequestPipeline<E> {
    pub inner: Arc<E>,
    pub routes: Arc<RouteTable>,
    pub services: Arc<Services>,
    pub request_timeout: Duration,
}

impl<E: Endpoint<Output = Response> + 'static> Endpoint for RequestPipeline<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let started = Instant::now();
        let context = RequestContext::new(&request, self.services.clock());
        route_by_canonical_path(&mut request);
        if request.uri().path() == FORWARD {
            // A proxy asks with its client's method, which means nothing here.
            request.set_method(Method::GET);
        }
        let route = self.routes.find(request.uri().path());
        let method = request.method().clone();
        let media_type = problem_media_type(&request);

        // A span costs as much as a verdict, and nothing on that way writes a line of its own.
        let span = match route {
            Some(route) if route.is_asked_often() => Span::none(),
            _ => context.span(),
        };
        let outcome = match span.is_none() {
            true => self.answer(request, route, &context).await,
            false => self.answer(request, route, &context).instrument(span.clone()).await,
        };
        let (mut response, cause) = match outcome {
            Ok(response) => (response, None),
            Err(mut problem) => {
                let cause = problem.log_context.take();
                (problem.into_response(media_type, context.request_id()), cause)
            }
        };
        let headers = response.headers_mut();
        let request_id = HeaderValue::from_str(context.request_id()).expect("a request id is visible ASCII");
        headers.insert(REQUEST_ID, request_id);
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));

        let status = response.status();
        let (method, took) = (method_label(&method), started.elapsed());
        self.routes.metrics(route).answered(method, status.as_u16(), took);
        let logged = status != 200 || tracing::enabled!(tracing::Level::DEBUG);
        let span = if span.is_none() && logged { context.span() } else { span };
        let _in_request = span.enter();
        macro_rules! line {
            ($level:ident) => {
                $level!(
                    method,
                    route = route.map_or("-", |route| &route.template),
                    status = status.as_u16(),
                    duration_ms = took.as_micros() as f64 / 1e3,
                    subject = context.subject(),
                    cause,
                    "answered"
                )
            };
        }
        match status.as_u16() {
            503 => line!(warn),
            500.. => line!(error),
            // What gateways ask on every request would be a log of all their traffic, and half the work of answering it.
            200 if route.is_some_and(Route::is_asked_often) => line!(debug),
            _ => line!(info),
        }
        Ok(response)
    }
}

impl<E: Endpoint<Output = Response> + 'static> RequestPipeline<E> {
    /// With all that the operations take from it.
    fn attach_extensions(&self, mut request: Request, context: &RequestContext, received: BufferedBody) -> Request {
        request.set_data(self.services.clone());
        request.extensions_mut().insert(context.clone());
        request.extensions_mut().insert(received);
        request
    }

    async fn answer(
        &self,
        mut request: Request,
        route: Option<&Route>,
        context: &RequestContext,
    ) -> Result<Response, Problem> {
        let received = buffer_body(&mut request, self.request_timeout).await?;
        let route = route.ok_or_else(Problem::not_found)?;
        let operation = route.operation(request.method()).ok_or_else(|| Problem::method_not_allowed(&route.allow()))?;
        if !route.takes_any_query() {
            check_query(&request, operation)?;
        }
        let answered = match &operation.way {
            Way::Verify => catch_panic(verify::direct(&request, received, &self.services, context)).await,
            Way::Direct(endpoint) => {
                catch_panic(endpoint.call(self.attach_extensions(request, context, received))).await
            }
            Way::Change(endpoint) => {
                run_to_completion(endpoint.clone(), self.attach_extensions(request, context, received)).await
            }
            Way::Routed => {
                run_to_completion(self.inner.clone(), self.attach_extensions(request, context, received)).await
            }
        };
        match answered {
            Some(Ok(response)) => Ok(response),
            Some(Err(error)) => Err(error_to_problem(error, route)),
            None => Err(Problem::internal("a handler panicked; the line before says where")),
        }
    }
}

/// The same, and the operation comes to its end in any case: a client that goes away must not stop a change between its
/// commit and the moment the cache hears of it.
fn run_to_completion<E: Endpoint<Output = Response> + 'static>(
    endpoint: Arc<E>,
    request: Request,
) -> RunToCompletion<Option<poem::Result<Response>>> {
    let traced = request.extensions().get().cloned().unwrap_or(Span::none());
    RunToCompletion::of(catch_panic(async move { endpoint.call(request).await }), traced)
}

/// What the framework raises, in our words. Anything that is not known here is our fault, and its text stays inside.
fn error_to_problem(error: poem::Error, route: &Route) -> Problem {
    let error = match error.downcast::<Problem>() {
        Ok(problem) => return problem,
        Err(error) => error,
    };
    if let Some(parameter) = error.downcast_ref::<ParseParamError>() {
        Problem::bad_request(format!(
            "The parameter {} has a value that it cannot have; see the document.",
            parameter.name
        ))
    } else if error.is::<ParsePathError>() || error.is::<poem::error::ParsePathError>() || error.is::<NotFoundError>() {
        // An id that cannot be is answered like one that is not.
        Problem::not_found()
    } else if error.is::<MethodNotAllowedError>() {
        Problem::method_not_allowed(&route.allow())
    } else {
        Problem::internal(error.to_string())
    }
}

fn route_by_canonical_path(request: &mut Request) {
    let Some(path) = normalize_path(request.uri().path()) else { return };
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = request.uri().clone().into_parts();
    if let Ok(path_and_query) = PathAndQuery::try_from(format!("{path}{query}")) {
        parts.path_and_query = Some(path_and_query);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;
    use poem::endpoint::{make, make_sync};
    use poem::http::StatusCode;
    use tokio::sync::Notify;

    use super::*;
    use crate::http::problem::PROBLEM_JSON;
    use crate::telemetry::metrics::Metrics;

    async fn boundary(inner: impl Endpoint<Output = Response> + 'static) -> impl Endpoint<Output = Response> {
        RequestPipeline {
            inner: Arc::new(inner),
            routes: RouteTable::of_probes([], &Metrics::default()).with_api(&["/page"], &Metrics::default()).into(),
            services: Arc::new(crate::service::tests::services().await),
            request_timeout: Duration::from_secs(5),
        }
    }

    async fn body(response: Response) -> serde_json::Value {
        serde_json::from_slice(&response.into_body().into_vec().await.unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_panic_is_a_500_that_tells_nothing_of_the_inside() {
        let request = Request::builder().uri_str("/page").finish();
        let panics = make_sync(|_| -> Response { panic!("the inside") });
        let response = boundary(panics).await.call(request).await.unwrap();
        assert_eq!(response.status(), 500);
        assert_eq!(response.content_type(), Some(PROBLEM_JSON));
        let body = body(response).await;
        assert_eq!(body["status"], 500);
        assert!(!body.to_string().contains("the inside"));
    }

    #[tokio::test]
    async fn an_error_that_nobody_foresaw_is_a_500_that_tells_nothing_of_the_inside() {
        let request = Request::builder().uri_str("/page").finish();
        let unforeseen =
            make_sync(|_| Err::<Response, _>(poem::Error::from_string("the inside", StatusCode::BAD_REQUEST)));
        let response = boundary(unforeseen).await.call(request).await.unwrap();
        assert_eq!(response.status(), 500);
        assert!(!body(response).await.to_string().contains("the inside"));
    }

    #[tokio::test]
    async fn an_operation_comes_to_its_end_though_its_client_went_away() {
        let (go, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (goes, tells) = (go.clone(), done.clone());
        let waits = make(move |_| {
            let (go, done) = (goes.clone(), tells.clone());
            async move {
                go.notified().await;
                done.notify_one();
                Response::default()
            }
        });
        let boundary = boundary(waits).await;
        let mut answer = Box::pin(boundary.call(Request::builder().uri_str("/page").finish()));
        assert!(poll!(&mut answer).is_pending());
        drop(answer);
        go.notify_one();
        done.notified().await;
    }
}
