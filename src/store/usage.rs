//! Usage: counts by key, day and verdict, added up; and the last use of secrets.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use entity::{key_usage, secret_last_used};
use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder};
use uuid::Uuid;

use super::sql::Written;
use super::{Store, StoreError};
use crate::domain::verdict::Verdict;

/// What is to be added for one secret.
#[derive(Debug, Clone)]
pub struct KeyUse {
    pub key_id: Uuid,
    pub secret_id: Uuid,
    pub day: NaiveDate,
    pub counts: Vec<(Verdict, u32)>,
    pub used_at: Option<DateTime<Utc>>,
}

const ADD_COUNT: &str = " ON CONFLICT (key_id, day, verdict) DO UPDATE SET count = key_usage.count + excluded.count";

const SET_LAST_USE: &str = " ON CONFLICT (secret_id) DO UPDATE SET last_used_at = excluded.last_used_at \
                            WHERE secret_last_used.last_used_at < excluded.last_used_at";

impl Store {
    /// Of several replicas that add at once, each takes the locks in the same order, so that none waits for another that
    /// waits for it.
    pub async fn add_usage(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        let mut counts = BTreeMap::new();
        let mut last_uses = BTreeMap::new();
        for usage in uses {
            for (verdict, count) in &usage.counts {
                *counts.entry((usage.key_id, usage.day, verdict.as_str())).or_default() += i64::from(*count);
            }
            if let Some(used_at) = usage.used_at {
                let last = last_uses.entry(usage.secret_id).or_insert(used_at);
                *last = std::cmp::max(used_at, *last);
            }
        }
        let counts = counts.into_iter().map(|((key_id, day, verdict), count)| key_usage::ActiveModel {
            key_id: Set(key_id),
            day: Set(day),
            verdict: Set(verdict.to_owned()),
            count: Set(count),
        });
        let last_uses = last_uses
            .into_iter()
            .map(|(secret, at)| secret_last_used::ActiveModel { secret_id: Set(secret), last_used_at: Set(at) });
        self.write(async |transaction| {
            let add = Written::new(transaction.get_database_backend()).insert(counts).text(ADD_COUNT);
            transaction.execute_raw(add.statement()).await?;
            if last_uses.len() > 0 {
                let set = Written::new(transaction.get_database_backend()).insert(last_uses).text(SET_LAST_USE);
                transaction.execute_raw(set.statement()).await?;
            }
            Ok(())
        })
        .await
    }

    /// By day, both ends included.
    pub async fn list_usage(
        &self,
        key: Uuid,
        from: NaiveDate,
        to: NaiveDate,
    ) -> Result<Vec<(NaiveDate, Verdict, u64)>, StoreError> {
        let days = key_usage::Entity::find()
            .filter(key_usage::Column::KeyId.eq(key))
            .filter(key_usage::Column::Day.between(from, to))
            .order_by_asc(key_usage::Column::Day);
        let rows = self.read(async |database| days.all(database).await).await?;
        let known = |name: &str| Verdict::ALL.into_iter().find(|verdict| verdict.as_str() == name);
        let counted =
            |row: key_usage::Model| Some((row.day, known(&row.verdict)?, u64::try_from(row.count).unwrap_or_default()));
        Ok(rows.into_iter().filter_map(counted).collect())
    }
}
