//! Counted insert: inserts keys and adds them to the counts of their owners.

use std::collections::HashSet;

use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};
use uuid::Uuid;

use crate::domain::api_key::{ApiKey, SecretRecord};
use crate::domain::audit::AuditEvent;
use crate::domain::caller::CallingKey;
use crate::domain::key_limit::KeyLimit;
use crate::store::api_keys::rows;
use crate::store::owner::owner_from_columns;
use crate::store::owner_key_counts::KeysByOwner;
use crate::store::sql::{SqlBuilder, column_names, set_columns};

/// A new key with its secret and the audit event of its creation.
pub struct KeyInsert {
    pub key: ApiKey,
    pub secret: SecretRecord,
    pub event: AuditEvent,
    /// The key that authenticated the caller, if one did.
    pub calling_key: Option<CallingKey>,
    /// The number of keys that the owner may have, this one included. The same for all inserts of a process.
    pub limit: KeyLimit,
}

/// Inserts the keys of those owners that stay within the limit: of one owner either all of these keys or none. Returns
/// which were inserted, in the order of the keys. On SQLite, this must run in a transaction.
pub async fn insert_counted<C: ConnectionTrait>(
    connection: &C,
    inserts: &[&KeyInsert],
    limit: KeyLimit,
) -> Result<Vec<bool>, DbErr> {
    if inserts.is_empty() {
        return Ok(Vec::new());
    }
    match connection.get_database_backend() {
        DbBackend::Postgres => {
            let inserted = connection.query_all_raw(count_and_insert(inserts, limit)).await?;
            let inserted: HashSet<Uuid> = inserted.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?;
            Ok(inserts.iter().map(|insert| inserted.contains(&insert.key.id)).collect())
        }
        backend => count_then_insert(connection, backend, inserts, limit).await,
    }
}

/// One statement, which is a transaction by itself: one round trip instead of four. Its text depends only on the number
/// of keys, so that PostgreSQL has it prepared.
fn count_and_insert(inserts: &[&KeyInsert], limit: KeyLimit) -> Statement {
    let rows: Vec<_> = inserts.iter().map(|insert| insert.to_row()).collect();
    let columns = set_columns(&rows[0]);
    let names = column_names::<entity::api_key::ActiveModel>(&columns);
    SqlBuilder::new(DbBackend::Postgres)
        .push(&format!("WITH new ({names}) AS ("))
        .push_rows(rows.into_iter(), &columns)
        .push("), counted AS (")
        .push_count_of_new(limit)
        .push(&format!(
            ") INSERT INTO api_keys ({names}) SELECT new.* FROM new JOIN counted ON issuer = owner_issuer \
             AND subject = owner_subject AND organization = owner_organization RETURNING id"
        ))
        .build()
}

async fn count_then_insert<C: ConnectionTrait>(
    connection: &C,
    backend: DbBackend,
    inserts: &[&KeyInsert],
    limit: KeyLimit,
) -> Result<Vec<bool>, DbErr> {
    let keys = KeysByOwner::of(inserts.iter().map(|insert| &insert.key.owner)).admitted_by(limit);
    if keys.is_empty() {
        return Ok(vec![false; inserts.len()]);
    }
    let mut counted = HashSet::new();
    for row in connection.query_all_raw(SqlBuilder::new(backend).push_count(keys, limit).build()).await? {
        let column = |name| row.try_get("", name);
        counted.insert(owner_from_columns(column("issuer")?, column("subject")?, column("organization")?));
    }
    let fits: Vec<_> = inserts.iter().map(|insert| counted.contains(&insert.key.owner)).collect();
    let rows: Vec<_> =
        inserts.iter().zip(&fits).filter(|(_, fits)| **fits).map(|(insert, _)| insert.to_row()).collect();
    if !rows.is_empty() {
        connection.execute_raw(SqlBuilder::new(backend).push_insert(rows).build()).await?;
    }
    Ok(fits)
}

impl KeyInsert {
    fn to_row(&self) -> entity::api_key::ActiveModel {
        rows::new_key_row(&self.key, &self.secret, &self.event)
    }
}
