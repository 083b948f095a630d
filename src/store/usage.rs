//! Usage: verification counts by key, day and verdict, and the last use of secrets.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use entity::{key_usage, secret_last_used};
use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder};
use uuid::Uuid;

use crate::domain::verdict::Verdict;
use crate::store::sql::SqlBuilder;
use crate::store::{Store, StoreError};

/// The usage of one secret that is not stored yet.
#[derive(Debug, Clone)]
pub struct UsageDelta {
    pub key_id: Uuid,
    pub secret_id: Uuid,
    /// With their day in UTC.
    pub counts: Vec<(NaiveDate, Verdict, u64)>,
    pub used_at: Option<DateTime<Utc>>,
}

const ADD_COUNT: &str = " ON CONFLICT (key_id, day, verdict) DO UPDATE SET count = key_usage.count + excluded.count";

/// The condition ends with the latest time that can be right.
const RAISE_LAST_USED: &str = " ON CONFLICT (secret_id) DO UPDATE SET last_used_at = excluded.last_used_at \
                               WHERE secret_last_used.last_used_at < excluded.last_used_at \
                               OR secret_last_used.last_used_at > ";

impl Store {
    /// Adds to the stored counts, and raises the times of the last uses. A stored time after `latest` was written by a clock
    /// that was ahead, and is replaced. Rows are sorted, so that replicas lock them in the same order and cannot deadlock.
    pub async fn add_usage(&self, deltas: &[UsageDelta], latest: DateTime<Utc>) -> Result<(), StoreError> {
        let mut counts = BTreeMap::new();
        let mut last_used = BTreeMap::new();
        for delta in deltas {
            for (day, verdict, count) in &delta.counts {
                let sum: &mut i64 = counts.entry((delta.key_id, *day, verdict.as_str())).or_default();
                *sum = sum.saturating_add_unsigned(*count);
            }
            if let Some(used_at) = delta.used_at {
                let last = last_used.entry(delta.secret_id).or_insert(used_at);
                *last = std::cmp::max(used_at, *last);
            }
        }
        let counts = counts.into_iter().map(|((key_id, day, verdict), count)| key_usage::ActiveModel {
            key_id: Set(key_id),
            day: Set(day),
            verdict: Set(verdict.to_owned()),
            count: Set(count),
        });
        let last_used = last_used
            .into_iter()
            .map(|(secret, at)| secret_last_used::ActiveModel { secret_id: Set(secret), last_used_at: Set(at) });
        self.write(async |transaction| {
            let backend = transaction.get_database_backend();
            let add = SqlBuilder::new(backend).push_insert(counts).push(ADD_COUNT).build();
            transaction.execute_raw(add).await?;
            if last_used.len() > 0 {
                let raise = SqlBuilder::new(backend).push_insert(last_used).push(RAISE_LAST_USED);
                let raise = raise.push_values([latest.into()]).build();
                transaction.execute_raw(raise).await?;
            }
            Ok(())
        })
        .await
    }

    /// Returns the counts of a key by day, both ends included. Skips verdicts that this release does not know.
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
        let rows = self.scan(async |database| days.all(database).await).await?;
        let count = |row: key_usage::Model| {
            Some((row.day, Verdict::parse(&row.verdict)?, u64::try_from(row.count).unwrap_or_default()))
        };
        Ok(rows.into_iter().filter_map(count).collect())
    }
}
