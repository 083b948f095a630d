//! Usage: how often a key was asked about.

use std::sync::Arc;

use chrono::{Days, NaiveDate};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::{ApiResponse, Object, OpenApi};
use uuid::Uuid;

use crate::api::auth::{Authorized, Read};
use crate::api::tag::Tag;
use crate::domain::verdict::Verdict;
use crate::http::body::JsonResponse;
use crate::http::params::day::Day;
use crate::http::problem::{Failure, may_fail};
use crate::service::Service;
use crate::service::usage::DailyUsage;

pub struct GetKeyUsage;

/// How often a key was found not to be good, by reason.
#[derive(Object, Default)]
struct DeniedCounts {
    /// It was revoked.
    revoked: u64,
    /// It was disabled.
    disabled: u64,
    /// It had expired.
    expired: u64,
    /// It lacked a scope that was asked for.
    insufficient_scope: u64,
}

/// What was asked about a key on one day.
#[derive(Object)]
struct UsageDay {
    /// The day, in UTC.
    date: NaiveDate,
    /// How often the key was found good.
    allowed: u64,
    /// How often it was not, and why.
    denied: DeniedCounts,
}

impl From<DailyUsage> for UsageDay {
    fn from(DailyUsage { day, counts }: DailyUsage) -> Self {
        let count = |verdict| counts.iter().find(|(counted, _)| *counted == verdict).map_or(0, |(_, count)| *count);
        Self {
            date: day,
            allowed: count(Verdict::Valid),
            denied: DeniedCounts {
                revoked: count(Verdict::Revoked),
                disabled: count(Verdict::Disabled),
                expired: count(Verdict::Expired),
                insufficient_scope: count(Verdict::InsufficientScope),
            },
        }
    }
}

/// The days on which a key was asked about.
#[derive(Object)]
struct ApiKeyUsage {
    /// The first day that was looked at.
    from: NaiveDate,
    /// The last day that was looked at.
    to: NaiveDate,
    /// Days without a question are left out.
    #[oai(validator(max_items = 366))]
    days: Vec<UsageDay>,
}

#[derive(ApiResponse)]
enum UsageResponse {
    /// What was counted.
    #[oai(status = 200)]
    Usage(JsonResponse<ApiKeyUsage>),
}

/// A range is at most a leap year; the answer says which days were looked at.
const MAX_BEFORE: Days = Days::new(365);

#[OpenApi(tag = "Tag::ApiKeys")]
impl GetKeyUsage {
    /// Get the usage of one of my API keys
    ///
    /// How often the key was verified, day by day (UTC), by what was answered; the last 30 days unless told otherwise.
    /// The counts are up to a minute behind, and a crash can lose that minute.
    #[oai(path = "/auth/api-keys/:id/usage", method = "get", operation_id = "get_my_api_key_usage")]
    async fn usage(
        &self,
        caller: Authorized<Read>,
        Data(service): Data<&Arc<Service>>,
        /// The key's id.
        id: Path<Uuid>,
        /// The first day (UTC); 29 days before the last if absent.
        from: Query<Option<Day>>,
        /// The last day (UTC); today if absent. At most the 366 days that end with it are looked at.
        to: Query<Option<Day>>,
    ) -> Result<UsageResponse, Failure<{ may_fail(&[400, 401, 403, 404, 500, 503]) }>> {
        let to = to.0.map_or_else(|| service.clock.now().date_naive(), |Day(day)| day);
        let from = from.0.map(|Day(day)| day).or_else(|| to.checked_sub_days(Days::new(29))).unwrap_or(to);
        let from = to.checked_sub_days(MAX_BEFORE).map_or(from, |earliest| from.max(earliest));
        let days = service.key_usage(caller.own_keys(), id.0, from, to).await?;
        let days = days.into_iter().map(UsageDay::from).collect();
        Ok(UsageResponse::Usage(JsonResponse(ApiKeyUsage { from, to, days })))
    }
}
