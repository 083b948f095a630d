//! Revokes a token: ends a key whose secret is presented, by OAuth 2.0 Token Revocation (RFC 7009).

use std::sync::Arc;

use poem::web::Data;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaRequest, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions, Object, OpenApi};

use crate::api::auth::{authenticate, services};
use crate::api::errors::{ApiError, error_set};
use crate::api::oauth::client::{SECURITY_SCHEMES, client_credential, header_credential, register_security_schemes};
use crate::api::oauth::form::{OAuthForm, check_form, form_meta};
use crate::api::oauth::problem::{oauth_problem, unsupported_token_type};
use crate::api::tag::Tag;
use crate::domain::audit::AuditContext;
use crate::domain::caller::Caller;
use crate::http::body::JsonResponse;
use crate::http::body::reader::BodyReader;
use crate::http::negotiation::ErrorFormat;
use crate::http::request_context::{RequestContext, request_source};
use crate::http::route_spec::RouteSpec;
use crate::service::Services;
use crate::service::auth::has_form_of_token;
use crate::service::verify::WaitLimit;

pub struct RevokeToken;

pub const REVOKE_TOKEN_ROUTE: RouteSpec =
    RouteSpec { error_format: ErrorFormat::Json, problem_members: oauth_problem, ..RouteSpec::new("revoke_token") };

error_set!(RevokeTokenErrors: 400, 401, 408, 413, 415, 500, 503);

/// Token to revoke (RFC 7009, section 2.1).
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct TokenRevocationForm {
    /// API key to revoke.
    #[oai(validator(min_length = 1))]
    token: String,
    /// Accepted for compatibility; ignored.
    token_type_hint: Option<String>,
    /// Accepted for compatibility; ignored.
    client_id: Option<String>,
    /// Credential of the client, for clients that do not send it in the `Authorization` header.
    client_secret: Option<String>,
}

/// The token, and who sends it: `None` if it proves nothing but that it knows the token.
struct TokenRevocation {
    token: String,
    client: Option<Caller>,
    limit: WaitLimit,
}

impl<'a> ApiExtractor<'a> for TokenRevocation {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme, ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        register_security_schemes(registry);
        TokenRevocationForm::register(registry);
    }

    fn security_schemes() -> Vec<&'static str> {
        SECURITY_SCHEMES.to_vec()
    }

    fn has_security_fallback() -> bool {
        true
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(form_meta::<TokenRevocationForm>())
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let (services, context) = (services(request)?, RequestContext::of(request));
        let headers = request.headers();
        let in_header = header_credential(headers)?;
        check_form(headers)?;
        let form = OAuthForm::read(headers, BodyReader::of_unauthenticated(request, body)?).await?;
        let credential = client_credential(in_header, &form)?;
        let (token, mut limit) = (form.token(), WaitLimit::default());
        let client = match credential {
            // A key that has ended already could not authenticate its client, and a repeated request has to succeed.
            Some(credential) if token.as_ref().is_ok_and(|token| *token == credential) => None,
            Some(credential) => Some(authenticate(&credential, services, &context, &mut limit).await?),
            None => None,
        };
        Ok(Self { token: token?, client, limit })
    }
}

// npm's simple-oauth2 5.1.0 fails without a body of JSON, and no client that is known with one.
/// An empty object: the status says everything (RFC 7009, section 2.2).
#[derive(Object)]
struct TokenRevocationResponse {}

#[derive(ApiResponse)]
enum TokenRevoked {
    /// The token is not valid now, whether or not it ever was.
    #[oai(status = 200)]
    Revoked(JsonResponse<TokenRevocationResponse>),
}

#[OpenApi(tag = "Tag::ApiKeys")]
impl RevokeToken {
    /// Revoke a token
    ///
    /// Implements OAuth 2.0 Token Revocation (RFC 7009). Revokes the API key whose secret is the token, as
    /// `DELETE /auth/api-keys/self` does: knowing the secret suffices, and the secret that a rotation replaced revokes the
    /// key during its grace period. Unknown, revoked and replaced secrets return 200, too.
    ///
    /// A client need not authenticate. If it does, as a bearer token, as the password of HTTP Basic or in the form field
    /// `client_secret`, its credential has to be valid, and the audit event names it as the actor.
    #[oai(path = "/oauth/revoke", method = "post", operation_id = "revoke_token")]
    async fn revoke(
        &self,
        request: &Request,
        revocation: TokenRevocation,
        Data(services): Data<&Arc<Services>>,
    ) -> Result<TokenRevoked, ApiError<RevokeTokenErrors>> {
        let TokenRevocation { token, client, mut limit } = revocation;
        if has_form_of_token(&token) {
            return Err(unsupported_token_type().into());
        }
        if let Some(key) = services.verifier.find(&token, &mut limit).await? {
            let caller = client.unwrap_or_else(|| services.auth.holder(&key));
            RequestContext::of(request).set_owner(&caller.owner);
            let audit = AuditContext { caller: &caller, source: &request_source(request), at: services.now() };
            services.keys.revoke_presented(&audit, &key).await?;
        }
        Ok(TokenRevoked::Revoked(JsonResponse(TokenRevocationResponse {})))
    }
}
