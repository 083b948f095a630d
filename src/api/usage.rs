//! Returns the usage of one of the current user's keys.

use std::sync::Arc;

use chrono::{Days, NaiveDate};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::{ApiResponse, Object, OpenApi};
use uuid::Uuid;

use crate::api::auth::{Authorized, Read};
use crate::api::errors::{ApiError, error_set};
use crate::api::tag::Tag;
use crate::domain::verdict::Verdict;
use crate::http::body::JsonResponse;
use crate::http::params::day::Day;
use crate::http::route_spec::RouteSpec;
use crate::service::Services;
use crate::service::usage::DailyUsage;

pub struct GetKeyUsage;

pub const GET_USAGE_ROUTE: RouteSpec = RouteSpec::new("get_my_api_key_usage");

error_set!(GetKeyUsageErrors: 400, 401, 403, 404, 500, 503);

/// Number of failed verifications, by reason.
#[derive(Object, Default)]
struct DeniedCounts {
    /// The key was revoked.
    revoked: u64,
    /// The key was disabled.
    disabled: u64,
    /// The key or the presented secret had expired.
    expired: u64,
    /// The key lacked a required scope.
    insufficient_scope: u64,
}

/// Usage of one key on one day.
#[derive(Object)]
struct UsageDay {
    /// Day (UTC).
    date: NaiveDate,
    /// Number of successful verifications.
    allowed: u64,
    /// Number of failed verifications, by reason.
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

/// Daily usage of one key.
#[derive(Object)]
struct ApiKeyUsage {
    /// First day of the range (UTC).
    from: NaiveDate,
    /// Last day of the range (UTC).
    to: NaiveDate,
    /// Usage by day. Days without requests are omitted.
    #[oai(validator(max_items = 366))]
    days: Vec<UsageDay>,
}

#[derive(ApiResponse)]
enum UsageResponse {
    /// Daily counts.
    #[oai(status = 200)]
    Usage(JsonResponse<ApiKeyUsage>),
}

/// Days before the last one in the longest range: a leap year. The response states the range.
const MAX_BEFORE: Days = Days::new(365);

#[OpenApi(tag = "Tag::ApiKeys")]
impl GetKeyUsage {
    /// Get the usage of one of my API keys
    ///
    /// Returns daily verification counts (UTC) by result. Defaults to the last 30 days. Counts can lag by up to a
    /// minute, and a crash can lose that minute.
    #[oai(path = "/auth/api-keys/:id/usage", method = "get", operation_id = "get_my_api_key_usage")]
    async fn usage(
        &self,
        caller: Authorized<Read>,
        Data(services): Data<&Arc<Services>>,
        /// The key's id.
        id: Path<Uuid>,
        /// First day (UTC). Defaults to 29 days before the last day.
        from: Query<Option<Day>>,
        /// Last day (UTC). Defaults to today. The range is cut to the 366 days that end with it.
        to: Query<Option<Day>>,
    ) -> Result<UsageResponse, ApiError<GetKeyUsageErrors>> {
        let to = to.0.map_or_else(|| services.now().date_naive(), |Day(day)| day);
        let from = from.0.map(|Day(day)| day).or_else(|| to.checked_sub_days(Days::new(29))).unwrap_or(to);
        let from = to.checked_sub_days(MAX_BEFORE).map_or(from, |earliest| from.max(earliest));
        let days = services.usage.daily(caller.own_keys(), id.0, from, to).await?;
        let days = days.into_iter().map(UsageDay::from).collect();
        Ok(UsageResponse::Usage(JsonResponse(ApiKeyUsage { from, to, days })))
    }
}
