//! Schemas: a key as the API shows it.

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use poem_openapi::types::Example;
use uuid::Uuid;

use crate::api::enums::api_enum;
use crate::domain::api_key::{ApiKey as DomainKey, KeyRecord, KeyStatus, SecretRecord};
use crate::domain::key_name::KeyName;
use crate::domain::metadata::Metadata;
use crate::domain::owner::Owner as DomainOwner;
use crate::domain::scope::Scopes;
use crate::domain::secret::{Entropy, Secret};
use crate::http::values::time::Time;

impl Example for ApiKey {
    fn example() -> Self {
        let key = example_key(&example_secret());
        let now = key.created_at;
        Self::new(key, now)
    }
}

pub fn example_secret() -> Secret<'static> {
    Secret::mint(&"mk".parse().expect("mk is a prefix"), &Entropy::fixed([0; 32]), DateTime::UNIX_EPOCH)
}

pub fn example_key(secret: &Secret<'_>) -> DomainKey {
    let time = |text| DateTime::parse_from_rfc3339(text).expect("the example is a time").to_utc();
    DomainKey {
        id: Uuid::from_u128(0x0199_b3a0_5c1e_7cc2_9d5e_2f6f_7c1b_8f11),
        owner: DomainOwner { issuer: "https://id.example.com".into(), subject: "alice".into(), organization: None },
        name: KeyName::from_db("example".into()),
        scopes: Scopes::from_untrusted_lossy(["projects:read"]),
        metadata: Metadata::default(),
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
    /// What a key is now. What cannot be undone comes first: a revoked key is `revoked`, whatever else it is.
    #[oai(rename_all = "lowercase")]
    pub enum Status = KeyStatus {
        Active,
        Expired,
        Disabled,
        Revoked,
    }
}

/// Whose a key is.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Owner {
    /// The issuer of the token that made the key.
    issuer: String,
    /// The user, as that issuer names them.
    subject: String,
    /// The organisation that the user acted in, if any.
    organization: Option<String>,
}

impl From<DomainOwner> for Owner {
    fn from(owner: DomainOwner) -> Self {
        Self { issuer: owner.issuer, subject: owner.subject, organization: owner.organization }
    }
}

/// A live secret of a key, without the secret itself.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
pub struct SecretSummary {
    /// What the secret begins with.
    start: String,
    /// The secret's last four characters.
    last4: String,
    /// When the secret was made.
    created_at: Time,
    /// When the secret ends, because a rotation replaced it; absent for the newest.
    expires_at: Option<Time>,
    /// When the secret was last used, to within a minute; absent when it never was.
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

/// A key, as its owner sees it.
#[derive(Object)]
#[oai(skip_serializing_if_is_none, example)]
pub struct ApiKey {
    /// The key's id, which never changes.
    id: Uuid,
    /// The label.
    name: String,
    /// What the key is now.
    status: Status,
    /// What the newest secret begins with.
    start: String,
    /// The last four characters of the newest secret.
    last4: String,
    /// What the key may be used for.
    scopes: Scopes,
    /// Your own object.
    metadata: Metadata,
    /// Whose the key is.
    owner: Owner,
    /// Whether the owner lets the key be used.
    enabled: bool,
    /// When the key was made.
    created_at: Time,
    /// When the key was last changed.
    updated_at: Time,
    /// The first instant at which the key is no longer good; absent when there is none.
    expires_at: Option<Time>,
    /// When the key was revoked; absent when it was not.
    revoked_at: Option<Time>,
    /// The subject of whoever revoked it.
    revoked_by: Option<String>,
    /// Why it was revoked, if that was said.
    revoke_reason: Option<String>,
    /// When its owner deleted it; only administrators see such keys.
    deleted_at: Option<Time>,
    /// The live secrets, newest first: two while the grace of a rotation runs. Not in lists.
    #[oai(validator(max_items = 2))]
    secrets: Option<Vec<SecretSummary>>,
    /// While two secrets live: whether only the new one has been in use since it was made, so that the old one would not
    /// be missed. Not in lists.
    safe_to_retire: Option<bool>,
}

impl ApiKey {
    pub fn new(key: DomainKey, now: DateTime<Utc>) -> Self {
        let status = key.status(now).into();
        let (revoked_at, revoked_by, revoke_reason) = match key.revocation {
            Some(revocation) => (Some(Time(revocation.at)), Some(revocation.by), revocation.reason),
            None => (None, None, None),
        };
        Self {
            id: key.id,
            name: key.name.as_str().to_owned(),
            status,
            start: key.start,
            last4: key.last4,
            scopes: key.scopes,
            metadata: key.metadata,
            owner: key.owner.into(),
            enabled: key.enabled,
            created_at: Time(key.created_at),
            updated_at: Time(key.updated_at),
            expires_at: key.expires_at.map(Time),
            revoked_at,
            revoked_by,
            revoke_reason,
            deleted_at: key.deleted_at.map(Time),
            secrets: None,
            safe_to_retire: None,
        }
    }

    pub fn with_secrets(record: KeyRecord, now: DateTime<Utc>) -> Self {
        let secrets = record.live_secrets(now).map(SecretSummary::from).collect();
        let safe_to_retire = record.safe_to_retire(now);
        Self { secrets: Some(secrets), safe_to_retire, ..Self::new(record.key, now) }
    }
}
