//! Owner key counts: how many keys each owner has that are neither revoked nor deleted.
//!
//! The count is changed in the transaction that creates or revokes a key, so it is exact at every commit. Its row is
//! also the lock that makes concurrent creates of one owner take their turns. Transactions lock key rows before counts,
//! and counts in the order of their owners, so that they cannot deadlock.

use std::collections::BTreeMap;

use entity::owner_key_count::ActiveModel;
use sea_orm::ActiveValue::Set;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use crate::domain::api_key::{ApiKey, KeyRecord};
use crate::domain::key_limit::KeyLimit;
use crate::domain::owner::Owner;
use crate::store::owner::organization_column;
use crate::store::sql::SqlBuilder;

/// Numbers of keys by owner, in the order in which their rows are locked: by issuer, subject and organization.
pub struct KeysByOwner<'a>(BTreeMap<(&'a str, &'a str, &'a str), i64>);

impl<'a> KeysByOwner<'a> {
    /// Counts one key for each time that an owner is given.
    pub fn of(owners: impl IntoIterator<Item = &'a Owner>) -> Self {
        let mut counts = BTreeMap::new();
        for owner in owners {
            let columns = (owner.issuer.as_str(), owner.subject.as_str(), organization_column(owner));
            *counts.entry(columns).or_default() += 1;
        }
        Self(counts)
    }

    /// Leaves out owners whose keys alone exceed the limit.
    pub fn admitted_by(mut self, limit: KeyLimit) -> Self {
        self.0.retain(|_, keys| limit.admits(*keys));
        self
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn negated(mut self) -> Self {
        self.0.values_mut().for_each(|keys| *keys = -*keys);
        self
    }

    fn into_rows(self) -> impl Iterator<Item = ActiveModel> {
        self.0.into_iter().map(|((issuer, subject, organization), keys)| ActiveModel {
            issuer: Set(issuer.to_owned()),
            subject: Set(subject.to_owned()),
            organization: Set(organization.to_owned()),
            keys: Set(keys),
        })
    }
}

/// Adds to a count if it then stays within the limit, which follows. Not `keys + excluded.keys <= `, because the largest
/// limit is the largest number.
const ADD: &str = " ON CONFLICT (issuer, subject, organization) DO UPDATE \
                   SET keys = owner_key_counts.keys + excluded.keys \
                   WHERE owner_key_counts.keys <= ";
const RETURNING: &str = " - excluded.keys RETURNING issuer, subject, organization";

impl SqlBuilder {
    /// Appends a statement that adds these keys to the counts of those owners that stay within the limit, and returns
    /// those owners.
    pub fn push_count(self, keys: KeysByOwner<'_>, limit: KeyLimit) -> Self {
        self.push_insert(keys.into_rows()).push(ADD).push_values([limit.largest().into()]).push(RETURNING)
    }

    /// Appends the same statement for the rows of the query `new`, which are rows of `api_keys`. The collation gives the
    /// order that [`KeysByOwner`] has.
    pub fn push_count_of_new(self, limit: KeyLimit) -> Self {
        let largest = || [limit.largest().into()];
        self.push(
            "INSERT INTO owner_key_counts (issuer, subject, organization, keys) \
             SELECT owner_issuer, owner_subject, owner_organization, count(*) FROM new GROUP BY 1, 2, 3 \
             HAVING count(*) <= ",
        )
        .push_values(largest())
        .push(r#" ORDER BY owner_issuer COLLATE "C", owner_subject COLLATE "C", owner_organization COLLATE "C" "#)
        .push(ADD)
        .push_values(largest())
        .push(RETURNING)
    }
}

/// Subtracts the keys that a transaction has revoked. The last statement of the transaction that locks anything, because
/// all that create or revoke keys of the owner wait for its end. The rows exist, so it inserts none: the form gives the
/// order of the locks.
pub async fn subtract(transaction: &DatabaseTransaction, keys: KeysByOwner<'_>) -> Result<(), DbErr> {
    if keys.is_empty() {
        return Ok(());
    }
    let subtract = SqlBuilder::new(transaction.get_database_backend()).push_insert(keys.negated().into_rows());
    let subtract = subtract.push(
        " ON CONFLICT (issuer, subject, organization) DO UPDATE SET keys = owner_key_counts.keys + excluded.keys",
    );
    transaction.execute_raw(subtract.build()).await.map(drop)
}

/// True if the change from `before` makes the key no longer count.
pub fn is_subtracted(before: Option<&KeyRecord>, after: &ApiKey) -> bool {
    before.is_some_and(|before| counts(&before.key)) && !counts(after)
}

fn counts(key: &ApiKey) -> bool {
    key.revocation.is_none() && key.deleted_at.is_none()
}
