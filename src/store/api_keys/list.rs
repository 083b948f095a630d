//! List: pages of keys, newest first.
//!
//! The cursor is the id of the last key of a page. Ids are UUIDv7, so they sort by creation time, and `id < cursor` is
//! an index search: the thousandth page is as fast as the first, and keys created or deleted meanwhile shift no page.
//! What no index serves is filtered by a [`Scan`] of bounded length.

use chrono::{DateTime, Utc};
use entity::api_key::{self, Column};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ColumnTrait, Condition};
use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::api_key::{ApiKey, KeyStatus};
use crate::domain::id::first_id_after;
use crate::domain::list_page::ListPage;
use crate::domain::owner::Owner;
use crate::store::api_keys::access::KEY_OWNER;
use crate::store::api_keys::rows::{self, KeyRow};
use crate::store::api_keys::search::words;
use crate::store::scan::Scan;
use crate::store::{Store, StoreError};

#[derive(Debug, Clone, Default)]
pub struct KeyFilter {
    pub issuer: Option<String>,
    pub subject: Option<String>,
    pub organization: Option<String>,
    /// The key that created it.
    pub created_by_key: Option<Uuid>,
    pub status: Option<KeyStatus>,
    /// Each word of it must be a prefix of a word in the name.
    pub q: Option<String>,
    pub created_before: Option<DateTime<Utc>>,
}

impl KeyFilter {
    /// True if no owner has these values: a token with a control character in them is rejected. PostgreSQL fails on
    /// U+0000 in a text.
    fn matches_no_owner(&self) -> bool {
        let values = [&self.issuer, &self.subject, &self.organization];
        values.into_iter().flatten().any(|value| value.contains(char::is_control))
    }
}

impl Store {
    /// Lists at most `limit` keys that were created before the key `after`.
    pub async fn list_keys(
        &self,
        access: AccessFilter<'_>,
        filter: &KeyFilter,
        after: Option<Uuid>,
        limit: u64,
        now: DateTime<Utc>,
    ) -> Result<ListPage<ApiKey>, StoreError> {
        if filter.matches_no_owner() {
            return Ok(ListPage::EMPTY);
        }
        let (scan, matches) = (key_scan(access, filter, after), key_condition(access, filter, now));
        self.scan(async |database| {
            let columns = |keys: sea_orm::Select<api_key::Entity>| keys.into_partial_model::<KeyRow>();
            scan.page(database, matches, limit, columns, rows::key_from_row, |key| key.id).await
        })
        .await
    }
}

/// The keys to examine: those that one index holds in the order of their ids.
fn key_scan(access: AccessFilter<'_>, filter: &KeyFilter, after: Option<Uuid>) -> Scan<api_key::Entity> {
    // No id is later than its key. So a list of old keys does not begin with new ones.
    let oldest = [after, filter.created_before.map(first_id_after)].into_iter().flatten().min();
    Scan::new(Column::Id, key_range(access, filter), oldest)
}

/// The rows of an issuer are no range: nearly always it is the only one, and an index would make each create slower.
pub fn key_range(access: AccessFilter<'_>, filter: &KeyFilter) -> Condition {
    if let Some(creator) = filter.created_by_key {
        return Condition::all().add(Column::CreationActorKeyId.eq(creator));
    }
    let (mut issuer, mut organization) = (filter.issuer.as_deref(), filter.organization.as_deref());
    match access {
        AccessFilter::Owner(_) => return KEY_OWNER.admitted_by(access),
        AccessFilter::Organization { issuer: name, organization: of } => {
            (issuer, organization) = (Some(name), Some(of));
        }
        AccessFilter::Issuer(name) => issuer = Some(name),
        AccessFilter::Any => {}
    }
    match (issuer, &filter.subject, organization) {
        (Some(issuer), Some(subject), Some(organization)) => {
            let organization = Some(organization.to_owned()).filter(|name| !name.is_empty());
            let owner = Owner { issuer: issuer.to_owned(), subject: subject.clone(), organization };
            KEY_OWNER.admitted_by(AccessFilter::Owner(&owner))
        }
        (Some(issuer), None, Some(organization)) if !organization.is_empty() => {
            KEY_OWNER.admitted_by(AccessFilter::Organization { issuer, organization })
        }
        (None, _, Some(organization)) if !organization.is_empty() => KEY_OWNER.in_organization(organization),
        _ => Condition::all(),
    }
}

/// The condition for a key to be listed.
pub fn key_condition(access: AccessFilter<'_>, filter: &KeyFilter, now: DateTime<Utc>) -> Condition {
    let equals = |column: Column, value: &Option<String>| value.as_ref().map(|value| column.eq(value));
    let words = filter.q.iter().flat_map(|q| words(q)).map(|word| Column::NameWords.contains(format!(" {word}")));
    let condition = access
        .api_keys_condition()
        .add_option(equals(Column::OwnerIssuer, &filter.issuer))
        .add_option(equals(Column::OwnerSubject, &filter.subject))
        .add_option(filter.organization.as_ref().map(|name| KEY_OWNER.in_organization(name)))
        .add_option(filter.created_by_key.map(|id| Column::CreationActorKeyId.eq(id)))
        .add_option(filter.created_before.map(|time| Column::CreatedAt.lt(time)))
        .add_option(filter.status.map(|status| has_status(status, now)));
    words.fold(condition, Condition::add)
}

/// The condition for [`ApiKey::status`] to be `status`.
fn has_status(status: KeyStatus, now: DateTime<Utc>) -> Condition {
    let expired = Expr::col(Column::ExpiresAt).is_not_null().and(Column::ExpiresAt.lte(now));
    let alive = Condition::all().add(Column::RevokedAt.is_null());
    match status {
        KeyStatus::Revoked => Condition::all().add(Column::RevokedAt.is_not_null()),
        KeyStatus::Disabled => alive.add(Column::Enabled.eq(false)),
        KeyStatus::Expired => alive.add(Column::Enabled.eq(true)).add(expired),
        KeyStatus::Active => alive.add(Column::Enabled.eq(true)).add(expired.not()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sea_orm::{ConnectionTrait, DbBackend, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait};

    use super::*;
    use crate::store::api_keys::insert::tests::key_insert;
    use crate::store::scan::MAX_EXAMINED;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000, 0).unwrap()
    }

    fn owner(subject: &str) -> Owner {
        Owner { issuer: "i".into(), subject: subject.into(), organization: None }
    }

    fn filters() -> Vec<KeyFilter> {
        let any = KeyFilter::default;
        let text = |text: &str| Some(text.to_owned());
        let statuses = KeyStatus::ALL.map(|status| KeyFilter { status: Some(status), ..any() });
        let others = [
            any(),
            KeyFilter { q: text("rare"), ..any() },
            KeyFilter { q: text("absent"), ..any() },
            KeyFilter { created_by_key: Some(Uuid::from_u128(7)), ..any() },
            KeyFilter { created_by_key: Some(Uuid::from_u128(7)), q: text("rare"), ..any() },
            KeyFilter { created_before: Some(now()), ..any() },
            KeyFilter { created_before: DateTime::from_timestamp(1, 0), ..any() },
            KeyFilter { issuer: text("i"), ..any() },
            KeyFilter { subject: text("s"), ..any() },
            KeyFilter { organization: text("o"), ..any() },
            KeyFilter { organization: text(""), ..any() },
            KeyFilter { issuer: text("i"), organization: text("o"), status: Some(KeyStatus::Revoked), ..any() },
            KeyFilter { issuer: text("i"), subject: text("t"), organization: text(""), ..any() },
            KeyFilter { issuer: text("i"), subject: text("t"), organization: text("o"), q: text("rare"), ..any() },
        ];
        statuses.into_iter().chain(others).collect()
    }

    fn accesses(owner: &Owner) -> [AccessFilter<'_>; 4] {
        let of_organization = AccessFilter::Organization { issuer: "i", organization: "o" };
        [AccessFilter::Owner(owner), of_organization, AccessFilter::Issuer("i"), AccessFilter::Any]
    }

    /// Inserts keys of several owners, in every state, with random ids.
    async fn insert_random_keys(store: &Store, count: u64) {
        let insert = key_insert(1);
        let id = insert.key.id;
        store.create_key(insert).await.unwrap();
        let copied = "scopes, metadata, secret_start, secret_last4, created_at, updated_at, revision, \
                      secret_created_at, secret_pepper_id, creation_actor_kind, creation_request_id, creation_changes";
        let sql = format!(
            "INSERT INTO api_keys (id, owner_issuer, owner_subject, owner_organization, name, name_words, enabled, \
                 expires_at, revoked_at, deleted_at, creation_actor_key_id, secret_id, secret_hash, {copied}) \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
             SELECT CAST(x'018b' || randomblob(14) AS blob), 'i', iif(random() % 5, 's', 't'), iif(random() % 9, '', 'o'), 'n', \
                 iif(random() % 900, ' common', ' common rare'), random() % 3 = 0, iif(random() % 4, NULL, created_at), \
                 iif(random() % 4, NULL, created_at), iif(random() % 5, NULL, created_at), \
                 iif(random() % 7, NULL, x'00000000000000000000000000000007'), randomblob(16), randomblob(32), {copied} \
             FROM n, api_keys WHERE id = x'{}'",
            id.simple()
        );
        store.sqlite().writer.execute_unprepared(&sql).await.unwrap();
    }

    #[tokio::test]
    async fn pages_have_each_key_that_a_filter_matches_once_in_order() {
        let (store, _directory) = Store::temporary().await;
        insert_random_keys(&store, 2 * MAX_EXAMINED + 500).await;
        let owner = owner("s");
        for access in accesses(&owner) {
            for filter in filters() {
                let expected = api_key::Entity::find().filter(key_condition(access, &filter, now()));
                let expected = expected.order_by_desc(Column::Id).select_only().column(Column::Id);
                let expected: Vec<Uuid> =
                    store.read(async |database| expected.into_tuple().all(database).await).await.unwrap();
                let (mut listed, mut after, mut pages) = (Vec::new(), None, 0);
                loop {
                    let page = store.list_keys(access, &filter, after, 100, now()).await.unwrap();
                    assert!(page.items.len() <= 100);
                    listed.extend(page.items.iter().map(|key| key.id));
                    pages += 1;
                    assert!(page.next.is_none() || page.next < after || after.is_none(), "the list goes on");
                    let Some(next) = page.next else { break };
                    after = Some(next);
                }
                assert_eq!(listed, expected, "{access:?} {filter:?}");
                assert!(pages <= expected.len() / 100 + 5, "{access:?} {filter:?}: {pages} pages");
            }
        }
    }

    #[tokio::test]
    async fn page_without_a_match_ends_after_the_rows_it_examined() {
        let (store, _directory) = Store::temporary().await;
        insert_random_keys(&store, 2 * MAX_EXAMINED).await;
        let filter = KeyFilter { q: Some("absent".into()), ..KeyFilter::default() };
        let all = api_key::Entity::find().order_by_desc(Column::Id).select_only().column(Column::Id);
        let all: Vec<Uuid> = store.read(async |database| all.into_tuple().all(database).await).await.unwrap();
        let mut after = None;
        for page in 1..=2 {
            let found = store.list_keys(AccessFilter::Any, &filter, after, 20, now()).await.unwrap();
            assert!(found.items.is_empty());
            assert_eq!(found.next, Some(all[page * MAX_EXAMINED as usize - 1]));
            after = found.next;
        }
        let last = store.list_keys(AccessFilter::Any, &filter, after, 20, now()).await.unwrap();
        assert!(last.items.is_empty() && last.next.is_none(), "{last:?}");
    }

    #[tokio::test]
    async fn page_reads_a_bounded_range_of_one_index_without_a_sort() {
        let (store, _directory) = Store::temporary().await;
        let owner = owner("s");
        let mut indexes = BTreeSet::new();
        for access in accesses(&owner) {
            for filter in filters() {
                let scan = key_scan(access, &filter, Some(Uuid::nil()));
                let page = scan.matching(key_condition(access, &filter, now()), 20).build(DbBackend::Sqlite);
                let plan = store.plan(page).await;
                let search = plan.iter().find_map(|step| step.strip_prefix("SEARCH api_keys USING ")).unwrap();
                let rest: Vec<_> = plan.iter().filter(|step| !step.starts_with("SEARCH api_keys USING ")).collect();
                let examined = ["CO-ROUTINE api_keys", "SCAN api_keys"];
                assert!(rest.is_empty() || rest == examined, "{access:?} {filter:?}: {plan:?}");
                assert!(search.ends_with("id<?)"), "{access:?} {filter:?}: {search}");
                let end = store.plan(scan.end().build(DbBackend::Sqlite)).await;
                assert_eq!(end, [format!("SEARCH api_keys USING COVERING {search}")], "{access:?} {filter:?}");
                indexes.insert(search.strip_prefix("INDEX ").unwrap().to_owned());
            }
        }
        let expected = [
            "api_keys_by_creating_key (creation_actor_key_id=? AND id<?)",
            "api_keys_by_issuer_and_organization (owner_issuer=? AND owner_organization=? AND id<?)",
            "api_keys_by_organization (owner_organization=? AND id<?)",
            "api_keys_by_owner (owner_issuer=? AND owner_subject=? AND owner_organization=? AND id<?)",
            "sqlite_autoindex_api_keys_1 (id<?)",
        ];
        assert_eq!(indexes.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }
}
