//! SQLite: how the embedded database is opened, and what is checked before it is used.

mod database_file;
mod pool_state;
mod write_lock;

use std::fs::{OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::sqlite::SqliteConnectOptions;
use sea_orm::sqlx::{self, AssertSqlSafe, Connection, Executor, SqliteConnection};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr, Statement};

use crate::store::errors::SqliteFault;
use crate::store::sqlite::database_file::{DatabaseFile, explain_unusable, write_ahead_log};
use crate::store::sqlite::pool_state::PoolState;
use crate::store::workload::Workload;
use crate::store::{STATEMENT_TIMEOUT, StoreError};

/// Before 3.51.3, a checkpoint at the wrong moment can lose committed pages (the WAL-reset bug). A dependency could
/// bring an older library back unnoticed.
const MIN_SAFE_VERSION: [u32; 3] = [3, 51, 3];

/// The page cache of a reading connection, as `PRAGMA cache_size` takes it: a negative number of KiB. The default of
/// 2 MB does not hold the upper pages of an index of a million keys.
const READER_CACHE: &str = "-16384";
/// Smaller, because a commit that split a page visits every cached page.
const WRITER_CACHE: &str = "-4096";

/// How long SQLite itself waits for the write lock. Short, because it blocks the writer's thread: the store waits longer by
/// repeating it, and gives up in time.
const LOCK_POLL: Duration = Duration::from_millis(25);

/// In pages of 4 KiB: a checkpoint begins at 16 MB of log. It copies a page once, however often the log has it; the default
/// of 1000 pages checkpoints too often to profit from that.
const CHECKPOINT_PAGES: &str = "4000";
/// To what the log shrinks, in bytes, once it has been copied. While another process reads, the log can only grow.
const LOG_LIMIT: &str = "33554432";

/// The connections of each kind of work.
pub struct Pools {
    pub reader: DatabaseConnection,
    /// One connection, so that reads of many rows take at most one core.
    pub scanner: DatabaseConnection,
    /// One connection, because SQLite has one writer at a time.
    pub writer: DatabaseConnection,
    /// The state of the reader and the scanner.
    reading: Arc<PoolState>,
    /// The state of the writer.
    pub writing: Arc<PoolState>,
    pub file: DatabaseFile,
}

impl Pools {
    pub fn of(&self, workload: Workload) -> &DatabaseConnection {
        match workload {
            Workload::Probe | Workload::Lookup => &self.reader,
            Workload::Scan => &self.scanner,
            Workload::Change => &self.writer,
        }
    }

    /// Converts an error, after recording what it says of the connections.
    pub fn error(&self, workload: Workload, error: DbErr) -> StoreError {
        if let Some((SqliteFault::File, _)) = SqliteFault::of(&error) {
            match workload {
                Workload::Change => self.writing.failed(),
                Workload::Probe | Workload::Lookup | Workload::Scan => self.reading.failed(),
            }
        }
        self.file.store_error(error)
    }
}

/// Creates the database file with mode 0600 if it does not exist, whatever the umask. SQLite gives its other files the
/// mode of this one.
pub fn create_private_file(path: &Path) -> Result<(), StoreError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        // The umask may have removed permissions of the owner.
        Ok(file) => file.set_permissions(Permissions::from_mode(0o600)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
    .map_err(|error| {
        let directory_is_missing = error.kind() == ErrorKind::NotFound;
        StoreError::Incompatible(match directory_is_missing {
            true => format!("{}: {error}; give a file in a directory that exists", path.display()),
            false => explain_unusable(path, &error.to_string()),
        })
    })
}

/// Opens the database. The file must exist.
pub async fn open_sqlite(url: &str) -> Result<Arc<Pools>, StoreError> {
    let file = DatabaseFile::find(path(url), false)?;
    let (reading, writing) = (Arc::<PoolState>::default(), Arc::<PoolState>::default());
    let connect = async |connections, cache, lock_timeout, state: &Arc<PoolState>| {
        let options = pool_options(url, connections, cache, lock_timeout, state);
        Database::connect(options).await.map_err(|error| file.store_error(error))
    };
    let writer = connect(1, WRITER_CACHE, LOCK_POLL, &writing).await?;
    reject_unsafe_version(&version(&writer).await?)?;
    let reader = connect(4, READER_CACHE, STATEMENT_TIMEOUT, &reading).await?;
    let scanner = connect(1, READER_CACHE, STATEMENT_TIMEOUT, &reading).await?;
    Ok(Arc::new(Pools { reader, scanner, writer, reading, writing, file }))
}

/// Opens the database without writing to its directory. SQLite needs its shared-memory file to read a database that is
/// in use. If there is no write-ahead log, it is not in use, and `immutable` makes SQLite read it without that file, and
/// without locks: [`DatabaseFile::check_unchanged`] notices a process that began to use it meanwhile.
pub async fn open_read_only(url: &str) -> Result<Arc<Pools>, StoreError> {
    let path = path(url);
    let immutable = path.as_ref().is_some_and(|file| !write_ahead_log(file).exists());
    let file = DatabaseFile::find(path, immutable)?;
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).acquire_timeout(STATEMENT_TIMEOUT).sqlx_logging(false).map_sqlx_sqlite_opts(
        move |sqlite| sqlite.read_only(true).immutable(immutable).busy_timeout(STATEMENT_TIMEOUT),
    );
    let reader = Database::connect(options).await.map_err(|error| file.store_error(error))?;
    let (reading, writing) = (Arc::default(), Arc::default());
    Ok(Arc::new(Pools { scanner: reader.clone(), writer: reader.clone(), reader, reading, writing, file }))
}

/// The file that the URL names. `None` for a database in memory, and for URLs of other databases.
pub fn path(url: &str) -> Option<PathBuf> {
    let in_memory = url.contains(":memory:") || url.contains("mode=memory");
    let options = url.starts_with("sqlite:").then(|| url.parse::<SqliteConnectOptions>().ok()).flatten()?;
    (!in_memory).then(|| options.get_filename().to_owned())
}

/// The settings of a pool. A statement waits for a lock for `lock_timeout`; while a connection is opened, it waits for
/// [`STATEMENT_TIMEOUT`].
fn pool_options(
    url: &str,
    connections: u32,
    cache: &'static str,
    lock_timeout: Duration,
    state: &Arc<PoolState>,
) -> ConnectOptions {
    let (in_memory, state) = (path(url).is_none(), Arc::clone(state));
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .acquire_timeout(STATEMENT_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(move |sqlite| {
            sqlite
                .create_if_missing(in_memory)
                .foreign_keys(true)
                .busy_timeout(STATEMENT_TIMEOUT)
                .pragma("journal_mode", "WAL")
                // FULL: a commit is on disk before it is acknowledged.
                .pragma("synchronous", "FULL")
                .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
                .pragma("journal_size_limit", LOG_LIMIT)
                // Keeps the statement journal of multi-row statements out of /var/tmp.
                .pragma("temp_store", "MEMORY")
                .pragma("cache_size", cache)
        })
        .map_sqlx_sqlite_pool_opts(move |pool| {
            let (opened, used) = (Arc::clone(&state), Arc::clone(&state));
            pool.after_connect(move |connection, _| {
                opened.connection_opened();
                Box::pin(async move {
                    let pragma = format!("PRAGMA busy_timeout = {}", lock_timeout.as_millis());
                    connection.execute(AssertSqlSafe(pragma)).await.map(drop)
                })
            })
            .before_acquire(move |_, of| {
                let may_be_used = used.may_be_used(&of);
                Box::pin(async move { Ok(may_be_used) })
            })
            .after_release(|connection, _| Box::pin(reset_sqlite_connection(connection)))
        });
    options
}

/// Returns whether the pool may use the connection again. After an error at which SQLite rolls back by itself, such as
/// a full disk, sqlx still counts a transaction as open. Later transactions would be savepoints in it that are never
/// committed: acknowledged, then lost. The pool closes such a connection.
async fn reset_sqlite_connection(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        // The ping waits until the rollback of a dropped transaction is done.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

async fn version(connection: &DatabaseConnection) -> Result<String, StoreError> {
    let query = Statement::from_string(DbBackend::Sqlite, "SELECT sqlite_version() AS version");
    let row = connection.query_one_raw(query).await?;
    let row = row.ok_or_else(|| StoreError::incompatible("SQLite did not return its version"))?;
    Ok(row.try_get("", "version")?)
}

fn reject_unsafe_version(version: &str) -> Result<(), StoreError> {
    let parts: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    if parts.as_slice() < MIN_SAFE_VERSION.as_slice() {
        return Err(StoreError::incompatible(&format!(
            "SQLite {version} can lose committed data (the WAL-reset bug); build with 3.51.3 or later"
        )));
    }
    Ok(())
}

#[cfg(test)]
pub mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::domain::clock::Clock;
    use crate::store::{Access, Store};

    #[test]
    fn sqlite_version_that_can_lose_commits_is_rejected() {
        for unsafe_version in ["3.51.2", "3.50.9", "3.9.99", "2.99.99"] {
            assert!(reject_unsafe_version(unsafe_version).is_err(), "{unsafe_version}");
        }
        for safe_version in ["3.51.3", "3.52.0", "4.0.0"] {
            assert!(reject_unsafe_version(safe_version).is_ok(), "{safe_version}");
        }
    }

    #[tokio::test]
    async fn built_in_sqlite_is_safe_and_durable_and_uses_wal() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mintkey.db");
        create_private_file(&path).unwrap();
        let pools = open_sqlite(&format!("sqlite://{}", path.display())).await.unwrap();
        for (pragma, value) in [("journal_mode", "wal"), ("synchronous", "2"), ("foreign_keys", "1")] {
            let statement = Statement::from_string(DbBackend::Sqlite, format!("PRAGMA {pragma}"));
            let row = pools.writer.query_one_raw(statement).await.unwrap().unwrap();
            let found =
                row.try_get_by_index::<String>(0).or_else(|_| row.try_get_by_index::<i64>(0).map(|n| n.to_string()));
            assert_eq!(found.unwrap(), value, "{pragma}");
        }
        let built = Statement::from_string(
            DbBackend::Sqlite,
            "SELECT sqlite_compileoption_used('DEFAULT_MEMSTATUS=0') AS compiled_without_memstatus",
        );
        let built = pools.writer.query_one_raw(built).await.unwrap().unwrap();
        assert!(built.try_get::<bool>("", "compiled_without_memstatus").unwrap(), ".cargo/config.toml was not applied");
    }

    #[tokio::test]
    async fn connection_is_closed_after_sqlite_rolled_back_by_itself() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("mintkey.db").display());
        let store = Store::open(&url, 1).await.unwrap();
        let limit = async |set: &str| {
            let pragma = format!("PRAGMA max_page_count{set}");
            let row = store.sqlite().writer.query_one_raw(Statement::from_string(DbBackend::Sqlite, pragma));
            row.await.unwrap().unwrap().try_get::<i64>("", "max_page_count").unwrap()
        };
        let default = limit("").await;
        // The limit is a setting of one connection, so it shows whether the pool still has that one.
        assert!(limit(" = 1000").await < default);
        let rolled_back = "INSERT OR ROLLBACK INTO schema_version SELECT * FROM schema_version";
        assert!(store.write(async |change| change.execute_unprepared(rolled_back).await).await.is_err());
        assert_eq!(limit("").await, default);
    }

    /// Another process: it has its own locks.
    pub async fn open_elsewhere(directory: &Path) -> DatabaseConnection {
        let mut options = ConnectOptions::new(format!("sqlite://{}", directory.join("mintkey.db").display()));
        options.max_connections(1);
        Database::connect(options).await.unwrap()
    }

    pub const NO_CHANGE: &str = "UPDATE schema_version SET version = version";

    #[tokio::test]
    async fn writer_that_is_read_only_is_replaced() {
        let (store, _directory) = Store::temporary().await;
        let change = async || store.write(async |change| change.execute_unprepared(NO_CHANGE).await).await;
        change().await.unwrap();
        let opened = store.sqlite().writing.connections_opened();
        // Its changes fail as those of a connection that was opened while the file could not be written.
        store.sqlite().writer.execute_unprepared("PRAGMA query_only = on").await.unwrap();
        let error = change().await.unwrap_err().to_string();
        assert!(error.contains("readonly database (code 8)") && error.contains("mode 600"), "{error}");
        let deadline = Instant::now() + Duration::from_secs(60);
        while change().await.is_err() {
            assert!(Instant::now() < deadline, "it stays read-only");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(store.sqlite().writing.connections_opened(), opened + 1);
    }

    #[tokio::test]
    async fn log_that_grew_beside_a_reader_shrinks_when_the_reader_ends() {
        let (store, directory) = Store::temporary().await;
        let size = || std::fs::metadata(directory.path().join("mintkey.db-wal")).unwrap().len();
        let write = async |sql: &'static str| {
            store.write(async |change| change.execute_unprepared(sql).await).await.unwrap();
        };
        let reader = open_elsewhere(directory.path()).await;
        reader.execute_unprepared("BEGIN; SELECT * FROM schema_version").await.unwrap();
        write("CREATE TABLE large (content BLOB)").await;
        for _ in 0..40 {
            write("INSERT INTO large VALUES (randomblob(1000000))").await;
        }
        let limit: u64 = LOG_LIMIT.parse().unwrap();
        assert!(size() > limit, "{}", size());
        reader.execute_unprepared("ROLLBACK").await.unwrap();
        // The first copies the log, and the second begins a new one.
        write("INSERT INTO large VALUES (1)").await;
        write("INSERT INTO large VALUES (2)").await;
        assert!(size() <= limit, "{}", size());
    }

    #[tokio::test]
    async fn database_used_while_it_is_read_without_locks_is_noticed() {
        let (store, directory) = Store::temporary().await;
        store.close().await.unwrap();
        let url = format!("sqlite://{}", directory.path().join("mintkey.db").display());
        let reader = Store::open_existing(&url, 1, Access::Read).await.unwrap();
        assert_eq!(reader.registered_peppers().await.unwrap(), []);

        let writer = Store::open_existing(&url, 1, Access::ReadWrite).await.unwrap();
        assert!(writer.register_pepper("p", &[], &[], Clock::System.now()).await.unwrap());
        for server_runs in [true, false] {
            let error = reader.registered_peppers().await.unwrap_err().to_string();
            assert!(error.contains("repeat the command"), "{server_runs}: {error}");
            if server_runs {
                writer.clone().close().await.unwrap();
            }
        }
        let again = Store::open_existing(&url, 1, Access::Read).await.unwrap();
        assert_eq!(again.registered_peppers().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn moved_database_file_is_noticed_before_a_write() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mintkey.db");
        create_private_file(&path).unwrap();
        let pools = open_sqlite(&format!("sqlite://{}", path.display())).await.unwrap();
        assert!(pools.file.check_not_replaced().is_ok());
        std::fs::rename(&path, directory.path().join("elsewhere.db")).unwrap();
        assert!(matches!(pools.file.check_not_replaced(), Err(StoreError::Unavailable(_))));
        std::fs::rename(directory.path().join("elsewhere.db"), &path).unwrap();
        assert!(pools.file.check_not_replaced().is_ok());
    }
}
