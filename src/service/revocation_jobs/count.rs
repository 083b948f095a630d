//! Count: how many keys a bulk revocation would revoke now.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::access::AdminAccess;
use crate::domain::authority::{KeyAction, authorize};
use crate::domain::caller::Caller;
use crate::domain::revocation_job::RevocationFilter;
use crate::service::errors::ServiceError;
use crate::service::revocation_jobs::RevocationJobs;
use crate::store::KeyPage;

/// Keys per statement, and keys per statement that looks for descendants.
const PAGE: u64 = 2000;
const CREATORS: usize = 50;
/// A count ends after this time.
const MAX_TIME: Duration = Duration::from_secs(5);
/// A count with descendants ends at this number of keys: it keeps the id of each, to count none twice.
const MAX_TREE_KEYS: usize = 100_000;

/// How many keys match. At least so many, if the count is not complete.
#[derive(Debug, Default)]
pub struct KeyCount {
    /// Keys that match the filter and are not revoked.
    pub matched: u64,
    /// Other keys that are not revoked and descend from a key that matches. 0 if they are not to be included.
    pub descendants: u64,
    pub complete: bool,
}

impl RevocationJobs {
    /// Counts until the time limit, which one statement may exceed. `descendants` as in a revocation.
    pub async fn count(
        &self,
        caller: &Caller,
        reach: AdminAccess<'_>,
        filter: &RevocationFilter,
        descendants: Option<bool>,
    ) -> Result<KeyCount, ServiceError> {
        authorize(caller, KeyAction::Revoke)?;
        let with_descendants = descendants.unwrap_or(self.revoke_descendants);
        let deadline = Instant::now() + MAX_TIME;
        let (mut count, mut below) = (KeyCount::default(), filter.ids_below());
        let (mut matching, mut descendants) = (HashSet::new(), HashSet::new());
        loop {
            let KeyPage { live, creators, next } =
                self.store.find_matching_keys(reach, filter, with_descendants, below, PAGE).await?;
            count.matched += live.len() as u64;
            let mut ends_early = false;
            if with_descendants {
                matching.extend(live);
                for creators in creators.chunks(CREATORS) {
                    ends_early = matching.len() + descendants.len() > MAX_TREE_KEYS || Instant::now() >= deadline;
                    if ends_early {
                        break;
                    }
                    descendants.extend(self.store.find_live_descendants(creators).await?);
                }
            }
            match next {
                None => count.complete = !ends_early,
                Some(next) => below = next,
            }
            if next.is_none() || ends_early || Instant::now() >= deadline {
                count.descendants = descendants.difference(&matching).count() as u64;
                return Ok(count);
            }
        }
    }
}
