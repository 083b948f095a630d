//! The baseline: minimal handlers that do the same work as mintkey. A poem handler parses and echoes the body of a verify;
//! others execute one plain SELECT, one plain INSERT of three columns, or one plain INSERT of a whole key row per request,
//! over the same kind of pool.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use entity::api_key;
use mintkey::domain::clock::Clock;
use mintkey::domain::id::new_id;
use mintkey::domain::secret::{Entropy, Secret};
use mintkey::domain::secret_hash::Pepper;
use poem::error::InternalServerError;
use poem::http::StatusCode;
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::web::{Data, Json};
use poem::{EndpointExt, Route, Server, handler, post};
use sea_orm::{
    ActiveModelTrait, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, EntityTrait,
    IntoActiveModel, Statement,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::place::Place;
use super::process::{Process, on_servers_core};

#[derive(Args)]
pub struct Bare {
    #[arg(long)]
    database: String,
    #[arg(long)]
    master_secret: String,
}

struct Pools {
    reader: DatabaseConnection,
    writer: DatabaseConnection,
    pepper: Pepper,
    /// A template for new rows.
    key: api_key::Model,
}

/// The number of connections that mintkey has to PostgreSQL.
const CONNECTIONS: u32 = 20;

pub fn serve(place: &Place) -> Process {
    let master = std::fs::read_to_string(place.path().join("master.secret")).unwrap();
    let mut command = on_servers_core(&std::env::current_exe().unwrap());
    Process::start(command.args(["bare", "--database", &place.database, "--master-secret", master.trim()]))
}

pub async fn run(Bare { database, master_secret }: Bare) {
    let (readers, writers) = if database.starts_with("sqlite:") { (4, 1) } else { (CONNECTIONS, CONNECTIONS) };
    let writer = connect(&database, writers).await;
    let blob = if writer.get_database_backend() == DbBackend::Sqlite { "blob" } else { "bytea" };
    let table = format!(
        "CREATE TABLE IF NOT EXISTS bare_keys (id {} PRIMARY KEY, hash {blob} NOT NULL UNIQUE, name text NOT NULL)",
        if blob == "blob" { blob } else { "uuid" }
    );
    writer.execute_unprepared(&table).await.unwrap();
    let reader = connect(&database, readers).await;
    let key = api_key::Entity::find().one(&reader).await.unwrap().unwrap();
    let pools = Arc::new(Pools { reader, writer, pepper: Pepper::derive(&master_secret), key });
    let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.unwrap();
    eprintln!("listening on {}", acceptor.local_addr()[0]);
    let routes = Route::new()
        .at("/echo", post(echo))
        .at("/select", post(select.data(pools.clone())))
        .at("/insert", post(insert.data(pools.clone())))
        .at("/insert-key", post(insert_key.data(pools)));
    Server::new_with_acceptor(acceptor).run(routes).await.unwrap();
}

/// The body of a verify.
#[derive(Serialize, Deserialize)]
struct Question {
    key: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Found {
    id: Uuid,
    name: String,
}

#[handler]
fn echo(Json(question): Json<Question>) -> Json<Question> {
    Json(question)
}

/// The body of a create.
#[derive(Deserialize)]
struct Named {
    name: String,
}

/// Selects a key by the hash of its secret.
#[handler]
async fn select(Data(pools): Data<&Arc<Pools>>, Json(question): Json<Question>) -> poem::Result<Json<Found>> {
    const SQLITE: &str = "SELECT * FROM api_keys WHERE secret_hash = ?";
    const POSTGRES: &str = "SELECT * FROM api_keys WHERE secret_hash = $1";
    let backend = pools.reader.get_database_backend();
    let sql = if backend == DbBackend::Sqlite { SQLITE } else { POSTGRES };
    let secret = Secret::parse(&question.key).map_err(|_| StatusCode::BAD_REQUEST)?;
    let hash = pools.pepper.hash(&secret).0.to_vec();
    let row = pools.reader.query_one_raw(Statement::from_sql_and_values(backend, sql, [hash.into()]));
    let row = row.await.map_err(InternalServerError)?.ok_or(StatusCode::NOT_FOUND)?;
    let id = row.try_get("", "id").map_err(InternalServerError)?;
    Ok(Json(Found { id, name: row.try_get("", "name").map_err(InternalServerError)? }))
}

/// Inserts a row of three columns and commits.
#[handler]
async fn insert(
    Data(pools): Data<&Arc<Pools>>,
    Json(Named { name }): Json<Named>,
) -> poem::Result<(StatusCode, Json<Found>)> {
    const SQLITE: &str = "INSERT INTO bare_keys (id, hash, name) VALUES (?, ?, ?)";
    const POSTGRES: &str = "INSERT INTO bare_keys (id, hash, name) VALUES ($1, $2, $3)";
    let backend = pools.writer.get_database_backend();
    let sql = if backend == DbBackend::Sqlite { SQLITE } else { POSTGRES };
    let (id, hash) = pools.mint()?;
    let values = [id.into(), hash.into(), name.clone().into()];
    let insert = Statement::from_sql_and_values(backend, sql, values);
    pools.writer.execute_raw(insert).await.map_err(InternalServerError)?;
    Ok((StatusCode::CREATED, Json(Found { id, name })))
}

/// Inserts the row that a create writes and commits.
#[handler]
async fn insert_key(
    Data(pools): Data<&Arc<Pools>>,
    Json(Named { name }): Json<Named>,
) -> poem::Result<(StatusCode, Json<Found>)> {
    let (id, secret_hash) = pools.mint()?;
    let row = api_key::Model { id, name: name.clone(), secret_id: id, secret_hash, ..pools.key.clone() };
    let row = row.into_active_model().reset_all();
    let inserted = api_key::Entity::insert(row).exec_without_returning(&pools.writer);
    inserted.await.map_err(InternalServerError)?;
    Ok((StatusCode::CREATED, Json(Found { id, name })))
}

impl Pools {
    /// Returns a new id and the hash of a new secret.
    fn mint(&self) -> Result<(Uuid, Vec<u8>), StatusCode> {
        let prefix = "mk".parse().map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
        let entropy = Entropy::from_os().map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
        let now = Clock::System.now();
        Ok((new_id(now), self.pepper.hash(&Secret::mint(&prefix, &entropy, now)).0.to_vec()))
    }
}

async fn connect(url: &str, connections: u32) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(|sqlite| {
            let sqlite = sqlite.busy_timeout(Duration::from_secs(5)).foreign_keys(true);
            sqlite.pragma("journal_mode", "WAL").pragma("synchronous", "FULL")
        });
    Database::connect(options).await.unwrap()
}
