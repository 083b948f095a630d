//! Usage: counts by key, day and verdict, added up; and the last use of secrets.

use chrono::{DateTime, NaiveDate, Utc};
use entity::{key_usage, secret};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use uuid::Uuid;

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

impl Store {
    pub async fn add_usage(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        for usage in uses {
            for (verdict, count) in &usage.counts {
                let row = key_usage::ActiveModel {
                    key_id: Set(usage.key_id),
                    day: Set(usage.day),
                    verdict: Set(verdict.as_str().to_owned()),
                    count: Set(i64::from(*count)),
                };
                let added = Expr::col((key_usage::Entity, key_usage::Column::Count)).add(i64::from(*count));
                let mut add =
                    OnConflict::columns([key_usage::Column::KeyId, key_usage::Column::Day, key_usage::Column::Verdict]);
                add.value(key_usage::Column::Count, added);
                key_usage::Entity::insert(row).on_conflict(add).exec_without_returning(&transaction).await?;
            }
            if let Some(used_at) = usage.used_at {
                let later = secret::Column::LastUsedAt.is_null().or(secret::Column::LastUsedAt.lt(used_at));
                secret::Entity::update_many()
                    .col_expr(secret::Column::LastUsedAt, Expr::value(used_at))
                    .filter(secret::Column::Id.eq(usage.secret_id))
                    .filter(later)
                    .exec(&transaction)
                    .await?;
            }
        }
        Ok(transaction.commit().await?)
    }

    /// By day, both ends included.
    pub async fn list_usage(
        &self,
        key: Uuid,
        from: NaiveDate,
        to: NaiveDate,
    ) -> Result<Vec<(NaiveDate, Verdict, u64)>, StoreError> {
        let rows = key_usage::Entity::find()
            .filter(key_usage::Column::KeyId.eq(key))
            .filter(key_usage::Column::Day.between(from, to))
            .order_by_asc(key_usage::Column::Day)
            .all(self.reader()?)
            .await?;
        let known = |name: &str| Verdict::ALL.into_iter().find(|verdict| verdict.as_str() == name);
        let counted =
            |row: key_usage::Model| Some((row.day, known(&row.verdict)?, u64::try_from(row.count).unwrap_or_default()));
        Ok(rows.into_iter().filter_map(counted).collect())
    }
}
