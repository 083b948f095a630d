//! The schema, one change a file, in the order in which they are applied. A file that has been released is never edited.
//!
//! While an upgrade rolls over several replicas, the old binary runs on the new schema. So a change expands first: it
//! adds what older binaries can leave alone, and [`OLDEST_BINARY`] stays. What a release has stopped using, a later one
//! takes away, and raises [`OLDEST_BINARY`] to the level of the release that stopped. A binary refuses to start on a
//! schema whose oldest binary is newer than itself.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

mod m0001_api_keys;
mod m0002_audit_events;
mod m0003_idempotent_requests;
mod m0004_key_usage;
mod m0005_schema_level;

pub use sea_orm_migration::{MigratorTrait, SchemaManager};

pub struct Migrator;

/// How many migrations this binary knows.
pub const LEVEL: i32 = 5;

/// The level of the oldest binary that can work with the schema as the last migration leaves it.
pub const OLDEST_BINARY: i32 = 5;

/// A table whose rows are kept in the order of its primary key. PostgreSQL keeps none in order; SQLite, unless told so,
/// keeps them in an order of its own and the primary key in an index beside, which every insert and look-up pays for.
fn by_primary_key(manager: &SchemaManager, mut table: TableCreateStatement) -> TableCreateStatement {
    if manager.get_database_backend() == DbBackend::Sqlite {
        table.extra("WITHOUT ROWID");
    }
    table
}

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_api_keys::Migration),
            Box::new(m0002_audit_events::Migration),
            Box::new(m0003_idempotent_requests::Migration),
            Box::new(m0004_key_usage::Migration),
            Box::new(m0005_schema_level::Migration),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_the_number_of_migrations() {
        assert_eq!(Migrator::migrations().len(), LEVEL as usize);
    }
}
