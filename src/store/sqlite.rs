//! SQLite: how the embedded database is opened, and what is checked before it is trusted.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use sea_orm::sqlx::{self, Connection, SqliteConnection};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection};

use super::{PATIENCE, StoreError};

/// Before 3.51.3 a checkpoint at the wrong moment can lose committed pages (the WAL-reset bug), so an older library,
/// which a dependency could bring back unseen, is refused.
const OLDEST_SAFE: [u32; 3] = [3, 51, 3];

pub async fn open(url: &str) -> Result<(DatabaseConnection, DatabaseConnection, File), StoreError> {
    let mut writing = options(url, 1, WRITERS_CACHE);
    writing.map_sqlx_sqlite_pool_opts(|pool| pool.after_release(|connection, _| Box::pin(is_at_rest(connection))));
    let writer = Database::connect(writing).await?;
    refuse_unsafe_version(&version(&writer).await?)?;
    let reader = Database::connect(options(url, 4, READERS_CACHE)).await?;
    Ok((reader, writer, File::opened(url)?))
}

/// For one who only looks, and leaves nothing behind. Where there is no log, nobody writes, and SQLite needs none of the
/// files through which it would watch for that.
pub async fn open_to_read(url: &str) -> Result<DatabaseConnection, StoreError> {
    let log = path(url).map(|path| PathBuf::from(format!("{}-wal", path.display())));
    let alone = log.is_some_and(|log| !log.exists());
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(1)
        .acquire_timeout(PATIENCE)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(move |sqlite| sqlite.read_only(true).immutable(alone).busy_timeout(PATIENCE));
    Ok(Database::connect(options).await?)
}

/// The file that the URL names; nothing for a database in memory.
pub fn path(url: &str) -> Option<PathBuf> {
    let path = url.strip_prefix("sqlite:")?.trim_start_matches("//");
    let path = path.split('?').next().unwrap_or_default();
    (path != ":memory:").then(|| PathBuf::from(path))
}

/// How much of the database a connection keeps in memory, as SQLite is told: KiB, and a minus. Its usual two megabytes do
/// not hold the upper pages of an index of a million keys.
const READERS_CACHE: &str = "-16384";
/// The commit of a change that split a page looks at every page that there is in memory.
const WRITERS_CACHE: &str = "-4096";

fn options(url: &str, connections: u32, cache: &'static str) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .acquire_timeout(PATIENCE)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(move |sqlite| {
            sqlite
                .create_if_missing(true)
                .foreign_keys(true)
                .busy_timeout(PATIENCE)
                .pragma("journal_mode", "WAL")
                // FULL: a commit is on the disk before it is acknowledged.
                .pragma("synchronous", "FULL")
                // Pages, 32 MB of log. A page that is written again and again is copied into the database once for all of
                // them; the usual thousand pages are too few for that.
                .pragma("wal_autocheckpoint", "4000")
                // What a statement of many rows notes down to be able to undo itself stays out of /var/tmp.
                .pragma("temp_store", "MEMORY")
                .pragma("cache_size", cache)
        });
    options
}

/// Whether the connection can be used again. After an error that made SQLite roll back by itself, such as a full disk, it
/// still counts a transaction as open, and would make of all that follow parts of one that nobody commits: acknowledged,
/// and lost. Such a connection is closed.
async fn is_at_rest(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        // What was dropped is rolled back by the time that this is answered.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

async fn version(connection: &DatabaseConnection) -> Result<String, StoreError> {
    let row = connection.query_one_raw(sea_orm::Statement::from_string(
        sea_orm::DbBackend::Sqlite,
        "SELECT sqlite_version() AS version",
    ));
    let row = row.await?.ok_or_else(|| StoreError::refused("SQLite did not say its version"))?;
    Ok(row.try_get("", "version")?)
}

fn refuse_unsafe_version(version: &str) -> Result<(), StoreError> {
    let parts: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    if parts.as_slice() < OLDEST_SAFE.as_slice() {
        return Err(StoreError::refused(&format!(
            "SQLite {version} can lose committed data (the WAL-reset bug); build with 3.51.3 or later"
        )));
    }
    Ok(())
}

/// The database file as it was opened. SQLite goes on writing into a file that was moved away or deleted, and would
/// acknowledge keys that nobody finds again.
#[derive(Clone)]
pub struct File(Option<Arc<(PathBuf, u64, u64)>>);

impl File {
    fn opened(url: &str) -> Result<Self, StoreError> {
        let Some(path) = path(url) else { return Ok(Self(None)) };
        let file = std::fs::metadata(&path).map_err(|error| StoreError::refused(&error.to_string()))?;
        Ok(Self(Some(Arc::new((path, file.dev(), file.ino())))))
    }

    pub fn check_in_place(&self) -> Result<(), StoreError> {
        let Some(opened) = &self.0 else { return Ok(()) };
        let (path, device, inode) = opened.as_ref();
        match std::fs::metadata(path) {
            Ok(file) if (file.dev(), file.ino()) == (*device, *inode) => Ok(()),
            Ok(_) => Err(StoreError::refused("the database file was replaced by another; restart to use it")),
            Err(error) => Err(StoreError::Unavailable(format!("the database file is gone: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn a_sqlite_that_can_lose_a_commit_is_refused() {
        for unsafe_version in ["3.51.2", "3.50.9", "3.9.99", "2.99.99"] {
            assert!(refuse_unsafe_version(unsafe_version).is_err(), "{unsafe_version}");
        }
        for safe_version in ["3.51.3", "3.52.0", "4.0.0"] {
            assert!(refuse_unsafe_version(safe_version).is_ok(), "{safe_version}");
        }
    }

    #[tokio::test]
    async fn the_sqlite_we_are_built_with_is_safe_durable_and_in_wal_mode() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("mintkey.db").display());
        let (_, writer, _) = open(&url).await.unwrap();
        for (pragma, value) in [("journal_mode", "wal"), ("synchronous", "2"), ("foreign_keys", "1")] {
            let statement = sea_orm::Statement::from_string(sea_orm::DbBackend::Sqlite, format!("PRAGMA {pragma}"));
            let row = writer.query_one_raw(statement).await.unwrap().unwrap();
            let found =
                row.try_get_by_index::<String>(0).or_else(|_| row.try_get_by_index::<i64>(0).map(|n| n.to_string()));
            assert_eq!(found.unwrap(), value, "{pragma}");
        }
        let built = sea_orm::Statement::from_string(
            sea_orm::DbBackend::Sqlite,
            "SELECT sqlite_compileoption_used('DEFAULT_MEMSTATUS=0') AS counts_nothing",
        );
        let built = writer.query_one_raw(built).await.unwrap().unwrap();
        assert!(built.try_get::<bool>("", "counts_nothing").unwrap(), ".cargo/config.toml is not heeded");
    }

    #[tokio::test]
    async fn a_connection_on_which_sqlite_rolled_back_by_itself_is_not_used_again() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("mintkey.db").display());
        let store = Store::open(&url, 1).await.unwrap();
        let limit = async |set: &str| {
            let pragma = format!("PRAGMA max_page_count{set}");
            let row = store.writer.query_one_raw(sea_orm::Statement::from_string(sea_orm::DbBackend::Sqlite, pragma));
            row.await.unwrap().unwrap().try_get::<i64>("", "max_page_count").unwrap()
        };
        let usual = limit("").await;
        // What only this connection knows tells it from another.
        assert!(limit(" = 1000").await < usual);
        let rolled_back = "INSERT OR ROLLBACK INTO schema_version SELECT * FROM schema_version";
        assert!(store.write(async |change| change.execute_unprepared(rolled_back).await).await.is_err());
        assert_eq!(limit("").await, usual);
    }

    #[tokio::test]
    async fn a_database_file_that_went_away_is_noticed_before_a_write() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mintkey.db");
        let (_, _, file) = open(&format!("sqlite://{}", path.display())).await.unwrap();
        assert!(file.check_in_place().is_ok());
        std::fs::rename(&path, directory.path().join("elsewhere.db")).unwrap();
        assert!(matches!(file.check_in_place(), Err(StoreError::Unavailable(_))));
        std::fs::rename(directory.path().join("elsewhere.db"), &path).unwrap();
        assert!(file.check_in_place().is_ok());
    }
}
