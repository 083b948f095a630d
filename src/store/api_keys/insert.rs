//! Create: new keys, put on the disk in groups, each in one statement.

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, Statement};

use super::rows;
use crate::domain::api_key::{ApiKey, SecretRecord};
use crate::domain::audit::AuditEvent;
use crate::store::idempotency::{self, Remembered};
use crate::store::sql::Written;
use crate::store::{Store, StoreError};

/// A key that is to be made, with its secret.
pub struct Creation {
    pub key: ApiKey,
    pub secret: SecretRecord,
    pub event: AuditEvent,
    /// The answer, for when the same request comes again.
    pub remember: Option<Remembered>,
}

/// Nothing, or the answer that was given to a request of the same name before.
pub type Created = Result<Option<Remembered>, StoreError>;

impl Store {
    /// Returns when the key, its secret's hash, the event and the remembered answer are on the disk, all of them; or
    /// the answer that was given to a request of this name before, when nothing was made.
    pub async fn create_key(&self, created: Creation) -> Created {
        self.together(&self.creations, created, Self::create_together).await
    }

    async fn create_together(self, created: Vec<Creation>) -> Vec<Created> {
        match self.insert_all(&created).await {
            Ok(earlier) => earlier.into_iter().map(Ok).collect(),
            // One that the database will not take must not keep the others from being made.
            Err(StoreError::Bug(_)) if created.len() > 1 => {
                let mut outcomes = Vec::new();
                for one in &created {
                    let alone = self.insert_all(std::slice::from_ref(one)).await;
                    outcomes.push(alone.map(|mut earlier| earlier.pop().flatten()));
                }
                outcomes
            }
            Err(error) => vec![Err(error); created.len()],
        }
    }

    async fn insert_all(&self, created: &[Creation]) -> Result<Vec<Option<Remembered>>, StoreError> {
        if created.iter().all(|one| one.remember.is_none()) {
            // One statement is a transaction already, and goes to the database and back once instead of three times.
            let insert = insert(self.writer.get_database_backend(), created);
            self.in_time(async { Ok(self.writer.execute_raw(insert).await?) }).await?;
            return Ok(vec![None; created.len()]);
        }
        Box::pin(self.write(async |transaction| {
            let earlier = remember_all(transaction, created).await?;
            let new = created.iter().zip(&earlier).filter(|(_, earlier)| earlier.is_none()).map(|(new, _)| new);
            let new: Vec<_> = new.collect();
            if !new.is_empty() {
                transaction.execute_raw(insert(transaction.get_database_backend(), new)).await?;
            }
            Ok(earlier)
        }))
        .await
    }
}

fn insert<'a>(backend: DbBackend, created: impl IntoIterator<Item = &'a Creation>) -> Statement {
    let rows = created.into_iter().map(|Creation { key, secret, event, .. }| rows::new_key_row(key, secret, event));
    Written::new(backend).insert(rows).statement()
}

/// The answers that were given before, in the order of the keys. Names are taken in an order of their own, so that of two
/// groups with the same ones none waits for the other while the other waits for it.
async fn remember_all(
    transaction: &DatabaseTransaction,
    created: &[Creation],
) -> Result<Vec<Option<Remembered>>, DbErr> {
    let mut earlier = vec![None; created.len()];
    let mut named: Vec<_> =
        created.iter().enumerate().filter_map(|(place, new)| Some((place, new, new.remember.clone()?))).collect();
    named.sort_by(|(_, _, one), (_, _, other)| one.id.cmp(&other.id));
    for (place, new, answer) in named {
        earlier[place] = idempotency::remember_or_recall(transaction, answer, new.key.created_at).await?;
    }
    Ok(earlier)
}

#[cfg(test)]
pub mod tests {
    use chrono::{DateTime, TimeDelta};
    use uuid::Uuid;

    use super::*;
    use crate::domain::access::AccessFilter;
    use crate::domain::audit::{Action, AuditContext, RequestSource};
    use crate::domain::caller::{Caller, Credential};
    use crate::domain::id::new_id;
    use crate::domain::key_name::KeyName;
    use crate::domain::owner::Owner;
    use crate::domain::secret_hash::SecretHash;

    pub fn created(hash: u8, request: Option<&[u8]>) -> Creation {
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
        let remember = request.map(|id| Remembered {
            id: id.to_vec(),
            fingerprint: Vec::new(),
            answer: vec![hash],
            expires_at: at + TimeDelta::hours(1),
        });
        let owner = key.owner.clone().into();
        let caller = Caller { owner, scopes: Default::default(), credential: Credential::Operator };
        let audit = AuditContext { caller: &caller, origin: &RequestSource::default(), at };
        let event = audit.event(Action::Created, &key, serde_json::json!({}));
        Creation { key, secret, event, remember }
    }

    /// All come before the first one's turn.
    async fn create_together(store: &Store, created: Vec<Creation>) -> Vec<Created> {
        futures_util::future::join_all(created.into_iter().map(|one| store.create_key(one))).await
    }

    async fn is_there(store: &Store, id: Uuid) -> bool {
        store.find_key(AccessFilter::Any, id).await.unwrap().is_some()
    }

    #[tokio::test]
    async fn keys_made_at_once_are_all_on_the_disk() {
        let (store, _directory) = Store::temporary().await;
        let creations: Vec<_> = (0..150).map(|hash| created(hash, None)).collect();
        let ids: Vec<_> = creations.iter().map(|one| one.key.id).collect();
        assert!(create_together(&store, creations).await.iter().all(|made| matches!(made, Ok(None))));
        for id in ids {
            assert!(is_there(&store, id).await);
        }
    }

    #[tokio::test]
    async fn one_that_cannot_be_made_keeps_no_other_from_being_made() {
        let (store, _directory) = Store::temporary().await;
        let creations = vec![created(1, None), created(1, None), created(2, None)];
        let ids: Vec<_> = creations.iter().map(|one| one.key.id).collect();
        let made = create_together(&store, creations).await;
        assert!(matches!(made[..], [Ok(None), Err(StoreError::Bug(_)), Ok(None)]), "{made:?}");
        assert!(is_there(&store, ids[0]).await && !is_there(&store, ids[1]).await && is_there(&store, ids[2]).await);
    }

    #[tokio::test]
    async fn of_two_requests_of_one_name_in_a_group_the_second_gets_the_first_ones_answer() {
        let (store, _directory) = Store::temporary().await;
        let creations = vec![created(1, Some(b"name")), created(2, None), created(3, Some(b"name"))];
        let third = creations[2].key.id;
        let made = create_together(&store, creations).await;
        assert!(matches!(&made[..], [Ok(None), Ok(None), Ok(Some(earlier))] if earlier.answer == [1]), "{made:?}");
        assert!(!is_there(&store, third).await);
    }
}
