//! Auth: who makes the request. Taking [`Authorized`] as an argument *is* the check: a handler cannot be reached without
//! naming the scope it needs, and cannot reach a caller in any other way.

use std::marker::PhantomData;

use poem::http::header;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaSecurityScheme, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use super::origin::RequestContext;
use super::problem::Problem;
use crate::domain::caller::Caller;
use crate::domain::scope::own;
use crate::service::Service;
use crate::service::bearer::BearerError;

/// A caller who may do what `G` guards.
pub struct Authorized<G: Guard>(pub Caller, PhantomData<G>);

/// One of this service's own scopes, as a type.
pub trait Guard: Send + Sync {
    const SCOPE: &'static str;
}

pub struct Read;

impl Guard for Read {
    const SCOPE: &'static str = own::READ;
}

pub struct Write;

impl Guard for Write {
    const SCOPE: &'static str = own::WRITE;
}

pub struct Admin;

impl Guard for Admin {
    const SCOPE: &'static str = own::ADMIN;
}

/// Longer than any access token in use, and short enough to be looked at without care.
const MAX_CREDENTIAL: usize = 16 * 1024;

impl<'a, G: Guard> ApiExtractor<'a> for Authorized<G> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        registry.create_security_scheme(
            "bearer",
            MetaSecurityScheme {
                ty: "http",
                description: Some(
                    "An access token of a trusted issuer (a JWT by RFC 9068), or an API key of this service.",
                ),
                name: None,
                key_in: None,
                scheme: Some("bearer"),
                bearer_format: Some("JWT or API key"),
                flows: None,
                openid_connect_url: None,
            },
        );
    }

    fn security_schemes() -> Vec<&'static str> {
        vec!["bearer"]
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let caller = authenticate(request).await?;
        if !caller.may(G::SCOPE) {
            return Err(Problem::insufficient_scope(G::SCOPE).into());
        }
        Ok(Self(caller, PhantomData))
    }
}

async fn authenticate(request: &Request) -> Result<Caller, Problem> {
    let credential = credential(request)?;
    let service = request.data::<Service>().ok_or_else(|| Problem::internal("no service is attached to the routes"))?;
    match service.authenticate(credential).await {
        Ok(caller) => {
            RequestContext::of(request).set_subject(&caller.owner.subject);
            Ok(caller)
        }
        Err(BearerError::Rejected(reason)) => Err(Problem::unauthorized(true).because(reason)),
        Err(BearerError::Failed(error)) => Err(error.into()),
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
