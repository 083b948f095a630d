//! RouteTable: the paths that exist, with the methods and query parameters of each.
//!
//! It is built from the operations themselves, for what poem's router does not know: the template of a path for the log,
//! `Allow` for a 405, which query parameters are declared, and how the pipeline treats the operation ([`RouteSpec`]).
//! A path without parameters is found before a template that matches it, too.

use std::collections::HashMap;
use std::sync::Arc;

use poem::Request;
use poem::endpoint::BoxEndpoint;
use poem::http::uri::PathAndQuery;
use poem::http::{Method, StatusCode, Uri};
use poem_openapi::OpenApi;
use poem_openapi::registry::{MetaOperation, MetaParamIn};

use crate::http::paths::PathRules;
use crate::http::route_spec::{Cancellation, Dispatch, LogPolicy, QueryPolicy, RouteSpec, TargetPolicy};
use crate::telemetry::metrics::{Metrics, RouteMetrics};

/// A path, its query parameters, and what serves it.
pub type HealthEndpoint = (&'static str, &'static [&'static str], BoxEndpoint<'static>);

pub struct RouteTable {
    literal: Vec<Route>,
    templates: Vec<Route>,
    path_rules: PathRules,
    /// Of requests to paths that do not exist.
    unmatched: RouteMetrics,
}

pub struct Route {
    pub template: String,
    operations: Vec<Operation>,
    metrics: RouteMetrics,
}

pub struct Operation {
    method: Method,
    query_params: Vec<String>,
    /// The declared statuses; empty if the operation is not in the document.
    statuses: Vec<u16>,
    pub handler: Handler,
    pub spec: RouteSpec,
}

/// [`Dispatch`], with the endpoint that it calls.
pub enum Handler {
    Router,
    Endpoint(Arc<BoxEndpoint<'static>>),
    Inline,
}

/// A path that takes a plain GET and is served through poem's router.
pub struct Page {
    pub path: &'static str,
    pub query: QueryPolicy,
    pub log: LogPolicy,
}

/// The route of a request, and the operation that its method selects.
#[derive(Clone, Copy, Default)]
pub struct Matched<'t> {
    pub route: Option<&'t Route>,
    pub operation: Option<&'t Operation>,
}

impl Matched<'_> {
    pub fn log_policy(&self) -> LogPolicy {
        self.operation.map_or(LogPolicy::Info, |operation| operation.spec.log)
    }

    /// True if the route's responses may have CORS headers, or if there is no route.
    pub fn allows_cors(&self) -> bool {
        self.route.is_none_or(|route| route.operations.iter().all(|operation| operation.spec.allows_cors))
    }
}

impl RouteTable {
    /// Starts a table with endpoints that each serve GET on a path outside of the API, such as health checks. Each has its
    /// query parameters.
    pub fn for_health(endpoints: impl IntoIterator<Item = HealthEndpoint>, metrics: &Metrics) -> Self {
        let route = |(path, query_params, endpoint): HealthEndpoint| {
            let spec = RouteSpec {
                dispatch: Dispatch::Endpoint,
                cancellation: Cancellation::Allowed,
                log: LogPolicy::DebugOn200,
                is_probe: true,
                allows_cors: false,
                ..RouteSpec::new(path)
            };
            let mut route = Route::plain_get(path, Handler::Endpoint(endpoint.into()), spec, metrics);
            route.operations[0].query_params = query_params.iter().map(ToString::to_string).collect();
            route
        };
        Self {
            literal: endpoints.into_iter().map(route).collect(),
            templates: Vec::new(),
            path_rules: PathRules::default(),
            unmatched: metrics.route("-", [].into_iter()),
        }
    }

    /// Adds the operations of an API whose paths begin with `base`. Panics if an operation has no spec.
    pub fn with_operations<O: OpenApi>(
        mut self,
        base: &str,
        operations: O,
        specs: &[RouteSpec],
        metrics: &Metrics,
    ) -> Self {
        let mut endpoints = HashMap::new();
        operations.add_routes(&mut endpoints);
        for path in O::meta().into_iter().flat_map(|api| api.paths) {
            let mut by_method = endpoints.remove(&path.path).unwrap_or_default();
            let template = format!("{base}{}", path.path);
            let metrics = metrics.route(&template, path.operations.iter().filter_map(success_status));
            let operations = path.operations.into_iter().map(|meta| {
                let endpoint = by_method.remove(&meta.method);
                Operation::new(meta, endpoint, specs)
            });
            self.add(Route { operations: operations.collect(), template, metrics });
        }
        self
    }

    pub fn with_pages(mut self, pages: &[Page], metrics: &Metrics) -> Self {
        for page in pages {
            let spec = RouteSpec { query: page.query, log: page.log, ..RouteSpec::new(page.path) };
            self.add(Route::plain_get(page.path, Handler::Router, spec, metrics));
        }
        self
    }

    fn add(&mut self, route: Route) {
        if route.template.ends_with('/') {
            self.path_rules.add_collection(&route.template);
        }
        if route.operations.iter().any(|operation| operation.spec.target == TargetPolicy::AnyMethodAndSubpath) {
            self.path_rules.add_subtree(&route.template);
        }
        let list = if route.template.contains('{') { &mut self.templates } else { &mut self.literal };
        list.push(route);
    }

    /// Finds what serves a request, and gives the request the normal spelling of its path and, where any method is
    /// accepted, the method of the operation.
    pub fn resolve(&self, request: &mut Request) -> Matched<'_> {
        let path = request.uri().path();
        let normal = self.path_rules.normalize(path);
        let route = self.find_normal(normal);
        if normal.len() != path.len() {
            let normal = normal.to_owned();
            set_path(request, &normal);
        }
        let Some(route) = route else { return Matched::default() };
        let any_method = route.operations.iter().find(|o| o.spec.target == TargetPolicy::AnyMethodAndSubpath);
        if let Some(operation) = any_method {
            request.set_method(operation.method.clone());
        }
        Matched { route: Some(route), operation: route.operation(request.method()) }
    }

    /// Finds the route of a path, in any spelling.
    pub fn find(&self, path: &str) -> Option<&Route> {
        self.find_normal(self.path_rules.normalize(path))
    }

    fn find_normal(&self, path: &str) -> Option<&Route> {
        let literal = self.literal.iter().find(|route| route.template == path);
        literal.or_else(|| self.templates.iter().find(|route| matches(&route.template, path)))
    }

    pub fn metrics<'a>(&'a self, route: Option<&'a Route>) -> &'a RouteMetrics {
        route.map_or(&self.unmatched, |route| &route.metrics)
    }
}

impl Route {
    fn plain_get(path: &str, handler: Handler, spec: RouteSpec, metrics: &Metrics) -> Self {
        Self {
            template: path.to_owned(),
            operations: vec![Operation {
                method: Method::GET,
                query_params: Vec::new(),
                statuses: Vec::new(),
                handler,
                spec,
            }],
            metrics: metrics.route(path, [("GET", StatusCode::OK)].into_iter()),
        }
    }

    /// The methods, as `Allow` lists them. GET implies HEAD (RFC 9110, section 9.3.2).
    pub fn allow(&self) -> String {
        let mut methods: Vec<_> = self.operations.iter().map(|operation| operation.method.as_str()).collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.sort_unstable();
        methods.join(", ")
    }

    fn operation(&self, method: &Method) -> Option<&Operation> {
        let wanted = if method == Method::HEAD { &Method::GET } else { method };
        self.operations.iter().find(|operation| operation.method == wanted)
    }
}

impl Operation {
    fn new(meta: MetaOperation, endpoint: Option<BoxEndpoint<'static>>, specs: &[RouteSpec]) -> Self {
        let id = meta.operation_id.unwrap_or_default();
        let spec = specs.iter().find(|spec| spec.operation_id == id);
        let spec = *spec.unwrap_or_else(|| panic!("the operation {id} has no route spec"));
        let handler = match spec.dispatch {
            Dispatch::Router => Handler::Router,
            Dispatch::Endpoint => Handler::Endpoint(endpoint.expect("an operation has an endpoint").into()),
            Dispatch::Inline => Handler::Inline,
        };
        let query_params = meta.params.into_iter().filter(|param| param.in_type == MetaParamIn::Query);
        Self {
            query_params: query_params.map(|param| param.name).collect(),
            statuses: meta.responses.responses.iter().filter_map(|response| response.status).collect(),
            method: meta.method,
            handler,
            spec,
        }
    }

    /// True if the document lists this status for the operation, or does not list the operation.
    pub fn declares(&self, status: StatusCode) -> bool {
        self.statuses.is_empty() || self.statuses.contains(&status.as_u16())
    }

    pub fn has_query_param(&self, name: &str) -> bool {
        self.query_params.iter().any(|param| param == name)
    }
}

/// Returns an operation's method and the status of its successful responses.
fn success_status(operation: &MetaOperation) -> Option<(&'static str, StatusCode)> {
    let statuses =
        operation.responses.responses.iter().filter_map(|response| StatusCode::from_u16(response.status?).ok());
    Some((method_label(&operation.method), statuses.into_iter().find(StatusCode::is_success)?))
}

/// Returns the name of a registered method in use, else `-`: any token is a method by RFC 9110, a credential too, and a
/// client must not add labels to metrics.
pub fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "-",
    }
}

fn matches(template: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    template
        .split('/')
        .all(|wanted| segments.next().is_some_and(|segment| wanted.starts_with('{') || wanted == segment))
        && segments.next().is_none()
}

fn set_path(request: &mut Request, path: &str) {
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
    use poem::endpoint::make_sync;
    use poem::{EndpointExt, Response};

    use super::*;

    fn health() -> RouteTable {
        let endpoint = make_sync(|_| Response::default()).map_to_response().boxed();
        RouteTable::for_health([("/livez", &[][..], endpoint)], &Metrics::default())
    }

    fn table() -> RouteTable {
        let mut table = health().with_pages(
            &[
                Page { path: "/keys/", query: QueryPolicy::Declared, log: LogPolicy::Info },
                Page { path: "/keys/{id}", query: QueryPolicy::Any, log: LogPolicy::Info },
            ],
            &Metrics::default(),
        );
        let spec = RouteSpec { target: TargetPolicy::AnyMethodAndSubpath, ..RouteSpec::new("forward") };
        table.add(Route::plain_get("/forward", Handler::Router, spec, &Metrics::default()));
        table
    }

    fn request(method: Method, uri: &str) -> Request {
        Request::builder().method(method).uri_str(uri).finish()
    }

    #[test]
    fn resolve_normalizes_the_path_and_keeps_the_query() {
        let table = table();
        let mut sent = request(Method::GET, "/keys?limit=1");
        assert_eq!(table.resolve(&mut sent).route.unwrap().template, "/keys/");
        assert_eq!(sent.uri().to_string(), "/keys/?limit=1");
    }

    #[test]
    fn resolve_finds_a_template_and_no_operation_for_another_method() {
        let table = table();
        let matched = table.resolve(&mut request(Method::POST, "/keys/5"));
        assert_eq!(matched.route.unwrap().template, "/keys/{id}");
        assert!(matched.operation.is_none());
        assert_eq!(matched.route.unwrap().allow(), "GET, HEAD");
        assert!(table.resolve(&mut request(Method::HEAD, "/keys/5")).operation.is_some());
        assert!(table.resolve(&mut request(Method::GET, "/nothing")).route.is_none());
    }

    #[test]
    fn resolve_maps_any_method_and_subpath_to_the_operation() {
        let mut sent = request(Method::DELETE, "/forward/a/b?x=1");
        let table = table();
        let matched = table.resolve(&mut sent);
        assert_eq!(matched.operation.unwrap().spec.operation_id, "forward");
        assert_eq!((sent.method(), sent.uri().path()), (&Method::GET, "/forward"));
    }

    #[test]
    fn templates_match_whole_paths() {
        assert!(matches("/a/{id}/b", "/a/5/b"));
        assert!(!matches("/a/{id}/b", "/a/5"));
        assert!(!matches("/a/{id}", "/a/5/b"));
    }
}
