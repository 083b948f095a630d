//! The database: whether it can be asked, and fits this program.

use crate::cli::doctor::Opinion;
use crate::config::DataSettings;
use crate::store::{DatabaseReport, SchemaState, Store};

pub async fn inspect(url: &Result<String, String>) -> Result<DatabaseReport, String> {
    let url = url.as_ref().map_err(Clone::clone)?;
    Store::inspect(url).await.map_err(|error| match url.starts_with("sqlite:") {
        true => format!(
            "it cannot be read: {error}; check that the file is mintkey's, that this user may read it, and the disk"
        ),
        false => error.to_string(),
    })
}

pub fn schema(report: &Result<DatabaseReport, String>) -> Opinion {
    let DatabaseReport { schema, postgres, .. } = report.as_ref().map_err(Clone::clone)?;
    match schema {
        SchemaState::Current => return Ok("it is readable and up to date".into()),
        SchemaState::Newer { version, min_binary_version } => {
            return Err(format!(
                "a newer mintkey has migrated it to schema version {version}, which requires a binary of version \
                 {min_binary_version} or later; run that one, or restore a backup from before"
            ));
        }
        SchemaState::Missing | SchemaState::Outdated(_) => {}
    }
    if postgres.as_ref().is_some_and(|postgres| !postgres.may_create_tables) {
        return Err(
            "the URL's user may not make tables in it; make that user its owner (ALTER DATABASE ... OWNER TO ...), \
                    or GRANT CREATE ON SCHEMA public"
                .into(),
        );
    }
    match schema {
        SchemaState::Outdated(missing) => Err(format!(
            "{missing} changes of its schema are not done; run `mintkey migrate`, or start `mintkey serve`, which does them"
        )),
        _ => Ok("there is none yet; `mintkey serve` makes it".into()),
    }
}

/// A process has one connection beside the others, on which it hears of changes.
const LISTENING: u32 = 1;

pub fn connections(data: &DataSettings, report: &Result<DatabaseReport, String>) -> Opinion {
    let Ok(report) = report else { return Ok("not known while the database cannot be asked".into()) };
    let Some(postgres) = &report.postgres else { return Ok("SQLite needs none to be set up".into()) };
    let (possible, each) = (postgres.max_connections, data.database_connections + LISTENING);
    match possible / each {
        0 => Err(format!(
            "this user may have {possible} at a time, and a replica takes up to {each}; raise max_connections of PostgreSQL, \
             or the CONNECTION LIMIT of the user or the database, or lower --database-connections \
             (MINTKEY_DATABASE_CONNECTIONS)"
        )),
        replicas => Ok(format!("{possible}, enough for replicas: {replicas}, with up to {each} each")),
    }
}
