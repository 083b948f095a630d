//! Verifies the key of a proxied request. A proxy forwards its client's headers and acts on the status of the response.

use std::sync::Arc;

use poem::http::{HeaderMap, HeaderName, HeaderValue, header};
use poem::web::Data;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaParamIn, MetaSchemaRef, MetaSecurityScheme, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions, OpenApi};

use crate::api::auth::{HeaderFault, bearer_credential, bearer_scheme};
use crate::api::errors::{ApiError, error_set};
use crate::api::tag::Tag;
use crate::domain::scope::{RequiredScopes, Scope, Scopes};
use crate::domain::verdict::Verdict;
use crate::http::params::scope_list::ScopeList;
use crate::http::problem::Problem;
use crate::http::route_spec::{Cancellation, Dispatch, LogPolicy, QueryPolicy, RouteSpec, TargetPolicy};
use crate::service::Services;
use crate::service::verify::WaitLimit;
use crate::service::verify::cached_key::CachedKey;

pub struct CheckForwarded;

pub const FORWARD_AUTH_ROUTE: RouteSpec = RouteSpec {
    dispatch: Dispatch::Endpoint,
    cancellation: Cancellation::Allowed,
    log: LogPolicy::DebugOn200,
    query: QueryPolicy::Any,
    target: TargetPolicy::AnyMethodAndSubpath,
    // A proxy may forward a preflight of its client, and would take a response to it for a valid key.
    allows_cors: false,
    ..RouteSpec::new("check_forwarded_request")
};

error_set!(CheckForwardedErrors: 400, 401, 403, 500, 503);

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The key that the proxy's client sent, in exactly one of `Authorization: Bearer` and `X-API-Key`.
struct ForwardedKey(String);

impl ForwardedKey {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let bearer = |value: &HeaderValue| value.to_str().ok().and_then(bearer_credential).map(str::to_owned);
        let bearers = headers.get_all(header::AUTHORIZATION).iter().map(bearer);
        let api_keys = headers.get_all(X_API_KEY).iter().map(|value| value.to_str().ok().map(str::to_owned));
        let mut credentials = bearers.chain(api_keys);
        // Rejects two credentials, because the upstream may use the other one.
        match (credentials.next(), credentials.next()) {
            (None, _) => Err(Problem::missing_credential()),
            (Some(Some(key)), None) if !key.is_empty() => Ok(Self(key)),
            (Some(_), None) => Err(HeaderFault::Malformed.into()),
            (Some(_), Some(_)) => Err(HeaderFault::Several.into()),
        }
    }
}

impl<'a> ApiExtractor<'a> for ForwardedKey {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        registry.create_security_scheme("bearer", bearer_scheme());
        registry.create_security_scheme(
            "api_key",
            MetaSecurityScheme {
                ty: "apiKey",
                description: Some(
                    "An API key of this service, for proxied clients that cannot send it as a bearer token. Only \
                     `GET /auth/forward` takes it.",
                ),
                name: Some("X-API-Key"),
                key_in: Some("header"),
                scheme: None,
                bearer_format: None,
                flows: None,
                openid_connect_url: None,
            },
        );
    }

    fn security_schemes() -> Vec<&'static str> {
        vec!["bearer", "api_key"]
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        Ok(Self::of(request.headers())?)
    }
}

/// A query parameter with scopes. It is read from the raw query, because this operation is called without the router that
/// parses queries. Ignores other parameters: they belong to the proxied request.
struct ScopesInQuery(Option<Scopes>);

impl<'a> ApiExtractor<'a> for ScopesInQuery {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    type ParamType = ScopeList;
    type ParamRawType = ScopeList;

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Query)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(ScopeList::schema_ref())
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        options: ExtractParamOptions<ScopeList>,
    ) -> poem::Result<Self> {
        let query = request.uri().query().unwrap_or_default();
        let mut given = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == options.name);
        match (given.next(), given.next()) {
            (None, _) => Ok(Self(None)),
            (Some((_, text)), None) => match ScopeList::parse(&text) {
                Ok(ScopeList(scopes)) => Ok(Self(Some(scopes))),
                Err(error) => {
                    let name = options.name;
                    let detail = format!(
                        "Send `{name}` as scopes separated by single spaces; rule: {error}. Percent-encode spaces, `%`, \
                         `&`, `+` and `#`."
                    );
                    Err(Problem::bad_request(detail).into())
                }
            },
            (Some(_), Some(_)) => Err(Problem::bad_request(format!("Send `{}` once.", options.name)).into()),
        }
    }
}

/// Sends every header, empty if it has no value: a proxy that copies them then overwrites headers of the same names
/// that the client sent.
#[derive(ApiResponse)]
enum ForwardAllowed {
    /// The key is valid: allow the request.
    #[oai(status = 200)]
    Allowed(
        /// Id of the key.
        #[oai(header = "X-Auth-Key-Id")]
        String,
        /// Owner of the key. Here and in the following headers, characters outside visible ASCII are percent-encoded.
        #[oai(header = "X-Auth-Subject")]
        String,
        /// Issuer of the user's tokens.
        #[oai(header = "X-Auth-Issuer")]
        String,
        /// Organization of the owner, or empty.
        #[oai(header = "X-Auth-Org")]
        String,
        /// Scopes of the key, separated by spaces.
        #[oai(header = "X-Auth-Scopes")]
        String,
    ),
}

impl From<&CachedKey> for ForwardAllowed {
    fn from(key: &CachedKey) -> Self {
        let scopes: Vec<_> = key.scopes.iter().map(Scope::as_str).collect();
        Self::Allowed(
            key.id.to_string(),
            percent_encode_non_ascii(&key.owner.subject),
            percent_encode_non_ascii(&key.owner.issuer),
            percent_encode_non_ascii(key.owner.organization.as_deref().unwrap_or_default()),
            scopes.join(" "),
        )
    }
}

/// Encodes everything but visible ASCII, and the percent sign, as `%XX`.
fn percent_encode_non_ascii(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'%' => "%25".to_owned(),
        b if b.is_ascii_graphic() => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[OpenApi(tag = "Tag::Verification")]
impl CheckForwarded {
    /// Check the key of a proxied request
    ///
    /// For nginx `auth_request`, Caddy `forward_auth`, HAProxy, Traefik and Envoy: the proxy forwards its client's
    /// headers and copies the identity headers of the response to the upstream request. 200 allows; 401 means no valid
    /// key; 403 means a missing scope; treat every other response as denied.
    ///
    /// Accepts any method and any path below this one, as Envoy sends it. Method and sub-path are ignored.
    #[oai(path = "/auth/forward", method = "get", operation_id = "check_forwarded_request")]
    async fn forward(
        &self,
        key: ForwardedKey,
        Data(services): Data<&Arc<Services>>,
        /// Required scopes, separated by spaces. Set them in the proxy's configuration.
        required_scope: ScopesInQuery,
        /// Alternatives, separated by spaces: the key must have at least one of them, besides all of `required_scope`.
        any_of: ScopesInQuery,
    ) -> Result<ForwardAllowed, ApiError<CheckForwardedErrors>> {
        let required = RequiredScopes { all_of: required_scope.0.unwrap_or_default(), any_of: any_of.0 };
        let decision = services.verifier.verify(&key.0, &required, &mut WaitLimit::default()).await?;
        match (decision.verdict, decision.key) {
            (Verdict::Valid, Some(key)) => Ok(ForwardAllowed::from(&*key)),
            (Verdict::InsufficientScope, Some(known)) => Err(missing_scopes(&required, &known.scopes).into()),
            (verdict, _) => Err(Problem::invalid_credential(verdict.as_str()).into()),
        }
    }
}

/// Names every scope that the key lacks, and all alternatives if it has none of them.
fn missing_scopes(required: &RequiredScopes, held: &Scopes) -> Problem {
    let lacks = |scope: &&Scope| !held.contains(scope.as_str());
    let all_of: Vec<_> = required.all_of.iter().filter(lacks).map(Scope::as_str).collect();
    match &required.any_of {
        Some(any_of) if any_of.iter().all(|scope| lacks(&scope)) => {
            let any_of: Vec<_> = any_of.iter().map(Scope::as_str).collect();
            Problem::insufficient_scope_any_of(&all_of, &any_of)
        }
        _ => Problem::insufficient_scope(&all_of.join(" ")),
    }
}
