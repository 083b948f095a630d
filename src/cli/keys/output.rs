//! Output of `mintkey keys`: text for people, or JSON in the API's format.

use std::io::Write;

use chrono::{DateTime, Utc};
use poem_openapi::types::ToJSON;

use crate::api::admin::bulk_revoke::ApiKeyBulkRevokeCount;
use crate::api::admin::revocation_jobs::BulkRevocation;
use crate::api::keys::responses::ApiKeyCreateResponse;
use crate::api::keys::schemas::ApiKey as ApiKeyJson;
use crate::cli::{CommandError, print_output};
use crate::domain::access::AccessFilter;
use crate::domain::api_key::{ApiKey, KeyRecord, Revocation};
use crate::domain::revocation_job::RevocationJob;
use crate::domain::scope::Scope;
use crate::service::Services;
use crate::service::keys::{IssuedKey, KeyFilter, KeyQuery, RevokedKey};
use crate::service::revocation_jobs::KeyCount;

pub fn print_issued(issued: IssuedKey, json: bool) -> Result<(), CommandError> {
    let text = if json { to_json(&ApiKeyCreateResponse::from(issued)) } else { format_issued(&issued) };
    print_output(text)
}

pub fn print_record(record: KeyRecord, now: DateTime<Utc>, json: bool) -> Result<(), CommandError> {
    let text = if json { to_json(&ApiKeyJson::with_secrets(record, now)) } else { format_record(&record, now) };
    print_output(text)
}

pub fn print_revoked(revoked: RevokedKey, now: DateTime<Utc>, json: bool) -> Result<(), CommandError> {
    let RevokedKey { record, revoked_descendants } = revoked;
    if json {
        let json = ApiKeyJson::with_secrets(record, now).with_revoked_descendants(revoked_descendants);
        return print_output(to_json(&json));
    }
    print_record(record, now, json)?;
    revoked_descendants.map_or(Ok(()), |number| print_output(format_args!("{:<10} {number} revoked", "descendants")))
}

/// Prints each page as it is read. In JSON, one object per line, so that a script can start before the list ends.
pub async fn print_list(services: &Services, filter: KeyFilter, json: bool) -> Result<(), CommandError> {
    let mut out = std::io::stdout();
    let mut query = KeyQuery { filter, after: None, limit: 100 };
    let now = services.now();
    if !json {
        writeln!(out, "{:<36}  {:<8}  {:<12}  {:<20}  {:<20}  NAME", "ID", "STATUS", "START", "CREATED", "OWNER")?;
    }
    loop {
        let page = services.keys.list(AccessFilter::Any, &query).await?;
        for key in page.items {
            let line = if json { to_json(&ApiKeyJson::new(key, now)) } else { format_line(&key, now) };
            writeln!(out, "{line}")?;
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(()),
        }
    }
}

pub fn print_key_count(count: &KeyCount, json: bool) -> Result<(), CommandError> {
    if json {
        return print_output(to_json(&ApiKeyBulkRevokeCount::from(count)));
    }
    let at_least = if count.complete { "" } else { "at least " };
    print_output(format_args!(
        "{:<10} {at_least}{}\n{:<10} {at_least}{}",
        "matched", count.matched, "descendants", count.descendants
    ))
}

pub fn print_job(job: RevocationJob, json: bool) -> Result<(), CommandError> {
    if json {
        return print_output(to_json(&BulkRevocation::from(job)));
    }
    let lines = [
        ("id", job.id.to_string()),
        ("status", job.status.as_str().to_owned()),
        ("examined", job.examined.to_string()),
        ("revoked", job.revoked.to_string()),
    ];
    print_output(lines.map(|(name, value)| format!("{name:<10} {value}")).join("\n"))
}

fn to_json(value: &impl ToJSON) -> String {
    value.to_json().unwrap_or_default().to_string()
}

fn format_line(key: &ApiKey, now: DateTime<Utc>) -> String {
    let status = if key.deleted_at.is_some() { "deleted" } else { key.status(now).as_str() };
    let created = key.created_at.format("%Y-%m-%dT%H:%M:%SZ");
    let owner = match &key.owner.organization {
        Some(organization) => format!("{} of {organization}", key.owner.subject),
        None => key.owner.subject.clone(),
    };
    format!("{}  {status:<8}  {:<12}  {created:<20}  {owner:<20}  {}", key.id, key.start, key.name.as_str())
}

fn format_issued(issued: &IssuedKey) -> String {
    let key = format_key(&issued.key, issued.key.updated_at);
    let secret = issued.secret.expose();
    format!("{key}secret     {secret}\n\nSave the secret now; it cannot be shown again.")
}

fn format_record(record: &KeyRecord, now: DateTime<Utc>) -> String {
    let time = |time: Option<DateTime<Utc>>| time.map_or("never".to_owned(), |time| time.to_rfc3339());
    let secrets = record.live_secrets(now).map(|secret| {
        let (expires, used) = (time(secret.expires_at), time(secret.last_used_at));
        format!("secret     {}...{}, expires {expires}, last used {used}\n", secret.start, secret.last4)
    });
    (format_key(&record.key, now) + &secrets.collect::<String>()).trim_end().to_owned()
}

fn format_key(key: &ApiKey, now: DateTime<Utc>) -> String {
    let scopes: Vec<_> = key.scopes.iter().map(Scope::as_str).collect();
    let mut lines = vec![
        ("id", key.id.to_string()),
        ("name", key.name.as_str().to_owned()),
        ("status", key.status(now).as_str().to_owned()),
        ("owner", format!("{} ({})", key.owner.subject, key.owner.issuer)),
    ];
    lines.extend(key.owner.organization.as_ref().map(|organization| ("org", organization.clone())));
    lines.push(("scopes", scopes.join(" ")));
    lines.push(("created", key.created_at.to_rfc3339()));
    lines.extend(key.created_by_key.map(|id| ("created by", format!("key {id}"))));
    lines.extend(key.expires_at.map(|time| ("expires", time.to_rfc3339())));
    if let Some(Revocation { at, by, reason }) = &key.revocation {
        let reason = reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        lines.push(("revoked", format!("{} by {by}{reason}", at.to_rfc3339())));
    }
    lines.iter().map(|(name, value)| format!("{name:<10} {value}\n")).collect()
}
