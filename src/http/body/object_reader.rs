//! ObjectReader: takes the fields of a JSON object by name and collects every violation.

use std::fmt;

use poem_openapi::types::Type;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::domain::excerpt::Excerpt;
use crate::domain::validation::ValidationError;
use crate::http::problem::{JSON, Problem, Violation};
use crate::http::values::patch::Patch;
use crate::http::values::{FromJson, ValueError};
use crate::json::pointer::is_safe_to_echo;
use crate::json::strict::{Findings, JsonError, OnDuplicate, parse_object};

/// A request schema that takes its fields one by one. `None` means that [`ObjectReader`] holds at least one violation.
pub trait FromObject: Type + Sized {
    const MEDIA_TYPES: &'static [&'static str] = &[JSON];
    /// True if a missing body counts as an empty object.
    const OPTIONAL: bool = false;

    fn from_object(fields: &mut ObjectReader) -> Option<Self>;

    /// Reads a valid body without building a tree, for an operation that gateways call on every request. Returns `None`
    /// for a body that it does not accept, valid or not: [`FromObject::from_object`] then reads it, and reports errors.
    fn parse_fast(_bytes: &[u8]) -> Option<Self> {
        None
    }
}

/// Reads a JSON object into a struct, for [`FromObject::parse_fast`]. serde alone would accept an array for a struct.
pub fn deserialize_object<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    if bytes.first() == Some(&b'{') { serde_json::from_slice(bytes).ok() } else { None }
}

/// The fields of a JSON object that have not been taken yet, and the violations in those that have.
pub struct ObjectReader {
    object: Map<String, Value>,
    violations: Vec<Violation>,
}

/// What a violation shows of the value that caused it: a value that is short, else its size, so that neither a long text
/// nor a credential in the wrong place is sent back.
enum Seen {
    Short(Value),
    Text(usize),
    Array(usize),
    Object(usize),
}

impl Seen {
    /// In characters.
    const MAX_SHORT: usize = 40;

    fn of(value: &Value) -> Self {
        match value {
            Value::Array(items) => Self::Array(items.len()),
            Value::Object(members) => Self::Object(members.len()),
            Value::String(text) => match text.chars().count() {
                0..=Self::MAX_SHORT => Self::Short(value.clone()),
                length => Self::Text(length),
            },
            other => Self::Short(other.clone()),
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(value) => Excerpt::of(Some(value)).fmt(f),
            Self::Text(length) => write!(f, "a string of {length} characters"),
            Self::Array(length) => write!(f, "an array of {length}"),
            Self::Object(length) => write!(f, "an object of {length}"),
        }
    }
}

/// Reads a body into a request schema, or reports every violation in it.
pub fn parse_body<T: FromObject>(bytes: &[u8]) -> Result<T, Problem> {
    match T::parse_fast(bytes) {
        Some(value) => Ok(value),
        None => parse_tree(bytes),
    }
}

#[inline(never)]
fn parse_tree<T: FromObject>(bytes: &[u8]) -> Result<T, Problem> {
    let mut findings = Findings::default();
    let object = match bytes {
        [] if T::OPTIONAL => Map::new(),
        bytes => parse_object(bytes, OnDuplicate::Collect(&mut findings))?,
    };
    let duplicate = |pointer| Violation::new(pointer, "appears more than once; send each field once");
    let inexact =
        |pointer| Violation::new(pointer, "is a number that would come back with another value; send it as a string");
    let duplicates = findings.duplicates.into_iter().map(duplicate);
    let mut fields = ObjectReader { object, violations: duplicates.collect() };
    let value = T::from_object(&mut fields);
    let mut violations = fields.finish();
    // A field that takes no such number says so itself.
    let is_reported = |pointer: &String| violations.iter().any(|violation| violation.pointer == *pointer);
    let others: Vec<_> = findings.inexact_numbers.into_iter().filter(|pointer| !is_reported(pointer)).collect();
    violations.extend(others.into_iter().map(inexact));
    match value {
        Some(value) if violations.is_empty() => Ok(value),
        _ => Err(Problem::unprocessable(violations)),
    }
}

impl From<JsonError> for Problem {
    fn from(error: JsonError) -> Self {
        Self::bad_request(match error {
            JsonError::Empty => "The body is empty; send a JSON object.".into(),
            JsonError::NotAnObject => "The body is JSON, but not an object; send a JSON object.".into(),
            JsonError::Malformed { line, column } => {
                format!("The body is not well-formed JSON: look at line {line}, column {column}.")
            }
        })
    }
}

impl ObjectReader {
    /// Takes a field that must be present.
    pub fn required<T: FromJson>(&mut self, name: &str) -> Option<T> {
        match self.object.remove(name) {
            Some(value) => self.parse(name, value),
            None => {
                self.add_error(name, &ValidationError::new("is required"));
                None
            }
        }
    }

    /// Takes a field that may be absent: then it is `Some(None)`. `null` counts as absent, because many generated clients
    /// send every field that was not set so.
    pub fn optional<T: FromJson>(&mut self, name: &str) -> Option<Option<T>> {
        match self.object.remove(name) {
            None | Some(Value::Null) => Some(None),
            Some(value) => self.parse(name, value).map(Some),
        }
    }

    /// Adds a violation by a field.
    pub fn add_error(&mut self, name: &str, rule: &ValidationError) {
        self.violations.push(Violation::new(format!("/{name}"), rule.to_string()));
    }

    /// Adds a violation by the body as a whole.
    pub fn add_body_error(&mut self, rule: &ValidationError) {
        self.violations.push(Violation::new("", rule.to_string()));
    }

    /// Takes a field of a merge patch, which `null` clears.
    pub fn clearable<T: FromJson>(&mut self, name: &str) -> Option<Patch<T>> {
        match self.object.remove(name) {
            None => Some(Patch::Absent),
            Some(Value::Null) => Some(Patch::Clear),
            Some(value) => self.parse(name, value).map(Patch::Set),
        }
    }

    /// Takes a field of a merge patch that always has a value, so that `null` is an error.
    pub fn not_clearable<T: FromJson>(&mut self, name: &str) -> Option<Option<T>> {
        match self.object.remove(name) {
            None => Some(None),
            Some(value) => self.parse(name, value).map(Some),
        }
    }

    fn parse<T: FromJson>(&mut self, name: &str, value: Value) -> Option<T> {
        let seen = Seen::of(&value);
        let violation = |ValueError { path, rule }| {
            let detail = if path.is_empty() { format!("{rule}; it is {seen}") } else { rule.to_string() };
            Violation::new(format!("/{name}{path}"), detail)
        };
        T::from_json(value).map_err(|errors| self.violations.extend(errors.into_iter().map(violation))).ok()
    }

    /// Returns the violations, and one for each field that was not taken.
    fn finish(self) -> Vec<Violation> {
        let unknown = self.object.keys().map(|name| match is_safe_to_echo(name) {
            true => Violation::new(format!("/{name}"), "is an unknown field; omit it"),
            false => Violation::new("", "has an unknown field; omit it"),
        });
        self.violations.into_iter().chain(unknown).collect()
    }
}
