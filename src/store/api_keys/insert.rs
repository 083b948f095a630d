//! Insert: new keys, in batches of one statement each.

use sea_orm::{ConnectionTrait, DbBackend, Statement};

use crate::domain::api_key::{ApiKey, SecretRecord};
use crate::domain::audit::AuditEvent;
use crate::store::api_keys::rows;
use crate::store::idempotency::{self, SavedResponse};
use crate::store::sql::SqlBuilder;
use crate::store::{Store, StoreError};

/// A new key with its secret and the audit event of its creation.
pub struct KeyInsert {
    pub key: ApiKey,
    pub secret: SecretRecord,
    pub event: AuditEvent,
}

/// An insert that waits for its batch.
pub struct QueuedInsert {
    insert: KeyInsert,
    /// The response to save under each pepper, for a request with an `Idempotency-Key`.
    responses: Vec<SavedResponse>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum InsertOutcome {
    Inserted,
    /// An earlier request with the same `Idempotency-Key` has created its key. Nothing was inserted.
    Replayed(SavedResponse),
}

impl Store {
    /// Returns when the key, the hash of its secret and the audit event are on disk.
    pub async fn create_key(&self, insert: KeyInsert) -> Result<(), StoreError> {
        let queued = QueuedInsert { insert, responses: Vec::new() };
        self.batched(&self.insert_batcher, queued, Self::insert_batch).await.map(drop)
    }

    /// Creates a key as [`Store::create_key`] does, once for a request with an `Idempotency-Key`, and saves the
    /// response with it. `responses` is the response as sealed under each pepper.
    pub async fn create_key_once(
        &self,
        insert: KeyInsert,
        responses: Vec<SavedResponse>,
    ) -> Result<InsertOutcome, StoreError> {
        let queued = QueuedInsert { insert, responses };
        self.batched(&self.insert_batcher, queued, Self::insert_batch).await
    }

    async fn insert_batch(self, inserts: Vec<QueuedInsert>) -> Vec<Result<InsertOutcome, StoreError>> {
        match self.insert_all(&inserts).await {
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            // A row that the database rejects must not fail the others, so each is inserted alone.
            Err(StoreError::Internal(_)) if inserts.len() > 1 => {
                let mut outcomes = Vec::new();
                for insert in &inserts {
                    let outcome = self.insert_all(std::slice::from_ref(insert)).await;
                    outcomes.push(outcome.map(|mut outcomes| outcomes.pop().expect("one outcome per insert")));
                }
                outcomes
            }
            Err(error) => vec![Err(error); inserts.len()],
        }
    }

    async fn insert_all(&self, inserts: &[QueuedInsert]) -> Result<Vec<InsertOutcome>, StoreError> {
        if inserts.iter().all(|queued| queued.responses.is_empty()) {
            // A single statement is a transaction by itself: one round trip instead of three.
            let insert = insert_statement(self.writer.get_database_backend(), inserts);
            self.with_timeout(async { Ok(self.writer.execute_raw(insert).await?) }).await?;
            return Ok(vec![InsertOutcome::Inserted; inserts.len()]);
        }
        Box::pin(self.write(async |transaction| {
            let responses = inserts.iter().map(|queued| queued.responses.clone()).collect();
            let now = inserts.iter().map(|queued| queued.insert.key.created_at).max().unwrap_or_default();
            let earlier = idempotency::save_responses(transaction, responses, now).await?;
            let outcomes: Vec<_> = earlier
                .into_iter()
                .map(|earlier| earlier.map_or(InsertOutcome::Inserted, InsertOutcome::Replayed))
                .collect();
            let new = inserts.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == InsertOutcome::Inserted);
            let new: Vec<_> = new.map(|(queued, _)| queued).collect();
            if !new.is_empty() {
                transaction.execute_raw(insert_statement(transaction.get_database_backend(), new)).await?;
            }
            Ok(outcomes)
        }))
        .await
    }
}

fn insert_statement<'a>(backend: DbBackend, inserts: impl IntoIterator<Item = &'a QueuedInsert>) -> Statement {
    let inserts = inserts.into_iter().map(|queued| &queued.insert);
    let rows = inserts.map(|KeyInsert { key, secret, event }| rows::new_key_row(key, secret, event));
    SqlBuilder::new(backend).push_insert(rows).build()
}

#[cfg(test)]
pub mod tests {
    use chrono::{DateTime, TimeDelta, Utc};
    use futures_util::future::join_all;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::domain::access::AccessFilter;
    use crate::domain::audit::{Action, AuditContext, RequestSource};
    use crate::domain::caller::{Caller, Credential};
    use crate::domain::id::new_id;
    use crate::domain::issuer_policy::IssuerPolicy;
    use crate::domain::key_name::KeyName;
    use crate::domain::owner::Owner;
    use crate::domain::secret_hash::SecretHash;

    pub fn key_insert(hash: u8) -> KeyInsert {
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let key = ApiKey {
            id: new_id(at),
            owner: Owner { issuer: "i".into(), subject: "s".into(), organization: None },
            name: KeyName::from_db("n".into()),
            scopes: Default::default(),
            metadata: Default::default(),
            enabled: true,
            start: "mk_abcd".into(),
            last4: "wxyz".into(),
            created_at: at,
            updated_at: at,
            expires_at: None,
            revocation: None,
            deleted_at: None,
            revision: 1,
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
        KeyInsert { key, secret, event }
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
    async fn create_all(store: &Store, inserts: Vec<KeyInsert>) -> Vec<Result<(), StoreError>> {
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
        assert!(matches!(outcomes[..], [Ok(()), Err(StoreError::Internal(_)), Ok(())]), "{outcomes:?}");
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
