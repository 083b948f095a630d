//! Peppers in use: the newest is registered when a process starts, and the secrets that depend on each are counted.
//!
//! A process whose master secrets derive none of the registered peppers could verify no key, and one that lacks a pepper
//! that secrets depend on would report their keys as unknown. Both refuse to start.

use std::sync::Mutex;

use chrono::{DateTime, TimeDelta, Utc};
use tracing::{info, warn};

use crate::domain::clock::Clock;
use crate::domain::secret_hash::{Peppers, RegisteredPepper};
use crate::store::{PepperUse, Store, StoreError};

const REMEDY: &str = "restore the file master.secret of its data directory, or give it with --master-secret-file \
    (MINTKEY_MASTER_SECRET_FILE), with the missing master secret as another line; to give these keys up, set \
    --allow-missing-master-secret (MINTKEY_ALLOW_MISSING_MASTER_SECRET=true)";

/// How long a replaced pepper stays registered although no secret depends on it: another replica may still use it for new
/// secrets, on which every start in this period checks.
const REPLACEMENT_PERIOD: TimeDelta = TimeDelta::days(7);

/// What happens if stored secrets depend on a pepper that no given master secret derives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingPepper {
    Refuse,
    Allow,
}

/// Refuses peppers of which the database has none, although it has others.
pub async fn check_peppers(store: &Store, peppers: &Peppers, missing: MissingPepper) -> Result<(), StoreError> {
    let registered = store.registered_peppers().await?;
    let derived = registered.iter().any(|known| derives(peppers, known));
    if registered.is_empty() || derived || missing == MissingPepper::Allow { Ok(()) } else { Err(wrong_secret()) }
}

/// Registers the newest pepper and returns the peppers in the order of their registration. If a registered pepper is
/// not among them, counts the secrets that depend on it, which reads every key; if there are none and it was replaced
/// long ago, removes it, so that the next start does not count again.
pub async fn register_peppers(
    store: &Store,
    peppers: Peppers,
    missing: MissingPepper,
    now: DateTime<Utc>,
) -> Result<Peppers, StoreError> {
    loop {
        let registered = store.registered_peppers().await?;
        let newest = peppers.newest().id();
        let mut unused = Vec::new();
        if registered.iter().any(|known| !derives(&peppers, known)) {
            if missing == MissingPepper::Refuse && !registered.iter().any(|known| derives(&peppers, known)) {
                return Err(wrong_secret());
            }
            info!("a registered master secret is not given; counting the secrets that depend on it");
            let uses = store.count_secrets_by_pepper(now).await?;
            let uses: Vec<_> = uses.into_iter().filter(|of| !derives(&peppers, &of.pepper)).collect();
            report_missing(&uses, missing)?;
            unused = removable(&peppers, &registered, uses, now);
        }
        let is_registered = registered.iter().any(|known| known.id == newest);
        if is_registered && unused.is_empty() {
            return Ok(peppers.ordered_by(&registered));
        }
        // Another process may have changed what is registered; then decide again.
        if store.register_pepper(newest, &unused, &registered, now).await? {
            return Ok(peppers.ordered_by(&store.registered_peppers().await?));
        }
    }
}

fn derives(peppers: &Peppers, known: &RegisteredPepper) -> bool {
    peppers.all().iter().any(|pepper| pepper.id() == known.id)
}

fn wrong_secret() -> StoreError {
    StoreError::Incompatible(format!("the master secret is not one that this database's keys were made with; {REMEDY}"))
}

/// Refuses, or only warns of, missing peppers that secrets depend on.
fn report_missing(uses: &[PepperUse], missing: MissingPepper) -> Result<(), StoreError> {
    let secrets: u64 = uses.iter().map(|of| of.secrets).sum();
    let used = uses.iter().filter(|of| of.secrets > 0);
    let list = used.map(|of| format!("pepper {}: {}", of.pepper.id, of.secrets)).collect::<Vec<_>>().join(", ");
    match missing {
        _ if secrets == 0 => Ok(()),
        MissingPepper::Refuse => Err(StoreError::Incompatible(format!(
            "{secrets} stored secrets depend on a master secret that is not given ({list}); {REMEDY}"
        ))),
        MissingPepper::Allow => {
            warn!(secrets, peppers = %list, "stored secrets depend on a master secret that is not given; their keys are reported as unknown");
            Ok(())
        }
    }
}

/// The missing peppers that no secret depends on and whose successor, which is given, has been registered for
/// [`REPLACEMENT_PERIOD`].
fn removable(
    peppers: &Peppers,
    registered: &[RegisteredPepper],
    missing: Vec<PepperUse>,
    now: DateTime<Utc>,
) -> Vec<String> {
    let given = registered.iter().filter(|known| derives(peppers, known)).map(|known| known.first_used_at);
    let replaced_since = given.filter(|first_used_at| *first_used_at + REPLACEMENT_PERIOD <= now).max();
    let is_replaced = |of: &PepperUse| Some(of.pepper.first_used_at) < replaced_since;
    missing.into_iter().filter(|of| of.secrets == 0 && is_replaced(of)).map(|of| of.pepper.id).collect()
}

/// Counts of stored secrets by pepper, for the metric.
pub struct StoredSecrets {
    store: Store,
    clock: Clock,
    newest: String,
    /// The newest pepper as it was registered at the first count.
    registered: Mutex<Option<RegisteredPepper>>,
    counts: Mutex<Vec<(String, u64)>>,
}

impl StoredSecrets {
    pub(super) fn new(store: Store, clock: Clock, peppers: &Peppers) -> Self {
        let newest = peppers.newest().id().to_owned();
        Self { store, clock, newest, registered: Mutex::default(), counts: Mutex::default() }
    }

    /// Counts the secrets again, which reads every key, if several peppers are registered.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let mut peppers = self.store.registered_peppers().await?;
        match peppers.iter().find(|known| known.id == self.newest) {
            Some(known) => *lock_ignoring_poison(&self.registered) = Some(known.clone()),
            // A replica without this master secret found it unused and removed it. Secrets of this process depend on it.
            None => {
                let known = lock_ignoring_poison(&self.registered).clone();
                if let Some(known) = known {
                    self.store.keep_pepper_registered(&known).await?;
                    peppers.push(known);
                }
            }
        }
        let uses =
            if peppers.len() > 1 { self.store.count_secrets_by_pepper(self.clock.now()).await? } else { Vec::new() };
        *lock_ignoring_poison(&self.counts) = uses.into_iter().map(|of| (of.pepper.id, of.secrets)).collect();
        Ok(())
    }

    /// The last counts, by pepper id. Empty while one pepper is registered.
    pub fn counts(&self) -> Vec<(String, u64)> {
        lock_ignoring_poison(&self.counts).clone()
    }
}

fn lock_ignoring_poison<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn register(store: &Store, letters: &[&str], now: DateTime<Utc>) -> Peppers {
        let lines: Vec<_> = letters.iter().map(|letter| letter.repeat(32)).collect();
        let peppers = Peppers::derive(&lines.join("\n")).unwrap();
        register_peppers(store, peppers, MissingPepper::Refuse, now).await.unwrap()
    }

    #[tokio::test]
    async fn later_registration_has_a_later_time_though_the_clock_is_behind() {
        let (store, _directory) = Store::temporary().await;
        let now = Clock::System.now();
        register(&store, &["o"], now).await;
        let peppers = register(&store, &["n", "o"], now - TimeDelta::hours(1)).await;
        assert_eq!((peppers.earlier().len(), peppers.later().len()), (1, 0));
        let ids: Vec<_> = store.registered_peppers().await.unwrap().into_iter().map(|known| known.id).collect();
        assert_eq!(ids, [peppers.earlier()[0].id(), peppers.newest().id()]);
    }

    #[tokio::test]
    async fn pepper_removed_while_in_use_is_registered_again_at_its_place() {
        let (store, _directory) = Store::temporary().await;
        let now = Clock::System.now();
        let in_use = register(&store, &["o"], now).await;
        let counted = StoredSecrets::new(store.clone(), Clock::System, &in_use);
        counted.refresh().await.unwrap();
        assert_eq!(counted.counts(), [], "one pepper is not counted");

        register(&store, &["n", "o"], now).await;
        let before = store.registered_peppers().await.unwrap();
        register(&store, &["n"], now + REPLACEMENT_PERIOD - TimeDelta::seconds(1)).await;
        assert_eq!(store.registered_peppers().await.unwrap(), before, "another replica may still use it");
        register(&store, &["n"], now + REPLACEMENT_PERIOD + TimeDelta::seconds(1)).await;
        assert_eq!(store.registered_peppers().await.unwrap(), before[1..]);
        counted.refresh().await.unwrap();
        assert_eq!(store.registered_peppers().await.unwrap(), before);
        assert_eq!(counted.counts().len(), 2);
    }
}
