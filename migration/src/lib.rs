//! The schema, one change a file, in the order in which they are applied. A file that has been released is never edited.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{ConnectionTrait, DatabaseConnection, Statement};

mod m0001_api_keys;
mod m0002_audit_events;
mod m0003_idempotent_requests;
mod m0004_key_usage;

pub use sea_orm_migration::MigratorTrait;

pub struct Migrator;

/// How far a database is from the schema of this program.
#[derive(Debug, Default)]
pub struct Difference {
    /// Changes that were not applied yet.
    pub pending: Vec<String>,
    /// Changes that another program applied, and that this one does not know.
    pub newer: Vec<String>,
}

impl Migrator {
    /// Only reads, unlike the methods of the trait.
    pub async fn difference(connection: &DatabaseConnection) -> Result<Difference, DbErr> {
        let table = Self::migration_table_name().to_string();
        let mut newer: Vec<String> = Vec::new();
        if SchemaManager::new(connection).has_table(&table).await? {
            let applied =
                Statement::from_string(connection.get_database_backend(), format!("SELECT version FROM {table}"));
            for row in connection.query_all_raw(applied).await? {
                newer.push(row.try_get("", "version")?);
            }
        }
        let known = Self::get_migration_files().into_iter().map(|file| file.name().to_owned());
        let pending = known.filter(|name| match newer.iter().position(|applied| applied == name) {
            Some(applied) => {
                newer.swap_remove(applied);
                false
            }
            None => true,
        });
        let pending = pending.collect();
        Ok(Difference { pending, newer })
    }
}

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_api_keys::Migration),
            Box::new(m0002_audit_events::Migration),
            Box::new(m0003_idempotent_requests::Migration),
            Box::new(m0004_key_usage::Migration),
        ]
    }
}
