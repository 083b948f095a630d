//! Auth: who makes the request. Taking [`Authorized`] as an argument *is* the check: a handler cannot be reached without
//! naming the scope it needs, and cannot reach a caller in any other way.

use std::marker::PhantomData;
use std::sync::Arc;

use poem::http::header;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaSecurityScheme, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use crate::domain::caller::{Caller, Credential};
use crate::domain::scope::reserved;
use crate::http::problem::Problem;
use crate::http::request_context::RequestContext;
use crate::service::Service;
use crate::service::auth::AuthError;

/// A caller who may do what `G` guards.
pub struct Authorized<G: Guard>(pub Caller, PhantomData<G>);

/// What a caller must be or hold, as a type.
pub trait Guard: Send + Sync {
    fn admit(caller: &Caller) -> Result<(), Problem>;
}

/// Guards that ask for one of this service's own scopes.
macro_rules! scope_guards {
    ($($guard:ident => $scope:expr),* $(,)?) => {
        $(
            pub struct $guard;

            impl Guard for $guard {
                fn admit(caller: &Caller) -> Result<(), Problem> {
                    if caller.has_permission($scope) { Ok(()) } else { Err(Problem::insufficient_scope($scope)) }
                }
            }
        )*
    };
}

scope_guards! {
    Read => reserved::READ,
    Write => reserved::WRITE,
    Verify => reserved::VERIFY,
    Admin => reserved::ADMIN,
}

/// A key, which may always ask about itself.
pub struct ApiKeyOnly;

impl Guard for ApiKeyOnly {
    fn admit(caller: &Caller) -> Result<(), Problem> {
        match caller.credential {
            Credential::Key { .. } => Ok(()),
            Credential::Token | Credential::Operator => Err(Problem::not_a_key()),
        }
    }
}

/// Longer than any access token in use, and short enough to be looked at without care.
const MAX_CREDENTIAL: usize = 16 * 1024;

impl<'a, G: Guard> ApiExtractor<'a> for Authorized<G> {
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
        let service =
            request.data::<Arc<Service>>().ok_or_else(|| Problem::internal("no service is attached to the routes"))?;
        Ok(Self::check(request, service, &RequestContext::of(request)).await?)
    }
}

impl<G: Guard> Authorized<G> {
    pub async fn check(request: &Request, service: &Service, context: &RequestContext) -> Result<Self, Problem> {
        let caller = authenticate(request, service).await?;
        context.set_owner(&caller.owner);
        G::admit(&caller)?;
        Ok(Self(caller, PhantomData))
    }
}

pub fn bearer_scheme() -> MetaSecurityScheme {
    MetaSecurityScheme {
        ty: "http",
        description: Some("An access token of a trusted issuer (a JWT by RFC 9068), or an API key of this service."),
        name: None,
        key_in: None,
        scheme: Some("bearer"),
        bearer_format: Some("JWT or API key"),
        flows: None,
        openid_connect_url: None,
    }
}

async fn authenticate(request: &Request, service: &Service) -> Result<Caller, Problem> {
    match service.authenticate(credential(request)?).await {
        Ok(caller) => Ok(caller),
        Err(AuthError::InvalidCredential(reason)) => Err(Problem::unauthorized(true).because(reason)),
        Err(AuthError::Unavailable(error)) => Err(error.into()),
    }
}

/// The one bearer credential of the request. Two headers are refused rather than chosen between: a proxy in front may
/// have looked at the other one.
fn credential(request: &Request) -> Result<&str, Problem> {
    let mut headers = request.headers().get_all(header::AUTHORIZATION).iter();
    let value = match (headers.next(), headers.next()) {
        (None, _) => return Err(Problem::unauthorized(false)),
        (Some(value), None) => value,
        (Some(_), Some(_)) => return Err(Problem::bad_request("Send one Authorization header, not several.")),
    };
    let text = value.to_str().map_err(|_| Problem::unauthorized(true))?;
    let (scheme, credential) = text.split_once(' ').unwrap_or((text, ""));
    let credential = credential.trim_matches(' ');
    if !scheme.eq_ignore_ascii_case("bearer") || credential.is_empty() {
        return Err(Problem::unauthorized(false));
    }
    if credential.len() > MAX_CREDENTIAL {
        return Err(Problem::unauthorized(true));
    }
    Ok(credential)
}
