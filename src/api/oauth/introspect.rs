//! Introspects a token: verification by OAuth 2.0 Token Introspection (RFC 7662).

use std::sync::Arc;

use poem::web::Data;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaRequest, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions, Object, OpenApi};
use uuid::Uuid;

use crate::api::auth::{Authorized, Verify, services};
use crate::api::errors::{ApiError, error_set};
use crate::api::oauth::client::{SECURITY_SCHEMES, client_credential, header_credential, register_security_schemes};
use crate::api::oauth::form::{OAuthForm, check_form, form_meta};
use crate::api::oauth::problem::{introspection_problem, missing_client_credential, signed_response_only};
use crate::api::tag::Tag;
use crate::domain::scope::{RequiredScopes, Scope};
use crate::domain::verdict::Verdict;
use crate::http::body::JsonResponse;
use crate::http::body::reader::BodyReader;
use crate::http::negotiation::{ErrorFormat, prefers};
use crate::http::problem::JSON;
use crate::http::request_context::RequestContext;
use crate::http::route_spec::{Cancellation, Dispatch, LogPolicy, RouteSpec};
use crate::service::Services;
use crate::service::verify::WaitLimit;
use crate::service::verify::cached_key::CachedKey;

pub struct IntrospectToken;

pub const INTROSPECT_ROUTE: RouteSpec = RouteSpec {
    dispatch: Dispatch::Endpoint,
    cancellation: Cancellation::Allowed,
    log: LogPolicy::DebugOn200,
    error_format: ErrorFormat::Json,
    problem_members: introspection_problem,
    ..RouteSpec::new("introspect_token")
};

error_set!(IntrospectTokenErrors: 400, 401, 403, 406, 408, 413, 415, 500, 503);

/// Token to introspect (RFC 7662, section 2.1).
#[derive(Object)]
struct IntrospectionForm {
    /// API key to introspect.
    #[oai(validator(min_length = 1))]
    token: String,
    /// Accepted for compatibility; ignored.
    #[oai(skip_serializing_if_is_none)]
    token_type_hint: Option<String>,
    /// Accepted for compatibility; ignored.
    #[oai(skip_serializing_if_is_none)]
    client_id: Option<String>,
    /// An API key or access token with `api-keys:verify`, for clients that do not send it in the `Authorization` header.
    #[oai(skip_serializing_if_is_none)]
    client_secret: Option<String>,
}

/// State of the token (RFC 7662, section 2.2). For an unusable token, exactly `{"active":false}`.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct IntrospectionResponse {
    /// True if the key is valid.
    active: bool,
    /// Scopes of the key, separated by spaces. Omitted if the key has none.
    scope: Option<String>,
    /// Id of the key.
    client_id: Option<Uuid>,
    /// Owner of the key.
    sub: Option<String>,
    /// Issuer of the user's tokens.
    iss: Option<String>,
    /// Creation time, in seconds since the Unix epoch.
    iat: Option<i64>,
    /// Expiry time, in seconds since the Unix epoch. Omitted if the key does not expire, and with
    /// `--introspection-omit-exp`.
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

impl IntrospectionResponse {
    fn active(key: &CachedKey, omits_exp: bool) -> Self {
        let scopes: Vec<_> = key.scopes.iter().map(Scope::as_str).collect();
        Self {
            active: true,
            // RFC 6749, section 3.3 has no empty scope.
            scope: (!scopes.is_empty()).then(|| scopes.join(" ")),
            client_id: Some(key.id),
            sub: Some(key.owner.subject.clone()),
            iss: Some(key.owner.issuer.clone()),
            iat: Some(key.created_at.into()),
            exp: key.expires_at().filter(|_| !omits_exp).map(|end| end.timestamp()),
            token_type: Some("Bearer".to_owned()),
        }
    }
}

/// The media type of signed responses (RFC 9701).
const SIGNED: &str = "application/token-introspection+jwt";

/// What an authorized client asks about.
struct IntrospectionRequest {
    token: String,
    limit: WaitLimit,
}

impl<'a> ApiExtractor<'a> for IntrospectionRequest {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme, ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        register_security_schemes(registry);
        IntrospectionForm::register(registry);
    }

    fn security_schemes() -> Vec<&'static str> {
        SECURITY_SCHEMES.to_vec()
    }

    /// The form field `client_secret`.
    fn has_security_fallback() -> bool {
        true
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(form_meta::<IntrospectionForm>())
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let (services, context) = (services(request)?, RequestContext::of(request));
        let mut limit = WaitLimit::default();
        let headers = request.headers();
        let form = match header_credential(headers)? {
            Some(in_header) => {
                Authorized::<Verify>::check_credential(&in_header, services, &context, &mut limit).await?;
                let form = OAuthForm::read(headers, BodyReader::of(request, body)?).await?;
                client_credential(Some(in_header), &form)?;
                form
            }
            None => {
                // Without a form there is no credential, and no reason to read the body.
                check_form(headers).map_err(|_| missing_client_credential())?;
                let form = OAuthForm::read(headers, BodyReader::of_unauthenticated(request, body)?).await?;
                let in_form = client_credential(None, &form)?.ok_or_else(missing_client_credential)?;
                Authorized::<Verify>::check_credential(&in_form, services, &context, &mut limit).await?;
                form
            }
        };
        if prefers(headers, SIGNED, JSON) {
            return Err(signed_response_only().into());
        }
        Ok(Self { token: form.token()?, limit })
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
    /// return 200 with `active: false`; on any error response, deny access. The caller needs `api-keys:verify`. It sends
    /// its credential as a bearer token, as the password of HTTP Basic with any user name, or in the form field
    /// `client_secret`; in several of these only the same one.
    #[oai(path = "/oauth/introspect", method = "post", operation_id = "introspect_token")]
    async fn introspect(
        &self,
        request: IntrospectionRequest,
        Data(services): Data<&Arc<Services>>,
    ) -> Result<IntrospectionResult, ApiError<IntrospectTokenErrors>> {
        let IntrospectionRequest { token, mut limit } = request;
        let decision = services.verifier.verify(&token, &RequiredScopes::default(), &mut limit).await?;
        let body = match decision.key {
            Some(key) if decision.verdict == Verdict::Valid => {
                IntrospectionResponse::active(&key, services.introspection_omits_exp)
            }
            _ => INACTIVE,
        };
        Ok(IntrospectionResult::Introspected(JsonResponse(body)))
    }
}
