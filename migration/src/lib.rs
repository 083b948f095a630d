//! The schema, one change a file, in the order in which they are applied. A file that has been released is never edited.

use sea_orm_migration::prelude::*;

mod m0001_api_keys;
mod m0002_audit_events;
mod m0003_idempotent_requests;
mod m0004_key_usage;

pub use sea_orm_migration::MigratorTrait;

pub struct Migrator;

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
