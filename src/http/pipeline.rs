//! RequestPipeline: the outermost endpoint. Every request leaves it with a response, a request id and a log line; one whose
//! client has left, with the line alone.
//!
//! It is one endpoint and not a chain of middleware: each poem wrapper boxes a future, and together they cost a tenth of a
//! verification. The steps are functions instead, called in order by [`RequestPipeline::call`].

use std::sync::Arc;
use std::time::Instant;

use poem::http::{HeaderValue, header};
use poem::{Endpoint, Request, Response};
use tracing::{Instrument, Span};

use crate::domain::clock::Clock;
use crate::http::access_log::RequestRecord;
use crate::http::body::reader::{BodyLimits, BodyReader};
use crate::http::client_address::ClientAddressRule;
use crate::http::cors::{CheckedOrigin, CorsPolicy};
use crate::http::error_response::{check_declared, error_to_problem, render};
use crate::http::negotiation::ErrorFormat;
use crate::http::panic::catch_panic;
use crate::http::problem::Problem;
use crate::http::query_check::check_query;
use crate::http::request_context::{REQUEST_ID, RequestContext};
use crate::http::route_spec::Cancellation;
use crate::http::router::{Handler, Matched, RouteTable, method_label};
use crate::http::run_to_completion::RunToCompletion;
use crate::json::pointer::is_safe_to_echo;

/// The operation that the pipeline calls for [`Dispatch::Inline`](crate::http::route_spec::Dispatch::Inline), without the
/// boxes of a router: there they cost as much as the operation.
pub trait InlineOperation: Clone + Send + Sync + 'static {
    fn call(
        &self,
        request: &Request,
        body: BodyReader<'_>,
        context: &RequestContext,
    ) -> impl Future<Output = poem::Result<Response>> + Send;
}

/// For a pipeline whose routes have no inline operation.
#[derive(Clone)]
pub struct NoInlineOperation;

impl InlineOperation for NoInlineOperation {
    async fn call(&self, _: &Request, _: BodyReader<'_>, _: &RequestContext) -> poem::Result<Response> {
        Err(Problem::internal("a route is dispatched inline, and there is no inline operation").into())
    }
}

/// `S` is the state that handlers take as `Data<&S>`.
pub struct RequestPipeline<E, I, S> {
    pub router: Arc<E>,
    pub inline: I,
    pub state: S,
    pub routes: Arc<RouteTable>,
    pub clock: Clock,
    pub body_limits: BodyLimits,
    pub clients: Arc<ClientAddressRule>,
    /// Absent if no page of another origin may read responses.
    pub cors: Option<Arc<CorsPolicy>>,
    /// Present if only probes are served: the detail of the 503 that other requests get.
    pub overload: Option<Arc<str>>,
}

impl<E, I, S> Endpoint for RequestPipeline<E, I, S>
where
    E: Endpoint<Output = Response> + 'static,
    I: InlineOperation,
    S: Clone + Send + Sync + 'static,
{
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let started = Instant::now();
        let context = RequestContext::new(&request, &self.clock, &self.clients);
        let matched = self.routes.resolve(&mut request);
        let method = method_label(request.method());
        let default = matched.operation.map_or(ErrorFormat::ProblemJson, |operation| operation.spec.error_format);
        let format = ErrorFormat::from_accept(request.headers(), default);
        let origin = match &self.cors {
            Some(policy) if matched.allows_cors() => Some(policy.check(request.headers())),
            _ => None,
        };

        let record = RequestRecord::new(started, method, matched, &self.routes, &context);

        // Both branches call and await in one expression. A future that is kept in a variable first is copied once more,
        // and it is large.
        let result = match record.span.is_none() {
            true => self.dispatch(request, matched, origin, &context).await,
            false => self.dispatch(request, matched, origin, &context).instrument(record.span.clone()).await,
        };

        let result = match (result, matched.operation) {
            (Err(problem), Some(operation)) => {
                check_declared(&problem, operation);
                Err((operation.spec.problem_members)(problem))
            }
            (result, _) => result,
        };
        let (mut response, error) = render(result, format, &context);
        set_common_headers(&mut response, &context);
        if let Some(origin) = origin {
            origin.set_headers(response.headers_mut());
        }
        record.complete(response.status().as_u16(), error);
        Ok(response)
    }
}

impl<E, I, S> RequestPipeline<E, I, S>
where
    E: Endpoint<Output = Response> + 'static,
    I: InlineOperation,
    S: Clone + Send + Sync + 'static,
{
    pub fn with_cors(self, policy: Option<CorsPolicy>) -> Self {
        Self { cors: policy.map(Arc::new), ..self }
    }

    /// Returns a pipeline that serves probes only. Other requests get 503 with this detail.
    pub fn probes_only(&self, detail: &str) -> Self {
        Self {
            router: self.router.clone(),
            inline: self.inline.clone(),
            state: self.state.clone(),
            routes: self.routes.clone(),
            clock: self.clock.clone(),
            body_limits: self.body_limits.clone(),
            clients: self.clients.clone(),
            cors: self.cors.clone(),
            overload: Some(detail.into()),
        }
    }

    /// Checks the request against the route and calls the operation, which reads the body.
    async fn dispatch(
        &self,
        mut request: Request,
        matched: Matched<'_>,
        origin: Option<CheckedOrigin<'_>>,
        context: &RequestContext,
    ) -> Result<Response, Problem> {
        if matched.operation.is_none()
            && let Some(response) = origin.and_then(|origin| origin.respond_to_preflight(&request))
        {
            return response;
        }
        if let Some(detail) = &self.overload
            && !matched.operation.is_some_and(|operation| operation.spec.is_probe)
        {
            return Err(Problem::unavailable(&**detail, 1));
        }
        let route = matched.route.ok_or_else(Problem::not_found)?;
        let operation = matched.operation.ok_or_else(|| {
            let method = Some(request.method().as_str()).filter(|method| is_safe_to_echo(method));
            Problem::method_not_allowed(method.unwrap_or("this method"), &route.allow())
        })?;
        check_query(&request, operation)?;
        let result = match (&operation.handler, operation.spec.cancellation) {
            (Handler::Inline, _) => {
                let body = BodyReader::new(request.take_body(), &self.body_limits);
                catch_panic(self.inline.call(&request, body, context)).await
            }
            (Handler::Endpoint(endpoint), Cancellation::Allowed) => {
                catch_panic(endpoint.call(self.attach_extensions(request, context))).await
            }
            (Handler::Endpoint(endpoint), Cancellation::RunToCompletion) => {
                run_to_completion(endpoint.clone(), self.attach_extensions(request, context)).await
            }
            (Handler::Router, Cancellation::Allowed) => {
                catch_panic(self.router.call(self.attach_extensions(request, context))).await
            }
            (Handler::Router, Cancellation::RunToCompletion) => {
                run_to_completion(self.router.clone(), self.attach_extensions(request, context)).await
            }
        };
        match result {
            Some(Ok(response)) => Ok(response),
            Some(Err(error)) => Err(error_to_problem(error, route)),
            None => Err(Problem::internal("a handler panicked; the log line before has the location")),
        }
    }

    /// Attaches what extractors need: the state, the context and the limits of the body.
    fn attach_extensions(&self, mut request: Request, context: &RequestContext) -> Request {
        request.set_data(self.state.clone());
        request.extensions_mut().insert(context.clone());
        request.extensions_mut().insert(self.body_limits.clone());
        request
    }
}

/// Calls an endpoint that continues after its client has disconnected.
fn run_to_completion<E: Endpoint<Output = Response> + 'static>(
    endpoint: Arc<E>,
    request: Request,
) -> RunToCompletion<Option<poem::Result<Response>>> {
    let traced = request.extensions().get().cloned().unwrap_or(Span::none());
    RunToCompletion::of(catch_panic(async move { endpoint.call(request).await }), traced)
}

/// Sets the headers that every response has. An operation may choose its own caching.
fn set_common_headers(response: &mut Response, context: &RequestContext) {
    let headers = response.headers_mut();
    let request_id = HeaderValue::from_str(context.request_id()).expect("a request id is visible ASCII");
    headers.insert(REQUEST_ID, request_id);
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::poll;
    use poem::endpoint::{make, make_sync};
    use poem::http::{Method, StatusCode};
    use tokio::sync::Notify;

    use super::*;
    use crate::http::memory_budget::MemoryBudget;
    use crate::http::problem::PROBLEM_JSON;
    use crate::http::route_spec::{Dispatch, LogPolicy, QueryPolicy, RouteSpec};
    use crate::http::router::Page;
    use crate::telemetry::metrics::Metrics;

    fn routes() -> RouteTable {
        let page = Page { path: "/page", query: QueryPolicy::Declared, log: LogPolicy::Info };
        RouteTable::for_health([], &Metrics::default()).with_pages(&[page], &Metrics::default())
    }

    fn body_limits() -> BodyLimits {
        let (timeout, budget) = (Duration::from_secs(5), || MemoryBudget::of(0).into());
        BodyLimits { timeout, memory: budget(), unauthenticated_memory: budget() }
    }

    fn pipeline<E>(router: E, routes: RouteTable) -> RequestPipeline<E, NoInlineOperation, ()> {
        RequestPipeline {
            router: Arc::new(router),
            inline: NoInlineOperation,
            state: (),
            routes: routes.into(),
            clock: Clock::System,
            body_limits: body_limits(),
            clients: ClientAddressRule::NO_PROXIES.into(),
            cors: None,
            overload: None,
        }
    }

    struct Undeclared;

    #[poem_openapi::OpenApi]
    impl Undeclared {
        #[oai(path = "/undeclared", method = "get", operation_id = "undeclared")]
        async fn fail(&self) -> poem::Result<poem_openapi::payload::PlainText<String>> {
            Err(Problem::not_found().into())
        }
    }

    #[tokio::test]
    #[should_panic(expected = "undeclared does not declare 404 Not Found")]
    async fn undeclared_error_status_panics_in_tests() {
        let spec = RouteSpec { dispatch: Dispatch::Endpoint, ..RouteSpec::new("undeclared") };
        let routes = routes().with_operations("", Undeclared, &[spec], &Metrics::default());
        let pipeline = pipeline(make_sync(|_| Response::default()), routes);
        let _ = pipeline.call(Request::builder().uri_str("/undeclared").finish()).await;
    }

    fn context() -> RequestContext {
        RequestContext::new(
            &Request::builder().header(REQUEST_ID, "r-1").finish(),
            &Clock::System,
            &ClientAddressRule::NO_PROXIES,
        )
    }

    async fn body(response: Response) -> serde_json::Value {
        serde_json::from_slice(&response.into_body().into_vec().await.unwrap()).unwrap()
    }

    #[tokio::test]
    async fn panic_is_a_500_without_internals() {
        let request = Request::builder().uri_str("/page").finish();
        let panics = make_sync(|_| -> Response { panic!("the inside") });
        let response = pipeline(panics, routes()).call(request).await.unwrap();
        assert_eq!(response.status(), 500);
        assert_eq!(response.content_type(), Some(PROBLEM_JSON));
        let body = body(response).await;
        assert_eq!(body["status"], 500);
        assert!(!body.to_string().contains("the inside"));
    }

    #[tokio::test]
    async fn unknown_error_is_a_500_without_internals() {
        let request = Request::builder().uri_str("/page").finish();
        let unknown =
            make_sync(|_| Err::<Response, _>(poem::Error::from_string("the inside", StatusCode::BAD_REQUEST)));
        let response = pipeline(unknown, routes()).call(request).await.unwrap();
        assert_eq!(response.status(), 500);
        assert!(!body(response).await.to_string().contains("the inside"));
    }

    #[tokio::test]
    async fn operation_completes_after_its_client_disconnects() {
        let (go, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (wait_for, notify) = (go.clone(), done.clone());
        let waits = make(move |_| {
            let (go, done) = (wait_for.clone(), notify.clone());
            async move {
                go.notified().await;
                done.notify_one();
                Response::default()
            }
        });
        let pipeline = pipeline(waits, routes());
        let mut response = Box::pin(pipeline.call(Request::builder().uri_str("/page").finish()));
        assert!(poll!(&mut response).is_pending());
        drop(response);
        go.notify_one();
        done.notified().await;
    }

    #[tokio::test]
    async fn inline_route_without_an_inline_operation_is_a_500() {
        let (request, limits) = (Request::default(), body_limits());
        let body = BodyReader::new(poem::Body::empty(), &limits);
        let error = NoInlineOperation.call(&request, body, &context()).await.unwrap_err();
        assert_eq!(error.status(), 500);
    }

    #[tokio::test]
    async fn probes_only_refuses_other_requests() {
        let livez = poem::EndpointExt::boxed(make_sync(|_| Response::default()));
        let routes = RouteTable::for_health([("/livez", &[][..], livez)], &Metrics::default());
        let pages = [Page { path: "/page", query: QueryPolicy::Declared, log: LogPolicy::Info }];
        let routes = routes.with_pages(&pages, &Metrics::default());
        let pipeline = pipeline(make_sync(|_| Response::default()), routes);
        let get = |path| Request::builder().uri_str(path).finish();
        let probes_only = pipeline.probes_only("No place is free.");
        assert_eq!(probes_only.call(get("/livez")).await.unwrap().status(), 200);
        for path in ["/page", "/nothing"] {
            let refused = probes_only.call(get(path)).await.unwrap();
            assert_eq!((refused.status().as_u16(), refused.header("retry-after")), (503, Some("1")), "{path}");
            assert_eq!(body(refused).await["detail"], "No place is free.");
        }
    }

    #[tokio::test]
    async fn cors_headers_are_on_panics_and_on_refusals_of_overload() {
        let panics = make_sync(|_| -> Response { panic!("the inside") });
        let pipeline = pipeline(panics, routes()).with_cors(CorsPolicy::new(&["https://a.example".to_owned()]));
        let request = |method| Request::builder().method(method).uri_str("/page").header("origin", "https://a.example");
        let overloaded = pipeline.probes_only("No place is free.");
        for (pipeline, status) in [(&pipeline, 500), (&overloaded, 503)] {
            let preflight = request(Method::OPTIONS).header("access-control-request-method", "GET").finish();
            let preflight = pipeline.call(preflight).await.unwrap();
            let refused = pipeline.call(request(Method::GET).finish()).await.unwrap();
            assert_eq!((preflight.status().as_u16(), refused.status().as_u16()), (204, status));
            for response in [preflight, refused] {
                assert_eq!(response.header("access-control-allow-origin"), Some("https://a.example"));
                assert_eq!(response.header("vary"), Some("Origin"));
            }
        }
    }

    #[test]
    fn span_is_absent_where_success_is_logged_at_debug() {
        let endpoint = poem::EndpointExt::boxed(make_sync(|_| Response::default()));
        let routes = RouteTable::for_health([("/livez", &[][..], endpoint)], &Metrics::default());
        let matched = routes.resolve(&mut Request::builder().uri_str("/livez").finish());
        let context = context();
        assert!(RequestRecord::new(Instant::now(), "GET", matched, &routes, &context).span.is_none());
    }

    #[test]
    fn common_headers_keep_the_caching_of_the_operation() {
        let mut response = Response::builder().header(header::CACHE_CONTROL, "max-age=60").finish();
        set_common_headers(&mut response, &context());
        assert_eq!(response.header("x-request-id"), Some("r-1"));
        assert_eq!(response.header("cache-control"), Some("max-age=60"));
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
        let mut response = Response::default();
        set_common_headers(&mut response, &context());
        assert_eq!(response.header("cache-control"), Some("no-store"));
    }
}
