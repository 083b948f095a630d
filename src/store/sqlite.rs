//! SQLite: how the embedded database is opened, and what is checked before it is used.

use std::fs::{Metadata, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sea_orm::sqlx::sqlite::SqliteConnectOptions;
use sea_orm::sqlx::{self, Connection, SqliteConnection};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};

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
        let path = path.display();
        StoreError::Incompatible(format!("{path}: {error}; give a file in a directory that exists and can be written"))
    })
}

/// The connections of each kind of work.
#[derive(Clone)]
pub struct Pools {
    pub reader: DatabaseConnection,
    /// One connection, so that reads of many rows take at most one core.
    pub scanner: DatabaseConnection,
    /// One connection, because SQLite has one writer at a time.
    pub writer: DatabaseConnection,
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
}

/// Opens the database. The file must exist.
pub async fn open_sqlite(url: &str) -> Result<Pools, StoreError> {
    let mut writing = sqlite_options(url, 1, WRITER_CACHE);
    writing.map_sqlx_sqlite_pool_opts(|pool| {
        pool.after_release(|connection, _| Box::pin(reset_sqlite_connection(connection)))
    });
    let writer = Database::connect(writing).await?;
    reject_unsafe_version(&version(&writer).await?)?;
    let reader = Database::connect(sqlite_options(url, 4, READER_CACHE)).await?;
    let scanner = Database::connect(sqlite_options(url, 1, READER_CACHE)).await?;
    let file = DatabaseFile(path(url).map(OpenedFile::find).transpose()?.map(Arc::new));
    Ok(Pools { reader, scanner, writer, file })
}

/// Opens the database without writing to its directory. SQLite needs its shared-memory file to read a database that is
/// in use. If there is no write-ahead log, it is not in use, and `immutable` makes SQLite read it without that file, and
/// without locks: [`DatabaseFile::check_unchanged`] notices a process that began to use it meanwhile.
pub async fn open_read_only(url: &str) -> Result<Pools, StoreError> {
    let mut file = path(url).map(OpenedFile::find).transpose()?;
    let immutable = file.as_ref().is_some_and(|file| !file.write_ahead_log().exists());
    if let Some(file) = &mut file {
        file.immutable = immutable;
    }
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).acquire_timeout(STATEMENT_TIMEOUT).sqlx_logging(false).map_sqlx_sqlite_opts(
        move |sqlite| sqlite.read_only(true).immutable(immutable).busy_timeout(STATEMENT_TIMEOUT),
    );
    let reader = Database::connect(options).await?;
    let file = DatabaseFile(file.map(Arc::new));
    Ok(Pools { scanner: reader.clone(), writer: reader.clone(), reader, file })
}

/// The file that the URL names. `None` for a database in memory, and for URLs of other databases.
pub fn path(url: &str) -> Option<PathBuf> {
    let in_memory = url.contains(":memory:") || url.contains("mode=memory");
    let options = url.starts_with("sqlite:").then(|| url.parse::<SqliteConnectOptions>().ok()).flatten()?;
    (!in_memory).then(|| options.get_filename().to_owned())
}

fn sqlite_options(url: &str, connections: u32, cache: &'static str) -> ConnectOptions {
    let in_memory = path(url).is_none();
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
                // In pages: 32 MB of log. A checkpoint copies a page once, however often the log has it; the default of
                // 1000 pages checkpoints too often to profit from that.
                .pragma("wal_autocheckpoint", "4000")
                // Keeps the statement journal of multi-row statements out of /var/tmp.
                .pragma("temp_store", "MEMORY")
                .pragma("cache_size", cache)
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

/// The database file as it was when it was opened. `None` for a database in memory.
#[derive(Clone)]
pub struct DatabaseFile(Option<Arc<OpenedFile>>);

struct OpenedFile {
    path: PathBuf,
    metadata: Metadata,
    /// SQLite reads it without locks.
    immutable: bool,
}

impl OpenedFile {
    fn find(path: PathBuf) -> Result<Self, StoreError> {
        let metadata = std::fs::metadata(&path).map_err(|error| {
            let (shown, remedy) = (path.display(), "check the path, or create the database with `mintkey migrate`");
            StoreError::Incompatible(format!("{shown}: {error}; {remedy}"))
        })?;
        Ok(Self { path, metadata, immutable: false })
    }

    fn write_ahead_log(&self) -> PathBuf {
        PathBuf::from(format!("{}-wal", self.path.display()))
    }
}

impl DatabaseFile {
    /// SQLite keeps writing to a file that was moved or deleted, so keys that it acknowledges would be lost.
    pub fn check_not_replaced(&self) -> Result<(), StoreError> {
        let Some(opened) = &self.0 else { return Ok(()) };
        match std::fs::metadata(&opened.path) {
            Ok(file) if (file.dev(), file.ino()) == (opened.metadata.dev(), opened.metadata.ino()) => Ok(()),
            Ok(_) => Err(StoreError::incompatible("the database file was replaced by another; restart to use it")),
            Err(error) => Err(StoreError::Unavailable(format!("the database file is gone: {error}"))),
        }
    }

    /// Returns an error if the file is read without locks and another process has begun to use it since it was opened:
    /// what was read may mix two states.
    pub fn check_unchanged(&self) -> Result<(), StoreError> {
        let Some(opened) = self.0.as_ref().filter(|opened| opened.immutable) else { return Ok(()) };
        let state = |file: &Metadata| (file.mtime(), file.mtime_nsec(), file.len());
        let changed = |file: Metadata| state(&file) != state(&opened.metadata);
        if std::fs::metadata(&opened.path).map_or(true, changed) || opened.write_ahead_log().exists() {
            return Err(StoreError::Unavailable(
                "another process began to use the database while it was read; repeat the command".into(),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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
        let Pools { writer, .. } = open_sqlite(&format!("sqlite://{}", path.display())).await.unwrap();
        for (pragma, value) in [("journal_mode", "wal"), ("synchronous", "2"), ("foreign_keys", "1")] {
            let statement = Statement::from_string(DbBackend::Sqlite, format!("PRAGMA {pragma}"));
            let row = writer.query_one_raw(statement).await.unwrap().unwrap();
            let found =
                row.try_get_by_index::<String>(0).or_else(|_| row.try_get_by_index::<i64>(0).map(|n| n.to_string()));
            assert_eq!(found.unwrap(), value, "{pragma}");
        }
        let built = Statement::from_string(
            DbBackend::Sqlite,
            "SELECT sqlite_compileoption_used('DEFAULT_MEMSTATUS=0') AS compiled_without_memstatus",
        );
        let built = writer.query_one_raw(built).await.unwrap().unwrap();
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
        let Pools { file, .. } = open_sqlite(&format!("sqlite://{}", path.display())).await.unwrap();
        assert!(file.check_not_replaced().is_ok());
        std::fs::rename(&path, directory.path().join("elsewhere.db")).unwrap();
        assert!(matches!(file.check_not_replaced(), Err(StoreError::Unavailable(_))));
        std::fs::rename(directory.path().join("elsewhere.db"), &path).unwrap();
        assert!(file.check_not_replaced().is_ok());
    }
}
