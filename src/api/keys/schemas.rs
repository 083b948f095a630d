//! A key as the API represents it.

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use poem_openapi::types::Example;
use uuid::Uuid;

use crate::api::enums::api_enum;
use crate::domain::api_key::{ApiKey as DomainKey, KeyRecord, KeyStatus, Revocation, SecretRecord};
use crate::domain::key_name::KeyName;
use crate::domain::metadata::Metadata;
use crate::domain::owner::Owner as DomainOwner;
use crate::domain::scope::Scopes;
use crate::domain::secret::Secret;
use crate::http::values::text::example_secret;
use crate::http::values::time::Time;

impl Example for ApiKey {
    fn example() -> Self {
        let key = example_key(&example_secret());
        let now = key.created_at;
        Self::new(key, now)
    }
}

pub fn example_key(secret: &Secret<'_>) -> DomainKey {
    let time = |text| DateTime::parse_from_rfc3339(text).expect("the example is a time").to_utc();
    DomainKey {
        id: Uuid::from_u128(0x0199_b3a0_5c1e_7cc2_9d5e_2f6f_7c1b_8f11),
        owner: DomainOwner { issuer: "https://id.example.com".into(), subject: "alice".into(), organization: None },
        created_by_key: None,
        name: KeyName::from_db("example".into()),
        scopes: Scopes::from_untrusted_lossy(["projects:read"]),
        metadata: Metadata::from_db(r#"{"team":"billing"}"#).expect("the example is JSON"),
        enabled: true,
        start: secret.start().to_owned(),
        last4: secret.last4().to_owned(),
        created_at: time("2026-04-15T12:00:00Z"),
        updated_at: time("2026-04-15T12:00:00Z"),
        expires_at: Some(time("2030-01-01T00:00:00Z")),
        revocation: None,
        deleted_at: None,
        revision: 1,
    }
}

api_enum! {
    /// Current status of a key. `revoked` takes precedence over `disabled`, then `expired`.
    #[oai(rename_all = "lowercase")]
    pub enum Status = KeyStatus {
        Active,
        Expired,
        Disabled,
        Revoked,
    }
}

/// Owner of a key.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Owner {
    /// Issuer of the user's tokens.
    issuer: String,
    /// User: the `sub` claim of the issuer's tokens.
    subject: String,
    /// Organization in which the user created the key, if any.
    organization: Option<String>,
}

impl From<DomainOwner> for Owner {
    fn from(owner: DomainOwner) -> Self {
        Self { issuer: owner.issuer, subject: owner.subject, organization: owner.organization }
    }
}

/// An active secret of a key, without the secret itself.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
pub struct SecretSummary {
    /// First characters of the secret.
    start: String,
    /// Last four characters of the secret.
    last4: String,
    /// Creation time of the secret.
    created_at: Time,
    /// Time from which the secret is invalid, because a rotation replaced it. Omitted for the newest secret.
    expires_at: Option<Time>,
    /// Time of last use, accurate to one minute. Omitted if the secret has never been used.
    last_used_at: Option<Time>,
}

impl From<&SecretRecord> for SecretSummary {
    fn from(secret: &SecretRecord) -> Self {
        Self {
            start: secret.start.clone(),
            last4: secret.last4.clone(),
            created_at: Time(secret.created_at),
            expires_at: secret.expires_at.map(Time),
            last_used_at: secret.last_used_at.map(Time),
        }
    }
}

/// An API key, without its secret.
#[derive(Object)]
#[oai(skip_serializing_if_is_none, example)]
pub struct ApiKey {
    /// Id of the key (UUIDv7). It never changes.
    id: Uuid,
    /// Label.
    name: String,
    /// Current status.
    status: Status,
    /// First characters of the newest secret.
    start: String,
    /// Last four characters of the newest secret.
    last4: String,
    /// Permissions of the key.
    scopes: Scopes,
    /// Caller-defined metadata.
    metadata: Metadata,
    /// Owner.
    owner: Owner,
    /// Key that created it. Omitted if a user did.
    created_by_key: Option<Uuid>,
    /// False if the owner disabled the key.
    enabled: bool,
    /// Creation time.
    created_at: Time,
    /// Time of the last change.
    updated_at: Time,
    /// Expiry time; the key is invalid from this instant. Omitted if the key does not expire.
    expires_at: Option<Time>,
    /// Time of the revocation. Omitted if the key is not revoked.
    revoked_at: Option<Time>,
    /// Subject of the actor that revoked the key.
    revoked_by: Option<String>,
    /// Reason given for the revocation.
    revoke_reason: Option<String>,
    /// Time at which the owner deleted the key. Only administrators see deleted keys.
    deleted_at: Option<Time>,
    /// Active secrets, newest first; two during a rotation grace period. Omitted in lists.
    #[oai(validator(max_items = 2))]
    secrets: Option<Vec<SecretSummary>>,
    /// During a grace period: true once only the new secret is in use. Omitted otherwise and in lists.
    safe_to_retire: Option<bool>,
    /// Number of descendants that were revoked with the key. Only in the response to such a revocation.
    revoked_descendants: Option<u64>,
}

impl ApiKey {
    pub fn new(key: DomainKey, now: DateTime<Utc>) -> Self {
        let status = key.status(now).into();
        // Without `..`, so that a new field must be returned here or listed with the reason why it is not.
        let DomainKey {
            id,
            owner,
            created_by_key,
            name,
            scopes,
            metadata,
            enabled,
            start,
            last4,
            created_at,
            updated_at,
            expires_at,
            revocation,
            deleted_at,
            // The `ETag`.
            revision: _,
        } = key;
        let (revoked_at, revoked_by, revoke_reason) = match revocation {
            Some(Revocation { at, by, reason }) => (Some(Time(at)), Some(by), reason),
            None => (None, None, None),
        };
        Self {
            id,
            name: name.as_str().to_owned(),
            status,
            start,
            last4,
            scopes,
            metadata,
            owner: owner.into(),
            created_by_key,
            enabled,
            created_at: Time(created_at),
            updated_at: Time(updated_at),
            expires_at: expires_at.map(Time),
            revoked_at,
            revoked_by,
            revoke_reason,
            deleted_at: deleted_at.map(Time),
            secrets: None,
            safe_to_retire: None,
            revoked_descendants: None,
        }
    }

    pub fn with_revoked_descendants(self, revoked_descendants: Option<u64>) -> Self {
        Self { revoked_descendants, ..self }
    }

    pub fn with_secrets(record: KeyRecord, now: DateTime<Utc>) -> Self {
        let secrets = record.live_secrets(now).map(SecretSummary::from).collect();
        let safe_to_retire = record.safe_to_retire(now);
        Self { secrets: Some(secrets), safe_to_retire, ..Self::new(record.key, now) }
    }
}
