//! Requests: what the operations on keys take.

use std::borrow::Cow;

use chrono::TimeDelta;
use poem_openapi::Object;
use poem_openapi::types::Example;
use serde::Deserialize;

use crate::domain::key_name::KeyName;
use crate::domain::metadata::Metadata;
use crate::domain::scope::Scopes;
use crate::domain::validation::ValidationError;
use crate::http::body::{FromObject, MERGE_PATCH, ObjectReader, plain};
use crate::http::problem::JSON;
use crate::http::values::{Expiry, Grace, Lifetime, Reason, plain_scopes};
use crate::service::keys::{KeyPatch, NewKey, RequestedExpiry};

/// A key to be made. Its name is 1 to 255 characters after trimming, none of them a control or format character, and is
/// stored in Unicode normalization form C.
#[derive(Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none, example)]
pub struct ApiKeyCreateRequest {
    /// Human-readable label for the API key
    name: KeyName,
    /// What the key may be used for: at most 100 scopes, each 1 to 100 of `a-z 0-9 : . _ - *`, matched exactly. Scopes
    /// that begin with `api-keys:` are this service's own and can be granted only by a caller who holds them.
    scopes: Option<Scopes>,
    /// An object of your own, at most 4096 bytes as JSON without white space; given back whenever the key is verified.
    metadata: Option<Metadata>,
    /// The first instant at which the key is no longer good: a time to come. Not together with `expires_in_seconds`.
    expires_at: Option<Expiry>,
    /// The same, as a number of seconds from now, up to a hundred years. Not together with `expires_at`.
    expires_in_seconds: Option<Lifetime>,
}

impl FromObject for ApiKeyCreateRequest {
    fn from_object(members: &mut ObjectReader) -> Option<Self> {
        let name = members.required("name");
        let scopes = members.optional("scopes");
        let metadata = members.optional("metadata");
        let expires_at = members.optional("expires_at");
        let expires_in_seconds = members.optional("expires_in_seconds");
        if let (Some(Some(_)), Some(Some(_))) = (&expires_at, &expires_in_seconds) {
            members.break_rule("expires_in_seconds", &ValidationError::new("must not stand together with expires_at"));
        }
        Some(Self {
            name: name?,
            scopes: scopes?,
            metadata: metadata?,
            expires_at: expires_at?,
            expires_in_seconds: expires_in_seconds?,
        })
    }

    fn from_plain(bytes: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Plain<'a> {
            #[serde(borrow)]
            name: Cow<'a, str>,
            #[serde(default)]
            scopes: Vec<Cow<'a, str>>,
        }
        let Plain { name, scopes } = plain(bytes)?;
        Some(Self {
            name: KeyName::new(&name).ok()?,
            scopes: Some(plain_scopes(&scopes)?),
            metadata: None,
            expires_at: None,
            expires_in_seconds: None,
        })
    }
}

impl Example for ApiKeyCreateRequest {
    fn example() -> Self {
        Self {
            name: KeyName::from_db("example".into()),
            scopes: None,
            metadata: None,
            expires_at: None,
            expires_in_seconds: None,
        }
    }
}

impl From<ApiKeyCreateRequest> for NewKey {
    fn from(request: ApiKeyCreateRequest) -> Self {
        let after = request.expires_in_seconds.map(|Lifetime(lifetime)| RequestedExpiry::After(lifetime));
        Self {
            name: request.name,
            scopes: request.scopes.unwrap_or_default(),
            metadata: request.metadata.unwrap_or_default(),
            ending: request.expires_at.map(|Expiry(at)| RequestedExpiry::At(at)).or(after),
        }
    }
}

/// What is to change in a key: a JSON merge patch (RFC 7396).
#[derive(Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none, example)]
pub struct ApiKeyUpdateRequest {
    /// A new label, by the rules of the first one.
    name: Option<KeyName>,
    /// The scopes from now on, all of them; `null` for none.
    scopes: Option<Scopes>,
    /// A merge patch of your own object: members that are `null` go, others are put in; `null` empties it.
    metadata: Option<Metadata>,
    /// When the key ends from now on: a time to come; `null` for never.
    expires_at: Option<Expiry>,
    /// Whether the key can be used.
    enabled: Option<bool>,
    #[oai(skip)]
    cleared: Cleared,
}

/// The members that were `null`.
#[derive(Default)]
struct Cleared {
    scopes: bool,
    metadata: bool,
    expires_at: bool,
}

impl FromObject for ApiKeyUpdateRequest {
    const MEDIA_TYPES: &'static [&'static str] = &[JSON, MERGE_PATCH];

    fn from_object(members: &mut ObjectReader) -> Option<Self> {
        let name = members.optional("name");
        let scopes = members.clearable("scopes");
        let metadata = members.clearable("metadata");
        let expires_at = members.clearable("expires_at");
        let enabled = members.optional("enabled");
        let (scopes, metadata, expires_at) = (scopes?, metadata?, expires_at?);
        let cleared = Cleared {
            scopes: matches!(scopes, Some(None)),
            metadata: matches!(metadata, Some(None)),
            expires_at: matches!(expires_at, Some(None)),
        };
        Some(Self {
            name: name?,
            scopes: scopes.flatten(),
            metadata: metadata.flatten(),
            expires_at: expires_at.flatten(),
            enabled: enabled?,
            cleared,
        })
    }
}

impl Example for ApiKeyUpdateRequest {
    fn example() -> Self {
        Self {
            name: Some(KeyName::from_db("build bot".into())),
            scopes: None,
            metadata: None,
            expires_at: None,
            enabled: Some(false),
            cleared: Cleared::default(),
        }
    }
}

impl From<ApiKeyUpdateRequest> for KeyPatch {
    fn from(request: ApiKeyUpdateRequest) -> Self {
        let ApiKeyUpdateRequest { name, scopes, metadata, expires_at, enabled, cleared } = request;
        Self {
            name,
            scopes: if cleared.scopes { Some(Scopes::default()) } else { scopes },
            metadata: if cleared.metadata { Some(None) } else { metadata.map(|members| Some(members.into_object())) },
            expires_at: if cleared.expires_at { Some(None) } else { expires_at.map(|Expiry(at)| Some(at)) },
            enabled,
        }
    }
}

/// Why a key is revoked.
#[derive(Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct ApiKeyRevokeRequest {
    /// For whoever asks later: 1 to 255 characters, by the rules of a name.
    reason: Option<Reason>,
}

impl ApiKeyRevokeRequest {
    pub fn reason(self) -> Option<String> {
        self.reason.map(|Reason(text)| text)
    }
}

impl FromObject for ApiKeyRevokeRequest {
    const OPTIONAL: bool = true;

    fn from_object(members: &mut ObjectReader) -> Option<Self> {
        Some(Self { reason: members.optional("reason")? })
    }
}

/// How a key is rotated.
#[derive(Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct ApiKeyRotateRequest {
    /// For how long the old secret stays good beside the new one, in seconds: up to 30 days; 0, the default, ends it now.
    grace_seconds: Option<Grace>,
}

impl ApiKeyRotateRequest {
    pub fn grace(&self) -> TimeDelta {
        self.grace_seconds.as_ref().map_or(TimeDelta::zero(), |Grace(grace)| *grace)
    }
}

impl FromObject for ApiKeyRotateRequest {
    const OPTIONAL: bool = true;

    fn from_object(members: &mut ObjectReader) -> Option<Self> {
        Some(Self { grace_seconds: members.optional("grace_seconds")? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_quick_reading_takes_nothing_that_the_careful_one_refuses() {
        for json in [
            r#"["n"]"#,
            r#"{"name":5}"#,
            r#"{"name":""}"#,
            r#"{"name":"a\nb"}"#,
            r#"{"name":"n","name":"m"}"#,
            r#"{"name":"n","owner":"o"}"#,
            r#"{"name":"n","scopes":null}"#,
            r#"{"name":"n","scopes":["A"]}"#,
            r#"{"name":"n","scopes":["a","a"]}"#,
            r#"{"scopes":[]}"#,
            r#"{"name":"n"} x"#,
            r#"{"name":null}"#,
        ] {
            assert!(ApiKeyCreateRequest::from_plain(json.as_bytes()).is_none(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn both_readings_find_the_same(name in ".{1,60}", scopes in prop::collection::btree_set("[a-z:]{1,9}", 0..4)) {
            let json = serde_json::json!({ "name": name, "scopes": scopes });
            let quick = ApiKeyCreateRequest::from_plain(json.to_string().as_bytes());
            let careful = KeyName::new(&name).ok();
            prop_assert_eq!(quick.as_ref().map(|read| &read.name), careful.as_ref());
            prop_assert_eq!(quick.map(|read| read.scopes.unwrap().iter().count()), careful.map(|_| scopes.len()));
        }
    }
}
