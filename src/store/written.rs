//! Written statements: text with its values, for what is asked so often, or for so many, that to build it of expressions
//! takes longer than the database takes to carry it out.

use std::fmt::Write;

use sea_orm::{ActiveModelTrait, DbBackend, EntityName, EntityTrait, IdenStatic, Iterable, Statement, Value};

pub struct Written {
    backend: DbBackend,
    sql: String,
    values: Vec<Value>,
}

impl Written {
    pub fn new(backend: DbBackend) -> Self {
        Self { backend, sql: String::new(), values: Vec::new() }
    }

    pub fn text(mut self, text: &str) -> Self {
        self.sql.push_str(text);
        self
    }

    /// `(…, …)`
    pub fn list(mut self, values: impl IntoIterator<Item = Value>) -> Self {
        for (place, value) in values.into_iter().enumerate() {
            self.sql.push_str(if place == 0 { "(" } else { ", " });
            self.values.push(value);
            match self.backend {
                DbBackend::Postgres => {
                    write!(self.sql, "${}", self.values.len()).expect("a string takes what it is given")
                }
                _ => self.sql.push('?'),
            }
        }
        self.text(")")
    }

    /// `VALUES (…, …), (…, …)`
    pub fn rows<V: IntoIterator<Item = Value>>(mut self, rows: impl IntoIterator<Item = V>) -> Self {
        for (place, row) in rows.into_iter().enumerate() {
            self = self.text(if place == 0 { "VALUES " } else { ", " }).list(row);
        }
        self
    }

    /// `INSERT INTO … VALUES …` of whole rows, for a transaction that ends when it fails. SQLite would otherwise copy every
    /// page beforehand, to undo the statement alone.
    pub fn insert<A: ActiveModelTrait>(mut self, rows: impl IntoIterator<Item = A>) -> Self {
        let insert = if self.backend == DbBackend::Sqlite { "INSERT OR FAIL INTO" } else { "INSERT INTO" };
        let columns: Vec<_> = <A::Entity as EntityTrait>::Column::iter().collect();
        let names: Vec<_> = columns.iter().map(IdenStatic::as_str).collect();
        let text = format!("{insert} {} ({}) ", A::Entity::default().table_name(), names.join(", "));
        let (rows, columns) = (rows.into_iter(), &columns);
        let values = rows.size_hint().0 * columns.len();
        self.values.reserve(values);
        self.sql.reserve("?, ".len() * values);
        self.text(&text).rows(
            rows.map(move |mut row| {
                columns.iter().map(move |column| row.take(*column).into_value().expect("a whole row"))
            }),
        )
    }

    pub fn statement(self) -> Statement {
        Statement::from_sql_and_values(self.backend, self.sql, self.values)
    }
}
