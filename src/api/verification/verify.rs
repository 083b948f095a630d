//! Verifies a presented key. Gateways call this operation on every request.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use poem::web::Data;
use poem::{IntoResponse, Request, Response};
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchemaRef, Registry};
use poem_openapi::types::{Example, ToJSON, Type};
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Deserialize;
use uuid::Uuid;

use crate::api::auth::{Authorized, Verify};
use crate::api::enums::api_enum;
use crate::api::errors::{ApiError, error_set};
use crate::api::keys::schemas::Owner;
use crate::api::tag::Tag;
use crate::domain::metadata::Metadata;
use crate::domain::owner::Owner as DomainOwner;
use crate::domain::scope::{RequiredScopes, Scope, Scopes};
use crate::domain::verdict::Verdict;
use crate::http::body::JsonRequest;
use crate::http::body::object_reader::{FromObject, ObjectReader, deserialize_object};
use crate::http::body::reader::BodyReader;
use crate::http::pipeline::InlineOperation;
use crate::http::problem::JSON;
use crate::http::request_context::RequestContext;
use crate::http::route_spec::{Cancellation, Dispatch, LogPolicy, RouteSpec};
use crate::http::values::scopes::ScopeChoice;
use crate::http::values::text::PresentedKey;
use crate::http::values::time::Time;
use crate::service::Services;
use crate::service::verify::Decision;
use crate::service::verify::cached_key::CachedKey;
use crate::service::verify::response_cache::ResponseCache;

pub struct VerifyKey;

pub const VERIFY_ROUTE: RouteSpec = RouteSpec {
    dispatch: Dispatch::Inline,
    cancellation: Cancellation::Allowed,
    log: LogPolicy::DebugOn200,
    ..RouteSpec::new("verify_api_key")
};

error_set!(VerifyKeyErrors: 400, 401, 403, 408, 413, 415, 422, 500, 503);

/// A presented key, and the scopes that it must have.
#[derive(Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none, example)]
struct ApiKeyVerifyRequest {
    /// The key as the client sent it, even if malformed.
    key: PresentedKey,
    /// Required scopes: the key must have all of them.
    scopes: Option<Scopes>,
    /// Alternatives: the key must have at least one of them, besides all of `scopes`.
    any_of: Option<ScopeChoice>,
}

impl FromObject for ApiKeyVerifyRequest {
    fn from_object(fields: &mut ObjectReader) -> Option<Self> {
        let (key, scopes, any_of) = (fields.required("key"), fields.optional("scopes"), fields.optional("any_of"));
        Some(Self { key: key?, scopes: scopes?, any_of: any_of? })
    }

    fn parse_fast(bytes: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields<'a> {
            #[serde(borrow)]
            key: Cow<'a, str>,
            scopes: Option<Vec<Cow<'a, str>>>,
            any_of: Option<Vec<Cow<'a, str>>>,
        }
        fn checked(texts: &[Cow<'_, str>]) -> Option<Scopes> {
            let scopes: Result<Vec<_>, _> = texts.iter().map(|text| Scope::new(text)).collect();
            Scopes::new(scopes.ok()?).ok()
        }
        let Fields { key, scopes, any_of } = deserialize_object(bytes)?;
        let any_of = match any_of {
            Some(texts) => Some(ScopeChoice::new(checked(&texts)?).ok()?),
            None => None,
        };
        Some(Self { key: PresentedKey(key.into_owned()), scopes: Some(checked(&scopes.unwrap_or_default())?), any_of })
    }
}

impl Example for ApiKeyVerifyRequest {
    fn example() -> Self {
        let scopes = Some(Scopes::from_untrusted_lossy(["projects:read"]));
        Self { key: PresentedKey::example(), scopes, any_of: None }
    }
}

api_enum! {
    /// Result of a verification: the first that applies of `NOT_FOUND` (unknown or malformed), `REVOKED`, `DISABLED`
    /// (by its owner), `EXPIRED` (the key or this secret) and `INSUFFICIENT_SCOPE` (lacks a required scope, or has none
    /// of `any_of`); otherwise `VALID`.
    #[oai(rename_all = "SCREAMING_SNAKE_CASE")]
    enum VerificationCode = Verdict {
        /// Valid.
        Valid,
        /// Unknown or malformed.
        NotFound,
        /// Revoked.
        Revoked,
        /// Disabled by its owner.
        Disabled,
        /// The key or this secret has expired.
        Expired,
        /// Lacks a required scope, or has none of `any_of`.
        InsufficientScope,
    }
}

/// Verification result. If `valid` is true, it includes `id`, `name`, `owner`, `scopes` and `metadata`, and
/// `expires_at` if the key or the presented secret expires.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct ApiKeyVerifyResponse {
    /// True if the request may proceed.
    valid: bool,
    /// Result code.
    code: VerificationCode,
    /// Id of the key.
    id: Option<Uuid>,
    /// Label of the key.
    name: Option<String>,
    /// Owner of the key.
    owner: Option<Owner>,
    /// Permissions of the key.
    scopes: Option<Scopes>,
    /// Caller-defined metadata of the key.
    metadata: Option<Metadata>,
    /// Expiry time; the key is invalid from this instant. During the grace period of a rotation, the end of the presented
    /// secret if that is earlier. Omitted if neither expires.
    expires_at: Option<Time>,
}

impl ApiKeyVerifyResponse {
    fn refused(verdict: Verdict) -> Self {
        Self {
            valid: false,
            code: verdict.into(),
            id: None,
            name: None,
            owner: None,
            scopes: None,
            metadata: None,
            expires_at: None,
        }
    }
}

impl From<&CachedKey> for ApiKeyVerifyResponse {
    fn from(key: &CachedKey) -> Self {
        Self {
            valid: true,
            code: VerificationCode::Valid,
            id: Some(key.id),
            name: Some(key.name().to_owned()),
            owner: Some(DomainOwner::clone(&key.owner).into()),
            scopes: Some(Scopes::clone(&key.scopes)),
            metadata: Some(key.metadata()),
            expires_at: key.expires_at().map(Time),
        }
    }
}

/// The verification result, already serialized.
struct VerifyResponse(Bytes);

impl VerifyResponse {
    fn new(Decision { verdict, key }: Decision, responses: &ResponseCache) -> Self {
        match key {
            Some(key) if verdict == Verdict::Valid => {
                Self(responses.get_or_render(&key, || ApiKeyVerifyResponse::from(&*key).to_json_string()))
            }
            _ => Self(ApiKeyVerifyResponse::refused(verdict).to_json_string().into()),
        }
    }
}

impl Payload for VerifyResponse {
    const CONTENT_TYPE: &'static str = JSON;

    fn schema_ref() -> MetaSchemaRef {
        ApiKeyVerifyResponse::schema_ref()
    }
}

impl IntoResponse for VerifyResponse {
    fn into_response(self) -> Response {
        Response::builder().content_type(JSON).body(self.0)
    }
}

impl ApiResponse for VerifyResponse {
    fn meta() -> MetaResponses {
        let content = vec![MetaMediaType { content_type: JSON, schema: Self::schema_ref() }];
        let description = "Verification result. Unusable keys also return 200.";
        let response = MetaResponse { description, status: Some(200), status_range: None, content, headers: vec![] };
        MetaResponses { responses: vec![response] }
    }

    fn register(registry: &mut Registry) {
        ApiKeyVerifyResponse::register(registry);
    }
}

#[OpenApi(tag = "Tag::Verification")]
impl VerifyKey {
    /// Verify an API key
    ///
    /// Checks a presented key against the required scopes. An unusable key returns 200 with `valid: false` and a
    /// `code`. On any error response, deny access.
    ///
    /// For gateways and other services: the caller needs `api-keys:verify` and can verify keys of any owner.
    #[oai(path = "/auth/api-keys/verify", method = "post", operation_id = "verify_api_key")]
    async fn verify(
        &self,
        caller: Authorized<Verify>,
        Data(services): Data<&Arc<Services>>,
        body: JsonRequest<ApiKeyVerifyRequest>,
    ) -> Result<VerifyResponse, ApiError<VerifyKeyErrors>> {
        let ApiKeyVerifyRequest { key: PresentedKey(key), scopes, any_of } = body.value;
        let any_of = any_of.map(|ScopeChoice(scopes)| scopes);
        let required = RequiredScopes { all_of: scopes.unwrap_or_default(), any_of };
        let mut limit = caller.1;
        let decision = services.verifier.verify(&key, &required, &mut limit).await?;
        Ok(VerifyResponse::new(decision, services.verifier.responses()))
    }
}

/// Verify as the pipeline calls it: the arguments are extracted as the router would, without its boxed futures, which cost
/// as much as the verification.
#[derive(Clone)]
pub struct InlineVerify {
    pub services: Arc<Services>,
}

impl InlineOperation for InlineVerify {
    async fn call(&self, request: &Request, body: BodyReader<'_>, context: &RequestContext) -> poem::Result<Response> {
        let caller = Authorized::check(request, &self.services, context).await?;
        let body = JsonRequest::read(request, body).await?;
        let verified = VerifyKey.verify(caller, Data(&self.services), body).await;
        Ok(verified.map_err(poem::Error::from)?.into_response())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::body::object_reader::parse_body;

    #[test]
    fn verify_request_rejects_invalid_bodies() {
        for json in [
            r#"["k"]"#,
            r#"{"key":5}"#,
            r#"{"key":"k","key":"l"}"#,
            r#"{"key":"k","more":1}"#,
            r#"{"key":"k","scopes":["a b"]}"#,
            r#"{"key":"k","any_of":[]}"#,
            r#"{"key":"k","any_of":["a","a"]}"#,
            r#"{"key":"k","any_of":["a\\b"]}"#,
            r#"{"key":"k","any_of":"a"}"#,
            r#"{"key":"k","any_of":["a"],"any_of":["b"]}"#,
            r#"{"key":"k","scopes":["a","a"]}"#,
            r#"{"scopes":[]}"#,
            r#"{"key":"k"} x"#,
            r#"{"key":null}"#,
        ] {
            assert!(ApiKeyVerifyRequest::parse_fast(json.as_bytes()).is_none(), "{json}");
            assert!(parse_body::<ApiKeyVerifyRequest>(json.as_bytes()).is_err(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn verify_request_has_the_values_that_were_sent(
            key in ".{1,60}",
            scopes in prop::collection::btree_set("[!#-\\[\\]-~]{1,9}", 0..4),
            any_of in prop::option::of(prop::collection::btree_set("[!#-\\[\\]-~]{1,9}", 1..4)),
        ) {
            let mut json = serde_json::json!({ "key": key, "scopes": scopes });
            if let Some(any_of) = &any_of {
                json["any_of"] = serde_json::json!(any_of);
            }
            let json = json.to_string();
            // Leading white space is valid and takes the other path.
            for json in [json.clone(), format!(" {json}")] {
                let request: ApiKeyVerifyRequest = parse_body(json.as_bytes()).unwrap();
                prop_assert_eq!(&request.key.0, &key);
                let sent = |scopes: &Scopes| scopes.iter().map(|scope| scope.as_str().to_owned()).collect();
                prop_assert_eq!(sent(&request.scopes.unwrap()), scopes.clone());
                prop_assert_eq!(request.any_of.map(|ScopeChoice(any_of)| sent(&any_of)), any_of.clone());
            }
            prop_assert!(ApiKeyVerifyRequest::parse_fast(json.as_bytes()).is_some());
        }
    }
}
