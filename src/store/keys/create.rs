//! Create: new keys, put on the disk in groups, each in one statement.

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, Statement};

use super::{Change, rows};
use crate::store::idempotency::{self, Remembered};
use crate::store::written::Written;
use crate::store::{Engine, Store, StoreError, audit};

/// Nothing, or the answer that was given to a request of the same name before.
pub type Created = Result<Option<Remembered>, StoreError>;

impl Store {
    /// Returns when the key, its secrets' hashes, the events and the remembered answer are on the disk, all of them; or
    /// the answer that was given to a request of this name before, when nothing was made.
    pub async fn create_key(&self, created: Change) -> Created {
        let given_up = || Err(StoreError::Unavailable("a commit was given up".into()));
        self.creations.join(created, self, Self::create_together).await.unwrap_or_else(given_up)
    }

    async fn create_together(self, changes: Vec<Change>) -> Vec<Created> {
        match self.insert_all(&changes).await {
            Ok(earlier) => earlier.into_iter().map(Ok).collect(),
            // One that the database will not take must not keep the others from being made.
            Err(StoreError::Bug(_)) if changes.len() > 1 => {
                let mut outcomes = Vec::new();
                for change in &changes {
                    let alone = self.insert_all(std::slice::from_ref(change)).await;
                    outcomes.push(alone.map(|mut earlier| earlier.pop().flatten()));
                }
                outcomes
            }
            Err(error) => vec![Err(error); changes.len()],
        }
    }

    async fn insert_all(&self, created: &[Change]) -> Result<Vec<Option<Remembered>>, StoreError> {
        if let Engine::Postgres(_) = self.engine
            && created.iter().all(|change| change.remember.is_none())
        {
            // One statement is a transaction already, and goes to the server and back once instead of three times.
            let insert = insert(DbBackend::Postgres, created);
            self.in_time(async { Ok(self.writer.execute_raw(insert).await?) }).await?;
            return Ok(vec![None; created.len()]);
        }
        self.write(async |transaction| {
            let earlier = remember_all(transaction, created).await?;
            let new = created.iter().zip(&earlier).filter(|(_, earlier)| earlier.is_none()).map(|(new, _)| new);
            let new: Vec<_> = new.collect();
            if !new.is_empty() {
                transaction.execute_raw(insert(transaction.get_database_backend(), new)).await?;
            }
            Ok(earlier)
        })
        .await
    }
}

/// What makes these keys, in three tables: for PostgreSQL one statement, for SQLite one text of three.
fn insert<'a>(backend: DbBackend, created: impl IntoIterator<Item = &'a Change>) -> Statement {
    let (mut keys, mut secrets, mut events) = (Vec::new(), Vec::new(), Vec::new());
    for Change { record, events: told, .. } in created {
        keys.push(rows::key_row(&record.key));
        secrets.extend(record.secrets.iter().map(|secret| rows::secret_row(record.key.id, secret)));
        events.extend(told.iter().map(audit::event_row));
    }
    let [first, second, third] = match backend {
        DbBackend::Postgres => ["WITH keys AS (", "), secrets AS (", ") "],
        _ => ["", "; ", "; "],
    };
    let insert = Written::new(backend).text(first).insert(keys);
    insert.text(second).insert(secrets).text(third).insert(events).statement()
}

/// The answers that were given before, in the order of the keys. Names are taken in an order of their own, so that of two
/// groups with the same ones none waits for the other while the other waits for it.
async fn remember_all(transaction: &DatabaseTransaction, created: &[Change]) -> Result<Vec<Option<Remembered>>, DbErr> {
    let mut earlier = vec![None; created.len()];
    let mut named: Vec<_> =
        created.iter().enumerate().filter_map(|(place, new)| Some((place, new, new.remember.clone()?))).collect();
    named.sort_by(|(_, _, one), (_, _, other)| one.id.cmp(&other.id));
    for (place, new, answer) in named {
        earlier[place] = idempotency::remember_or_recall(transaction, answer, new.record.key.created_at).await?;
    }
    Ok(earlier)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};
    use tempfile::TempDir;
    use uuid::Uuid;

    use super::*;
    use crate::domain::audit::{Action, Deed, Origin};
    use crate::domain::caller::{Caller, Credential, Owner};
    use crate::domain::key::{ApiKey, KeyRecord, StoredSecret, new_id};
    use crate::domain::name::KeyName;
    use crate::domain::secret::SecretHash;
    use crate::store::Reach;

    fn created(hash: u8, request: Option<&[u8]>) -> Change {
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let key = ApiKey {
            id: new_id(at),
            owner: Owner { issuer: "i".into(), subject: "s".into(), organization: None },
            name: KeyName::stored("n".into()),
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
        let secret = StoredSecret {
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
        let caller = Caller { owner, scopes: Default::default(), credential: Credential::Console };
        let deed = Deed { caller: &caller, origin: &Origin::default(), at };
        let events = vec![deed.event(Action::Created, &key, serde_json::json!({}))];
        Change { record: KeyRecord { key, secrets: vec![secret] }, events, remember }
    }

    async fn store() -> (Store, TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("mintkey.db").display());
        (Store::open(&url, 1).await.unwrap(), directory)
    }

    /// All come before the first one's turn.
    async fn create_together(store: &Store, changes: Vec<Change>) -> Vec<Created> {
        futures_util::future::join_all(changes.into_iter().map(|change| store.create_key(change))).await
    }

    async fn is_there(store: &Store, id: Uuid) -> bool {
        store.find_key(Reach::All, id).await.unwrap().is_some()
    }

    #[tokio::test]
    async fn keys_made_at_once_are_all_on_the_disk() {
        let (store, _directory) = store().await;
        let changes: Vec<_> = (0..150).map(|hash| created(hash, None)).collect();
        let ids: Vec<_> = changes.iter().map(|change| change.record.key.id).collect();
        assert!(create_together(&store, changes).await.iter().all(|made| matches!(made, Ok(None))));
        for id in ids {
            assert!(is_there(&store, id).await);
        }
    }

    #[tokio::test]
    async fn one_that_cannot_be_made_keeps_no_other_from_being_made() {
        let (store, _directory) = store().await;
        let changes = vec![created(1, None), created(1, None), created(2, None)];
        let ids: Vec<_> = changes.iter().map(|change| change.record.key.id).collect();
        let made = create_together(&store, changes).await;
        assert!(matches!(made[..], [Ok(None), Err(StoreError::Bug(_)), Ok(None)]), "{made:?}");
        assert!(is_there(&store, ids[0]).await && !is_there(&store, ids[1]).await && is_there(&store, ids[2]).await);
    }

    #[tokio::test]
    async fn of_two_requests_of_one_name_in_a_group_the_second_gets_the_first_ones_answer() {
        let (store, _directory) = store().await;
        let changes = vec![created(1, Some(b"name")), created(2, None), created(3, Some(b"name"))];
        let third = changes[2].record.key.id;
        let made = create_together(&store, changes).await;
        assert!(matches!(&made[..], [Ok(None), Ok(None), Ok(Some(earlier))] if earlier.answer == [1]), "{made:?}");
        assert!(!is_there(&store, third).await);
    }
}
