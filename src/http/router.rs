//! Routes: the paths there are, with the methods and query parameters that each takes. Made from the operations
//! themselves, for what poem's router does not tell: the template of a path for the log, `Allow` for a 405, and which
//! query parameters were never declared.

use std::collections::HashMap;
use std::sync::Arc;

use poem::endpoint::BoxEndpoint;
use poem::http::{Method, StatusCode};
use poem_openapi::OpenApi;
use poem_openapi::registry::{MetaOperation, MetaParamIn};

use crate::api::Operations;
use crate::api::tag::BASE;
use crate::http::paths::FORWARD;
use crate::openapi::swagger_ui::LOGIN_CALLBACK_PATH;
use crate::telemetry::metrics::{Metrics, RouteMetrics};

pub struct RouteTable {
    /// Paths without parameters, which are found before a template that would match them too.
    literal: Vec<Route>,
    templates: Vec<Route>,
    /// Of paths that are no route.
    unknown: RouteMetrics,
}

pub struct Route {
    pub template: String,
    operations: Vec<Operation>,
    metrics: RouteMetrics,
}

pub struct Operation {
    method: Method,
    query: Vec<String>,
    pub way: Way,
}

/// How an operation is reached. poem's nested routers cost a tenth of what gateways ask on every request, and as much as
/// the rules of a create, so these are reached without them.
pub enum Way {
    /// By [`crate::api::verification::verify::direct`].
    Verify,
    /// By the operation's own endpoint.
    Direct(BoxEndpoint<'static>),
    /// By the operation's own endpoint, and not to be stopped.
    Change(Arc<BoxEndpoint<'static>>),
    Routed,
}

impl RouteTable {
    /// Paths without an operation of the API, each with what answers a GET there. Machines ask for them often.
    pub fn of_probes(
        probes: impl IntoIterator<Item = (&'static str, BoxEndpoint<'static>)>,
        metrics: &Metrics,
    ) -> Self {
        let probe = |(path, endpoint)| Route::page(path, Way::Direct(endpoint), metrics);
        let unknown = metrics.route("-", [].into_iter());
        Self { literal: probes.into_iter().map(probe).collect(), templates: Vec::new(), unknown }
    }

    /// Adds the operations of the API, and the given paths that take a plain GET.
    pub fn with_api(mut self, pages: &[&str], metrics: &Metrics) -> Self {
        let mut endpoints = HashMap::new();
        Operations.add_routes(&mut endpoints);
        let mut routes = Vec::new();
        for path in Operations::meta().into_iter().flat_map(|api| api.paths) {
            let mut methods = endpoints.remove(&path.path).unwrap_or_default();
            let mut own = |operation: &MetaOperation| methods.remove(&operation.method);
            let mut way = |operation: &MetaOperation| match operation.operation_id {
                Some("verify_api_key") => Some(Way::Verify),
                Some("check_forwarded_request" | "introspect_token") => own(operation).map(Way::Direct),
                Some("create_my_api_key") => own(operation).map(|endpoint| Way::Change(endpoint.into())),
                _ => None,
            };
            let operation = |operation: MetaOperation| Operation {
                way: way(&operation).unwrap_or(Way::Routed),
                method: operation.method,
                query: operation
                    .params
                    .into_iter()
                    .filter(|p| p.in_type == MetaParamIn::Query)
                    .map(|p| p.name)
                    .collect(),
            };
            let template = format!("{BASE}{}", path.path);
            let metrics = metrics.route(&template, path.operations.iter().filter_map(usual));
            let operations = path.operations.into_iter().map(operation).collect();
            routes.push(Route { template, operations, metrics });
        }
        routes.extend(pages.iter().map(|path| Route::page(path, Way::Routed, metrics)));
        let (templates, literal): (Vec<_>, Vec<_>) =
            routes.into_iter().partition(|route: &Route| route.template.contains('{'));
        self.templates.extend(templates);
        self.literal.extend(literal);
        self
    }

    pub fn find(&self, path: &str) -> Option<&Route> {
        let literal = self.literal.iter().find(|route| route.template == path);
        literal.or_else(|| self.templates.iter().find(|route| matches(&route.template, path)))
    }

    pub fn metrics<'a>(&'a self, route: Option<&'a Route>) -> &'a RouteMetrics {
        route.map_or(&self.unknown, |route| &route.metrics)
    }
}

impl Route {
    fn page(path: &str, way: Way, metrics: &Metrics) -> Self {
        Self {
            template: path.to_owned(),
            operations: vec![Operation { method: Method::GET, query: Vec::new(), way }],
            metrics: metrics.route(path, [("GET", StatusCode::OK)].into_iter()),
        }
    }

    /// The methods, as `Allow` lists them. Where there is GET there is HEAD (RFC 9110, section 9.3.2).
    pub fn allow(&self) -> String {
        let mut methods: Vec<_> = self.operations.iter().map(|operation| operation.method.as_str()).collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.sort_unstable();
        methods.join(", ")
    }

    /// Whether the query is somebody else's: a client's behind its proxy, or an issuer's answer to a login.
    pub fn takes_any_query(&self) -> bool {
        self.template == FORWARD || self.template == LOGIN_CALLBACK_PATH
    }

    pub fn is_asked_often(&self) -> bool {
        self.operations.iter().any(|operation| matches!(operation.way, Way::Verify | Way::Direct(_)))
    }

    pub fn operation(&self, method: &Method) -> Option<&Operation> {
        let wanted = if method == Method::HEAD { &Method::GET } else { method };
        self.operations.iter().find(|operation| operation.method == wanted)
    }
}

impl Operation {
    /// Whether the operation has a query parameter of this name.
    pub fn takes(&self, parameter: &str) -> bool {
        self.query.iter().any(|declared| declared == parameter)
    }
}

/// The status of a good answer.
fn usual(operation: &MetaOperation) -> Option<(&'static str, StatusCode)> {
    let statuses =
        operation.responses.responses.iter().filter_map(|response| StatusCode::from_u16(response.status?).ok());
    Some((method_label(&operation.method), statuses.into_iter().find(StatusCode::is_success)?))
}

/// Any word is a method by RFC 9110, a credential too; only those that are registered and in use are told.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_match_whole_paths() {
        assert!(matches("/a/{id}/b", "/a/5/b"));
        assert!(!matches("/a/{id}/b", "/a/5"));
        assert!(!matches("/a/{id}", "/a/5/b"));
    }
}
