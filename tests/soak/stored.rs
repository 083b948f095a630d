//! What the database has, compared with what was counted.

use std::collections::BTreeMap;
use std::fmt::Debug;

use sea_orm::{ConnectionTrait, Database, DatabaseConnection, QueryResult, Statement};
use uuid::Uuid;

use crate::counted::{Counted, CountsByKey, KeyState};

const USAGE: &str = "SELECT key_id, verdict AS kind, CAST(sum(count) AS bigint) AS n FROM key_usage GROUP BY 1, 2";
const EVENTS: &str = "SELECT key_id, action AS kind, count(*) AS n FROM audit_events GROUP BY 1, 2";
const KEYS: &str =
    "SELECT id, name, CAST(CASE WHEN revoked_at IS NULL THEN 0 ELSE 1 END AS bigint) AS revoked FROM api_keys";

/// The differences between the database and what was counted, in words. Empty if there are none.
pub async fn differences(database: &str, counted: &Counted) -> Vec<String> {
    let database = Database::connect(database).await.unwrap();
    let keys = rows(&database, KEYS).await.iter().map(key).collect();
    let mut differences = compare("key", &counted.keys, &keys);
    differences.extend(compare("usage of key", &counted.usage, &counts(&database, USAGE).await));
    differences.extend(compare("audit of key", &counted.events, &counts(&database, EVENTS).await));
    database.close().await.unwrap();
    differences
}

async fn rows(database: &DatabaseConnection, sql: &str) -> Vec<QueryResult> {
    database.query_all_raw(Statement::from_string(database.get_database_backend(), sql)).await.unwrap()
}

fn key(row: &QueryResult) -> (Uuid, KeyState) {
    let revoked = row.try_get::<i64>("", "revoked").unwrap() == 1;
    (row.try_get("", "id").unwrap(), KeyState { name: row.try_get("", "name").unwrap(), revoked })
}

async fn counts(database: &DatabaseConnection, sql: &str) -> CountsByKey {
    let count = |row: &QueryResult| {
        let key = (row.try_get("", "key_id").unwrap(), row.try_get("", "kind").unwrap());
        (key, row.try_get("", "n").unwrap())
    };
    rows(database, sql).await.iter().map(count).collect()
}

fn compare<K: Ord + Debug, V: PartialEq + Debug>(
    what: &str,
    counted: &BTreeMap<K, V>,
    stored: &BTreeMap<K, V>,
) -> Vec<String> {
    let different = counted.iter().filter(|(key, value)| stored.get(key) != Some(value));
    let different =
        different.map(|(key, value)| format!("{what} {key:?}: counted {value:?}, stored {:?}", stored.get(key)));
    let uncounted = stored.iter().filter(|(key, _)| !counted.contains_key(key));
    let uncounted = uncounted.map(|(key, value)| format!("{what} {key:?}: not counted, stored {value:?}"));
    different.chain(uncounted).collect()
}
