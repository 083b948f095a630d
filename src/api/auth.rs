//! Authorization: who makes the request, and whether they may.
//!
//! Taking [`Authorized`] or [`Audited`] as an argument *is* the check: a handler has no other way to reach its caller,
//! so it cannot be reached without naming the permission that it needs. The argument comes first, so that a request
//! with a bad credential and a bad body is refused with 401.

use std::marker::PhantomData;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use poem::http::{HeaderMap, header};
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaSecurityScheme, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use crate::domain::access::{AccessFilter, AdminAccess};
use crate::domain::audit::{AuditContext, RequestSource};
use crate::domain::caller::{Caller, Credential};
use crate::domain::scope::reserved;
use crate::domain::text_enum::text_enum;
use crate::http::problem::Problem;
use crate::http::request_context::{RequestContext, request_source};
use crate::service::Services;
use crate::service::auth::{AuthError, CredentialRejection};
use crate::service::verify::WaitLimit;

/// A caller who has the permission `P`, and how long verifications of the same request may still wait.
pub struct Authorized<P: Permission>(pub Caller, pub WaitLimit, PhantomData<P>);

/// The authorized caller of an operation that changes keys, with what else its audit events record.
pub struct Audited<P: Permission> {
    pub caller: Caller,
    source: RequestSource,
    at: DateTime<Utc>,
    permission: PhantomData<P>,
}

/// A requirement on the caller, as a type.
pub trait Permission: Send + Sync {
    fn check(caller: &Caller) -> Result<(), Problem>;
}

/// Declares permissions that a caller has by holding one of the reserved scopes.
macro_rules! scope_permissions {
    ($($permission:ident => $scope:expr),* $(,)?) => {
        $(
            pub struct $permission;

            impl Permission for $permission {
                fn check(caller: &Caller) -> Result<(), Problem> {
                    if caller.has_permission($scope) { Ok(()) } else { Err(Problem::insufficient_scope($scope)) }
                }
            }
        )*
    };
}

scope_permissions! {
    Read => reserved::READ,
    Write => reserved::WRITE,
    Verify => reserved::VERIFY,
    Admin => reserved::ADMIN,
}

/// Admits callers that may revoke and delete keys of their owner.
pub struct Revoke;

impl Permission for Revoke {
    fn check(caller: &Caller) -> Result<(), Problem> {
        if caller.can_revoke() { Ok(()) } else { Err(Problem::insufficient_scope(reserved::WRITE)) }
    }
}

/// Admits API keys only, with any scopes: a key can always read and revoke itself.
pub struct ApiKeyOnly;

impl Permission for ApiKeyOnly {
    fn check(caller: &Caller) -> Result<(), Problem> {
        match caller.credential {
            Credential::Key { .. } => Ok(()),
            Credential::Token | Credential::Operator => Err(Problem::api_key_required()),
        }
    }
}

text_enum! {
    /// Why a request with a credential is rejected before the credential is checked. docs/troubleshooting.md has the cure
    /// of each.
    pub enum HeaderFault {
        /// The header has bytes outside of visible ASCII, or, where a header was sent that must hold a key, no key.
        Malformed = "malformed_header",
        /// The request has several credentials, of which a service behind the proxy may use another one.
        Several = "several_credentials",
        /// The credential is longer than [`MAX_CREDENTIAL`].
        TooLong = "credential_too_long",
    }
}

impl From<HeaderFault> for Problem {
    fn from(fault: HeaderFault) -> Self {
        let detail = match fault {
            HeaderFault::Malformed => {
                "The header of the credential has characters outside of visible ASCII, or no credential, or is no base64 \
                 where it is `Basic`; send an access token or an API key exactly as it was issued, as `Authorization: \
                 Bearer <credential>`."
            }
            HeaderFault::Several => {
                "The request has several credentials; send one, in `Authorization: Bearer` or in `X-API-Key`."
            }
            HeaderFault::TooLong => {
                "The credential has more than 16384 bytes; have the issuer write less into its access tokens."
            }
        };
        Self::rejected_credential(detail, fault.as_str())
    }
}

/// Maximum length of a credential in bytes: longer than any access token in use.
const MAX_CREDENTIAL: usize = 16 * 1024;

impl<'a, P: Permission> ApiExtractor<'a> for Authorized<P> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        registry.create_security_scheme("bearer", bearer_scheme());
    }

    fn security_schemes() -> Vec<&'static str> {
        vec!["bearer"]
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        Ok(Self::check(request, services(request)?, &RequestContext::of(request)).await?)
    }
}

impl<P: Permission> Authorized<P> {
    pub async fn check(request: &Request, services: &Services, context: &RequestContext) -> Result<Self, Problem> {
        let mut limit = WaitLimit::default();
        Self::check_credential(credential(request)?, services, context, &mut limit).await
    }

    /// Checks a credential that was taken from elsewhere in the request.
    pub async fn check_credential(
        credential: &str,
        services: &Services,
        context: &RequestContext,
        limit: &mut WaitLimit,
    ) -> Result<Self, Problem> {
        let caller = authenticate(credential, services, context, limit).await?;
        P::check(&caller)?;
        Ok(Self(caller, *limit, PhantomData))
    }

    /// The keys of the caller's own user.
    pub fn own_keys(&self) -> AccessFilter<'_> {
        AccessFilter::Owner(&self.0.owner)
    }
}

impl Authorized<Admin> {
    /// The keys that the administrator reaches.
    pub fn administered_keys(&self) -> AccessFilter<'_> {
        AccessFilter::of_administrator(&self.0)
    }

    /// Whose keys the administrator reaches.
    pub fn reach(&self) -> AdminAccess<'_> {
        AdminAccess::of_administrator(&self.0)
    }
}

impl Audited<Admin> {
    /// The keys that the administrator reaches.
    pub fn administered_keys(&self) -> AccessFilter<'_> {
        AccessFilter::of_administrator(&self.caller)
    }

    /// Whose keys the administrator reaches.
    pub fn reach(&self) -> AdminAccess<'_> {
        AdminAccess::of_administrator(&self.caller)
    }
}

impl<'a, P: Permission> ApiExtractor<'a> for Audited<P> {
    const TYPES: &'static [ApiExtractorType] = Authorized::<P>::TYPES;
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        Authorized::<P>::register(registry);
    }

    fn security_schemes() -> Vec<&'static str> {
        Authorized::<P>::security_schemes()
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let services = services(request)?;
        let Authorized(caller, _, permission) =
            Authorized::<P>::check(request, services, &RequestContext::of(request)).await?;
        Ok(Self { caller, source: request_source(request), at: services.now(), permission })
    }
}

impl<P: Permission> Audited<P> {
    pub fn context(&self) -> AuditContext<'_> {
        AuditContext { caller: &self.caller, source: &self.source, at: self.at }
    }

    /// The keys of the caller's own user.
    pub fn own_keys(&self) -> AccessFilter<'_> {
        AccessFilter::Owner(&self.caller.owner)
    }
}

pub fn services(request: &Request) -> Result<&Arc<Services>, Problem> {
    request.data().ok_or_else(|| Problem::internal("no service is attached to the routes"))
}

pub fn bearer_scheme() -> MetaSecurityScheme {
    MetaSecurityScheme {
        ty: "http",
        description: Some("An access token of a trusted issuer (JWT, RFC 9068), or an API key of this service."),
        name: None,
        key_in: None,
        scheme: Some("bearer"),
        bearer_format: Some("JWT or API key"),
        flows: None,
        openid_connect_url: None,
    }
}

/// Returns the caller that a credential authenticates, whatever it may do.
pub async fn authenticate(
    credential: &str,
    services: &Services,
    context: &RequestContext,
    limit: &mut WaitLimit,
) -> Result<Caller, Problem> {
    match services.auth.authenticate(credential, limit).await {
        Ok(caller) => {
            context.set_owner(&caller.owner);
            Ok(caller)
        }
        Err(AuthError::InvalidCredential(CredentialRejection::Key(verdict))) => {
            Err(Problem::invalid_credential(verdict.as_str()))
        }
        Err(AuthError::InvalidCredential(CredentialRejection::Token(rejection))) => {
            let problem = Problem::rejected_credential(rejection.detail(), rejection.fault.as_str());
            Err(problem.with_log_context(rejection.to_string()))
        }
        Err(AuthError::Unavailable(error)) => Err(error.into()),
    }
}

/// Returns the bearer credential of the request.
fn credential(request: &Request) -> Result<&str, Problem> {
    let authorization = authorization(request.headers())?.ok_or_else(Problem::missing_credential)?;
    match bearer_credential(authorization) {
        None | Some("") => Err(Problem::missing_credential()),
        Some(credential) => Ok(within_limit(credential)?),
    }
}

/// Returns the `Authorization` header. Rejects two of them, because a proxy in front may have checked the other one.
pub fn authorization(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut headers = headers.get_all(header::AUTHORIZATION).iter();
    match (headers.next(), headers.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => Ok(Some(value.to_str().map_err(|_| HeaderFault::Malformed)?)),
        (Some(_), Some(_)) => Err(Problem::bad_request("Send one Authorization header, not several.")),
    }
}

/// Rejects a credential that is longer than any in use.
pub fn within_limit<T: AsRef<str>>(credential: T) -> Result<T, HeaderFault> {
    if credential.as_ref().len() > MAX_CREDENTIAL { Err(HeaderFault::TooLong) } else { Ok(credential) }
}

/// Returns what follows the scheme `Bearer` in an `Authorization` header (RFC 6750, section 2.1). The case of the scheme
/// does not matter. `None` for any other scheme.
pub fn bearer_credential(header: &str) -> Option<&str> {
    credential_of_scheme("bearer", header)
}

/// Returns what follows this scheme, in any case, in an `Authorization` header.
pub fn credential_of_scheme<'a>(scheme: &str, header: &'a str) -> Option<&'a str> {
    let (given, credential) = header.split_once(' ').unwrap_or((header, ""));
    given.eq_ignore_ascii_case(scheme).then(|| credential.trim_matches(' '))
}
