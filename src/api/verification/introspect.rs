//! Introspects a token: verification by OAuth 2.0 Token Introspection (RFC 7662).

use std::sync::Arc;

use poem::web::Data;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaMediaType, MetaRequest, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions, Object, OpenApi};
use uuid::Uuid;

use crate::api::auth::{Authorized, Verify};
use crate::api::errors::{ApiError, error_set};
use crate::api::tag::Tag;
use crate::domain::scope::{RequiredScopes, Scope};
use crate::domain::verdict::Verdict;
use crate::http::body::JsonResponse;
use crate::http::body::media_type::{FORM, check_media_type};
use crate::http::body::reader::BodyReader;
use crate::http::problem::Problem;
use crate::http::route_spec::{Cancellation, Dispatch, LogPolicy, RouteSpec};
use crate::service::Services;
use crate::service::verify::cached_key::CachedKey;

pub struct IntrospectToken;

pub const INTROSPECT_ROUTE: RouteSpec = RouteSpec {
    dispatch: Dispatch::Endpoint,
    cancellation: Cancellation::Allowed,
    log: LogPolicy::DebugOn200,
    ..RouteSpec::new("introspect_token")
};

error_set!(IntrospectTokenErrors: 400, 401, 403, 408, 413, 415, 500, 503);

/// Token to introspect (RFC 7662, section 2.1).
#[derive(Object)]
struct IntrospectionForm {
    /// API key to introspect.
    token: String,
    /// Accepted for compatibility; ignored.
    #[oai(skip_serializing_if_is_none)]
    token_type_hint: Option<String>,
}

/// State of the token (RFC 7662, section 2.2). For an unusable token, exactly `{"active":false}`.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct IntrospectionResponse {
    /// True if the key is valid.
    active: bool,
    /// Scopes of the key, separated by spaces.
    scope: Option<String>,
    /// Id of the key.
    client_id: Option<Uuid>,
    /// Owner of the key.
    sub: Option<String>,
    /// Issuer of the user's tokens.
    iss: Option<String>,
    /// Creation time, in seconds since the Unix epoch.
    iat: Option<i64>,
    /// Expiry time, in seconds since the Unix epoch. Omitted if the key does not expire.
    exp: Option<i64>,
    /// Always `Bearer`.
    token_type: Option<String>,
}

const INACTIVE: IntrospectionResponse = IntrospectionResponse {
    active: false,
    scope: None,
    client_id: None,
    sub: None,
    iss: None,
    iat: None,
    exp: None,
    token_type: None,
};

impl From<&CachedKey> for IntrospectionResponse {
    fn from(key: &CachedKey) -> Self {
        let scopes: Vec<_> = key.scopes.iter().map(Scope::as_str).collect();
        Self {
            active: true,
            scope: Some(scopes.join(" ")),
            client_id: Some(key.id),
            sub: Some(key.owner.subject.clone()),
            iss: Some(key.owner.issuer.clone()),
            iat: Some(key.created_at.into()),
            exp: key.expires_at().map(|end| end.timestamp()),
            token_type: Some("Bearer".to_owned()),
        }
    }
}

/// The `token` field of the form.
struct IntrospectedToken(String);

impl<'a> ApiExtractor<'a> for IntrospectedToken {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        IntrospectionForm::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType { content_type: FORM, schema: IntrospectionForm::schema_ref() }];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let bytes = BodyReader::of(request, body)?.read().await;
        check_media_type(request.headers(), &[FORM], &format!("Send a form, with `Content-Type: {FORM}`."))?;
        let bytes = bytes?;
        let mut tokens = form_urlencoded::parse(&bytes).filter(|(name, _)| name == "token");
        match (tokens.next(), tokens.next()) {
            (Some((_, token)), None) => Ok(Self(token.into_owned())),
            _ => Err(Problem::bad_request("Send the form field `token` once, with the key to introspect.").into()),
        }
    }
}

#[derive(ApiResponse)]
enum IntrospectionResult {
    /// State of the token.
    #[oai(status = 200)]
    Introspected(JsonResponse<IntrospectionResponse>),
}

#[OpenApi(tag = "Tag::Verification")]
impl IntrospectToken {
    /// Introspect a token
    ///
    /// Implements OAuth 2.0 Token Introspection (RFC 7662). The token is an API key of this service. Unusable keys
    /// return 200 with `active: false`; on any error response, deny access. The caller needs `api-keys:verify`.
    #[oai(path = "/oauth/introspect", method = "post", operation_id = "introspect_token")]
    async fn introspect(
        &self,
        caller: Authorized<Verify>,
        Data(services): Data<&Arc<Services>>,
        token: IntrospectedToken,
    ) -> Result<IntrospectionResult, ApiError<IntrospectTokenErrors>> {
        let mut limit = caller.1;
        let decision = services.verifier.verify(&token.0, &RequiredScopes::default(), &mut limit).await?;
        let body = match decision.key {
            Some(key) if decision.verdict == Verdict::Valid => IntrospectionResponse::from(&*key),
            _ => INACTIVE,
        };
        Ok(IntrospectionResult::Introspected(JsonResponse(body)))
    }
}
