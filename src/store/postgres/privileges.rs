//! Privileges: what the user of the URL may do with the tables, and the statements that grant the rest.
//!
//! `migrate` may run as the owner of the tables and `serve` as a user who may only read and write them. Then each new table
//! has to be granted, so the check covers every table, also in processes that have run for long.

use sea_orm::sqlx::{self, PgConnection, Row};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};
use serde::Deserialize;

/// One column of JSON, so that any connection can run it. Names are quoted where SQL needs it.
const PRIVILEGES: &str = "
    SELECT json_build_object(
        'user', quote_ident(current_user), 'database', quote_ident(current_database()),
        'schema', quote_ident(current_schema()), 'search_path', current_setting('search_path'),
        'owner', (SELECT quote_ident(pg_get_userbyid(relowner)) FROM pg_class WHERE oid = to_regclass('schema_version')),
        'may_create', coalesce(has_schema_privilege(current_schema(), 'CREATE'), false),
        'may_alter', coalesce(
            (SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass('schema_version')), true),
        'missing', (
            SELECT string_agg(format('%s on %s', privileges, name), '; ' ORDER BY name)
            FROM (
                SELECT name, string_agg(privilege, ', ' ORDER BY privilege) AS privileges
                FROM unnest('{api_keys,idempotency_records,key_change_events,key_usage,owner_key_counts,peppers,
                        revocation_jobs,rotated_secrets,schema_version,secret_last_used}'::text[]) AS name,
                    unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) AS privilege
                WHERE NOT has_table_privilege(to_regclass(name), privilege)
                GROUP BY name
                UNION ALL
                SELECT name, 'SELECT' FROM unnest('{audit_events,secrets}'::text[]) AS name
                WHERE NOT has_table_privilege(to_regclass(name), 'SELECT')
            ) AS lacking))::text";

#[derive(Debug, Clone, Deserialize)]
pub struct Privileges {
    user: String,
    database: String,
    /// The schema where tables are created: the first of `search_path` that exists and that the user may use.
    schema: Option<String>,
    search_path: String,
    /// The owner of the tables, if there are any.
    owner: Option<String>,
    may_create: bool,
    may_alter: bool,
    missing: Option<String>,
}

impl Privileges {
    pub async fn fetch(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let row = sqlx::raw_sql(PRIVILEGES).fetch_one(connection).await?;
        serde_json::from_str(row.try_get(0)?).map_err(|error| sqlx::Error::Decode(error.into()))
    }

    pub async fn query(connection: &impl ConnectionTrait) -> Result<Self, DbErr> {
        let row = connection.query_one_raw(Statement::from_string(DbBackend::Postgres, PRIVILEGES)).await?;
        let json: String = row.ok_or_else(|| DbErr::RecordNotFound("privileges".into()))?.try_get_by_index(0)?;
        serde_json::from_str(&json).map_err(|error| DbErr::Type(error.to_string()))
    }

    /// Returns the privileges on tables that the user lacks, and what to run.
    pub fn missing(&self) -> Option<String> {
        let (missing, user) = (self.missing.as_ref()?, &self.user);
        let (owner, schema) = (self.owner.as_deref().unwrap_or("OWNER"), self.schema.as_deref().unwrap_or("public"));
        Some(format!(
            "the user {user} lacks privileges: {missing}; run as {owner}: GRANT SELECT, INSERT, UPDATE, DELETE ON ALL \
             TABLES IN SCHEMA {schema} TO {user}; and for the tables of later releases: ALTER DEFAULT PRIVILEGES FOR ROLE \
             {owner} IN SCHEMA {schema} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {user}"
        ))
    }

    /// Returns the same if there are tables, and the user may not see them at all. To that user they look missing.
    pub fn missing_on_hidden_tables(&self) -> Option<String> {
        self.owner.as_ref().and_then(|_| self.missing())
    }

    /// Returns why the user cannot apply migrations, and what to do.
    pub fn migration_obstacle(&self) -> Option<String> {
        let Self { user, database, search_path, .. } = self;
        match (&self.schema, &self.owner) {
            (None, _) => Some(format!(
                "none of the schemas in search_path ({search_path}) exists and may be used by {user}; run: ALTER ROLE {user} \
                 IN DATABASE {database} SET search_path = public; or create the schema: CREATE SCHEMA NAME AUTHORIZATION \
                 {user}"
            )),
            (Some(_), Some(owner)) if !self.may_alter || !self.may_create => Some(format!(
                "the user {user} does not own the tables; run `mintkey migrate` with the URL of their owner, {owner}"
            )),
            (Some(schema), None) if !self.may_create => Some(format!(
                "the user {user} may not create tables in the schema {schema}; run `mintkey migrate` with the URL of a user \
                 who may, such as the owner of the database, or GRANT CREATE ON SCHEMA {schema} TO {user}"
            )),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[tokio::test]
    async fn privileges_are_of_every_table_and_view_of_the_schema() {
        let (store, _directory) = Store::temporary().await;
        let query = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' \
                     AND name <> 'seaql_migrations' ORDER BY name";
        let rows =
            store.read(async |database| database.query_all_raw(Statement::from_string(DbBackend::Sqlite, query)).await);
        let names: Vec<String> = rows.await.unwrap().iter().map(|row| row.try_get("", "name").unwrap()).collect();
        let lists = PRIVILEGES.split('{').skip(1).filter_map(|list| list.split_once('}'));
        let listed = lists.flat_map(|(list, _)| list.split(',')).map(str::trim);
        let mut listed: Vec<_> = listed.filter(|name| name.chars().all(|c| c.is_lowercase() || c == '_')).collect();
        listed.sort_unstable();
        assert_eq!(listed, names);
    }
}
