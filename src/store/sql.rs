//! SQL text with bound values, for statements that run often or with many rows. sea-query takes longer to build these
//! than the database takes to run them.

use sea_orm::{ActiveModelTrait, DbBackend, EntityName, EntityTrait, IdenStatic, Iterable, Statement, Value};

pub struct SqlBuilder {
    backend: DbBackend,
    sql: String,
    values: Vec<Value>,
}

impl SqlBuilder {
    pub fn new(backend: DbBackend) -> Self {
        Self { backend, sql: String::new(), values: Vec::new() }
    }

    pub fn push(mut self, sql: &str) -> Self {
        self.sql.push_str(sql);
        self
    }

    /// Appends `(?, ?)`, or `($1, $2)` on PostgreSQL, with these values bound.
    pub fn push_values(mut self, values: impl IntoIterator<Item = Value>) -> Self {
        for (index, value) in values.into_iter().enumerate() {
            self.sql.push_str(if index == 0 { "(" } else { ", " });
            self.values.push(value);
            match self.backend {
                DbBackend::Postgres => {
                    self.sql.push('$');
                    self.sql.push_str(itoa::Buffer::new().format(self.values.len()));
                }
                _ => self.sql.push('?'),
            }
        }
        self.push(")")
    }

    /// Appends `INSERT INTO ... VALUES ...`. There must be at least one row, and all must set the same columns.
    pub fn push_insert<A: ActiveModelTrait>(self, rows: impl IntoIterator<Item = A>) -> Self {
        let mut rows = rows.into_iter().peekable();
        let columns = set_columns(rows.peek().expect("at least one row"));
        let (table, names) = (A::Entity::default(), column_names::<A>(&columns));
        self.push(&format!("INSERT INTO {} ({names}) ", table.table_name())).push_rows(rows, &columns)
    }

    /// Appends `VALUES (...), (...)` with these columns of the rows.
    pub fn push_rows<A: ActiveModelTrait>(mut self, rows: impl Iterator<Item = A>, columns: &[ColumnOf<A>]) -> Self {
        let values = rows.size_hint().0 * columns.len();
        self.values.reserve(values);
        self.sql.reserve("$100, ".len() * values);
        for (index, mut row) in rows.enumerate() {
            let row = columns.iter().map(|column| row.take(*column).into_value().expect("the first row's columns"));
            self = self.push(if index == 0 { "VALUES " } else { ", " }).push_values(row);
        }
        self
    }

    pub fn build(self) -> Statement {
        Statement::from_sql_and_values(self.backend, self.sql, self.values)
    }
}

type ColumnOf<A> = <<A as ActiveModelTrait>::Entity as EntityTrait>::Column;

/// The columns that this row sets.
pub fn set_columns<A: ActiveModelTrait>(row: &A) -> Vec<ColumnOf<A>> {
    ColumnOf::<A>::iter().filter(|column| !row.is_not_set(*column)).collect()
}

/// `first, second, ...`
pub fn column_names<A: ActiveModelTrait>(columns: &[ColumnOf<A>]) -> String {
    columns.iter().map(IdenStatic::as_str).collect::<Vec<_>>().join(", ")
}
