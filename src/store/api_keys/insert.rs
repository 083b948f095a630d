//! Insert: new keys, in batches of one transaction each.

use std::collections::HashSet;

use sea_orm::{DatabaseConnection, DatabaseTransaction, DbErr};
use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::owner::Owner;
use crate::store::api_keys::counted_insert::{KeyInsert, insert_counted};
use crate::store::api_keys::descendants;
use crate::store::idempotency::{self, SavedResponse};
use crate::store::workload::Workload;
use crate::store::{Engine, STATEMENT_TIMEOUT, Store, StoreError};

/// An insert that waits for its batch.
pub struct QueuedInsert {
    insert: KeyInsert,
    /// When its transaction must have begun. An insert waits for its batch first.
    deadline: Instant,
    /// The response to save under each pepper, for a request with an `Idempotency-Key`.
    responses: Vec<SavedResponse>,
}

impl QueuedInsert {
    fn creator(&self) -> Option<Uuid> {
        self.insert.calling_key.as_ref().map(|key| key.id)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum InsertOutcome {
    Inserted,
    /// An earlier request with the same `Idempotency-Key` has created its key. Nothing was inserted.
    Replayed(SavedResponse),
    /// The owner has as many keys as it may have. Nothing was inserted.
    TooManyKeys,
    /// The key that the request was authenticated with has ended or lost scopes since. Nothing was inserted.
    CreatorEnded,
}

impl Store {
    /// Returns when the key, the hash of its secret and the audit event are on disk.
    pub async fn create_key(&self, insert: KeyInsert) -> Result<InsertOutcome, StoreError> {
        self.create_key_once(insert, Vec::new()).await
    }

    /// Creates a key as [`Store::create_key`] does, once for a request with an `Idempotency-Key`, and saves the
    /// response with it. `responses` is the response as sealed under each pepper.
    pub async fn create_key_once(
        &self,
        insert: KeyInsert,
        responses: Vec<SavedResponse>,
    ) -> Result<InsertOutcome, StoreError> {
        let queued = QueuedInsert { insert, deadline: Instant::now() + STATEMENT_TIMEOUT, responses };
        // Creates by keys are apart, so that creates by users wait for no key's lock.
        let batcher = if queued.creator().is_some() { &self.child_insert_batcher } else { &self.insert_batcher };
        self.batched(batcher, queued, Self::insert_batch).await
    }

    async fn insert_batch(self, inserts: Vec<QueuedInsert>) -> Vec<Result<InsertOutcome, StoreError>> {
        let deadline = inserts.iter().map(|queued| queued.deadline).min().unwrap_or_else(Instant::now);
        let mut outcomes: Vec<_> = match self.insert_all(&inserts, deadline).await {
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error); inserts.len()],
        };
        if inserts.len() == 1 {
            return outcomes;
        }
        // A row that the database rejects must not fail the others, and an owner's keys that are too many together may
        // fit in part. So each of them is inserted alone.
        let mut full: HashSet<Owner> = HashSet::new();
        for (queued, outcome) in inserts.iter().zip(&mut outcomes) {
            let is_full = full.contains(&queued.insert.key.owner);
            match outcome {
                // The same request may have succeeded since, here or at another replica, and taken the last place.
                Ok(InsertOutcome::TooManyKeys) if is_full => {
                    if let Some(saved) = self.find_response_of(queued).await.transpose() {
                        *outcome = saved.map(InsertOutcome::Replayed);
                    }
                    continue;
                }
                Ok(InsertOutcome::TooManyKeys) | Err(StoreError::Internal(_)) => {}
                Ok(_) | Err(_) => continue,
            }
            let deadline = Instant::now() + STATEMENT_TIMEOUT;
            let alone = self.insert_all(std::slice::from_ref(queued), deadline).await;
            *outcome = alone.map(|mut outcomes| outcomes.pop().expect("one outcome per insert"));
            if let Ok(InsertOutcome::TooManyKeys) = outcome {
                full.insert(queued.insert.key.owner.clone());
            }
        }
        outcomes
    }

    /// Returns the saved response to the same request.
    async fn find_response_of(&self, queued: &QueuedInsert) -> Result<Option<SavedResponse>, StoreError> {
        if queued.responses.is_empty() {
            return Ok(None);
        }
        let ids: Vec<_> = queued.responses.iter().map(|response| response.id.clone()).collect();
        self.find_saved_response(&ids, queued.insert.key.created_at).await
    }

    /// Inserts in one transaction. Of one owner, either all keys fit or none.
    async fn insert_all(&self, inserts: &[QueuedInsert], deadline: Instant) -> Result<Vec<InsertOutcome>, StoreError> {
        let outcome = |fits| if fits { InsertOutcome::Inserted } else { InsertOutcome::TooManyKeys };
        let Some(limit) = inserts.first().map(|queued| queued.insert.limit) else { return Ok(Vec::new()) };
        if let Engine::Postgres(_) = self.engine
            && inserts.iter().all(|queued| queued.responses.is_empty() && queued.creator().is_none())
        {
            let inserts: Vec<_> = inserts.iter().map(|queued| &queued.insert).collect();
            let inserted = async |database: &DatabaseConnection| insert_counted(database, &inserts, limit).await;
            let fits = self.run(Workload::Change, inserted).await?;
            return Ok(fits.into_iter().map(outcome).collect());
        }
        Box::pin(self.write_before(deadline, async |transaction| {
            // A revocation of a creator and its descendants either waits and then finds the new key, or is found here.
            let creators = inserts.iter().filter_map(QueuedInsert::creator).collect();
            let creators = descendants::lock_creators(transaction, creators).await?;
            let has_ended = |queued: &QueuedInsert| {
                queued.insert.calling_key.as_ref().is_some_and(|key| !key.is_current(creators.get(&key.id)))
            };
            let responses = inserts.iter().map(|queued| match has_ended(queued) {
                true => Vec::new(),
                false => queued.responses.clone(),
            });
            let responses = responses.collect();
            let now = inserts.iter().map(|queued| queued.insert.key.created_at).max().unwrap_or_default();
            let earlier = idempotency::save_responses(transaction, responses, now).await?;
            let mut outcomes: Vec<_> = earlier
                .into_iter()
                .map(|earlier| earlier.map_or(InsertOutcome::Inserted, InsertOutcome::Replayed))
                .collect();
            for (_, outcome) in inserts.iter().zip(&mut outcomes).filter(|(queued, _)| has_ended(queued)) {
                *outcome = InsertOutcome::CreatorEnded;
            }
            let new = (0..inserts.len()).filter(|index| outcomes[*index] == InsertOutcome::Inserted);
            let new: Vec<_> = new.collect();
            let keys: Vec<_> = new.iter().map(|index| &inserts[*index].insert).collect();
            let fits = insert_counted(transaction, &keys, limit).await?;
            for (index, fits) in new.into_iter().zip(fits) {
                outcomes[index] = outcome(fits);
            }
            withdraw_responses(transaction, inserts, &mut outcomes).await?;
            Ok(outcomes)
        }))
        .await
    }
}

/// Deletes the saved responses of requests whose key does not fit. A repetition of such a request in the same batch was
/// to be replayed, and does not fit either.
async fn withdraw_responses(
    transaction: &DatabaseTransaction,
    inserts: &[QueuedInsert],
    outcomes: &mut [InsertOutcome],
) -> Result<(), DbErr> {
    let rejected = inserts.iter().zip(&*outcomes).filter(|(_, outcome)| **outcome == InsertOutcome::TooManyKeys);
    let rejected: HashSet<_> = rejected.flat_map(|(queued, _)| &queued.responses).map(|one| one.id.clone()).collect();
    for outcome in outcomes {
        if let InsertOutcome::Replayed(earlier) = outcome
            && rejected.contains(&earlier.id)
        {
            *outcome = InsertOutcome::TooManyKeys;
        }
    }
    idempotency::delete_responses(transaction, rejected.into_iter().collect()).await
}

#[cfg(test)]
pub mod tests {
    use chrono::{DateTime, TimeDelta, Utc};
    use futures_util::future::join_all;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::domain::access::AccessFilter;
    use crate::domain::api_key::{self, ApiKey, SecretRecord};
    use crate::domain::audit::{Action, AuditContext, AuditEvent, RequestSource};
    use crate::domain::caller::{Caller, Credential};
    use crate::domain::id::new_id;
    use crate::domain::issuer_policy::IssuerPolicy;
    use crate::domain::key_limit::KeyLimit;
    use crate::domain::secret_hash::SecretHash;

    pub fn key_insert(hash: u8) -> KeyInsert {
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let key = ApiKey {
            id: new_id(at),
            start: "mk_abcd".into(),
            last4: "wxyz".into(),
            created_at: at,
            updated_at: at,
            expires_at: None,
            ..api_key::tests::key()
        };
        let secret = SecretRecord {
            id: new_id(at),
            hash: SecretHash([hash; 32]),
            pepper_id: "p".into(),
            start: key.start.clone(),
            last4: key.last4.clone(),
            created_at: at,
            expires_at: None,
            last_used_at: None,
        };
        let event = audit_event(Action::Created, &key, json!({}));
        KeyInsert { key, secret, event, calling_key: None, limit: KeyLimit::Unlimited }
    }

    /// An event of the operator, at the key's creation time.
    pub fn audit_event(action: Action, key: &ApiKey, changes: Value) -> AuditEvent {
        let owner = key.owner.clone().into();
        let caller = Caller {
            owner,
            scopes: Default::default(),
            credential: Credential::Operator,
            policy: IssuerPolicy::UNLIMITED,
        };
        let audit = AuditContext { caller: &caller, source: &RequestSource::default(), at: key.created_at };
        audit.event(action, key, changes)
    }

    /// Submits all inserts before the first batch runs.
    async fn create_all(store: &Store, inserts: Vec<KeyInsert>) -> Vec<Result<InsertOutcome, StoreError>> {
        join_all(inserts.into_iter().map(|insert| store.create_key(insert))).await
    }

    async fn exists(store: &Store, id: Uuid) -> bool {
        store.find_key(AccessFilter::Any, id).await.unwrap().is_some()
    }

    #[tokio::test]
    async fn keys_created_concurrently_are_all_stored() {
        let (store, _directory) = Store::temporary().await;
        let inserts: Vec<_> = (0..150).map(key_insert).collect();
        let ids: Vec<_> = inserts.iter().map(|insert| insert.key.id).collect();
        let outcomes = create_all(&store, inserts).await;
        assert!(outcomes.iter().all(Result::is_ok));
        for id in ids {
            assert!(exists(&store, id).await);
        }
    }

    #[tokio::test]
    async fn rejected_row_does_not_fail_the_others_in_its_batch() {
        let (store, _directory) = Store::temporary().await;
        let inserts = vec![key_insert(1), key_insert(1), key_insert(2)];
        let ids: Vec<_> = inserts.iter().map(|insert| insert.key.id).collect();
        let outcomes = create_all(&store, inserts).await;
        assert!(matches!(outcomes[..], [Ok(_), Err(StoreError::Internal(_)), Ok(_)]), "{outcomes:?}");
        assert!(exists(&store, ids[0]).await && !exists(&store, ids[1]).await && exists(&store, ids[2]).await);
    }

    #[tokio::test]
    async fn second_insert_with_the_same_response_id_in_a_batch_is_replayed() {
        let (store, _directory) = Store::temporary().await;
        let response = |content: u8, now: DateTime<Utc>| SavedResponse {
            id: b"id".to_vec(),
            fingerprint: Vec::new(),
            sealed_response: vec![content],
            expires_at: now + TimeDelta::hours(1),
        };
        let (first, second, third) = (key_insert(1), key_insert(2), key_insert(3));
        let (now, ids) = (first.key.created_at, [&first, &second, &third].map(|insert| insert.key.id));
        let outcomes = tokio::join!(
            store.create_key_once(first, vec![response(1, now)]),
            store.create_key(second),
            store.create_key_once(third, vec![response(3, now)]),
        );
        assert_eq!(outcomes.0.unwrap(), InsertOutcome::Inserted);
        assert!(outcomes.1.is_ok());
        assert_eq!(outcomes.2.unwrap(), InsertOutcome::Replayed(response(1, now)));
        assert!(exists(&store, ids[0]).await && exists(&store, ids[1]).await && !exists(&store, ids[2]).await);
    }
}
