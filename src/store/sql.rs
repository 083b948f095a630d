//! Written statements: text with its values, for what is asked so often, or for so many, that to build it of expressions
//! takes longer than the database takes to carry it out.

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
                    self.sql.push('$');
                    self.sql.push_str(itoa::Buffer::new().format(self.values.len()));
                }
                _ => self.sql.push('?'),
            }
        }
        self.text(")")
    }

    /// `INSERT INTO … VALUES …` of rows that set the same columns. There is at least one.
    pub fn insert<A: ActiveModelTrait>(mut self, rows: impl IntoIterator<Item = A>) -> Self {
        let mut rows = rows.into_iter().peekable();
        let first = rows.peek().expect("a row at least");
        let columns: Vec<_> =
            <A::Entity as EntityTrait>::Column::iter().filter(|column| !first.is_not_set(*column)).collect();
        let names: Vec<_> = columns.iter().map(IdenStatic::as_str).collect();
        let text = format!("INSERT INTO {} ({}) ", A::Entity::default().table_name(), names.join(", "));
        let values = rows.size_hint().0 * columns.len();
        self.values.reserve(values);
        self.sql.reserve("$100, ".len() * values);
        self = self.text(&text);
        for (place, mut row) in rows.enumerate() {
            let row = columns.iter().map(|column| row.take(*column).into_value().expect("the columns of the first"));
            self = self.text(if place == 0 { "VALUES " } else { ", " }).list(row);
        }
        self
    }

    pub fn statement(self) -> Statement {
        Statement::from_sql_and_values(self.backend, self.sql, self.values)
    }
}
