//! The migrations of the database schema, one per file, in the order in which they are applied. A migration that was
//! released is never edited, and none can be undone: the way back is a backup.
//!
//! During a rolling upgrade, replicas of the previous release run on the new schema. So a release first only adds
//! what older binaries can ignore, and leaves [`MIN_BINARY_VERSION`] as it is. A later release removes what the
//! earlier one stopped using, and raises [`MIN_BINARY_VERSION`] to the schema version of that earlier release. A
//! binary refuses to start on a schema whose minimum is above its own [`SCHEMA_VERSION`].

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

mod m0001_initial_schema;

pub use sea_orm_migration::{MigratorTrait, SchemaManager};

pub struct Migrator;

/// The schema version that this binary creates: the number of its migrations.
pub const SCHEMA_VERSION: i32 = 1;

/// The lowest [`SCHEMA_VERSION`] of a binary that works with the schema as the last migration leaves it.
pub const MIN_BINARY_VERSION: i32 = 1;

/// Makes SQLite store the rows in the order of their primary key (`WITHOUT ROWID`). By default it stores them in the
/// order of a hidden row id, with the primary key in a separate index that each insert and lookup pays for. PostgreSQL
/// has no such choice.
fn clustered(manager: &SchemaManager, mut table: TableCreateStatement) -> TableCreateStatement {
    if manager.get_database_backend() == DbBackend::Sqlite {
        table.extra("WITHOUT ROWID");
    }
    table
}

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m0001_initial_schema::Migration)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schema_version_is_the_number_of_migrations() {
        assert_eq!(Migrator::migrations().len(), SCHEMA_VERSION as usize);
    }
}
