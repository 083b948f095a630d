//! ObjectReader: takes the fields of a JSON object by name and collects every violation.

use poem_openapi::types::Type;
use serde_json::{Map, Value};

use crate::domain::validation::ValidationError;
use crate::http::problem::{JSON, Violation};
use crate::http::values::patch::Patch;
use crate::http::values::{FromJson, ValueError};
use crate::json::pointer::is_safe_to_echo;

/// A request schema that takes its members one by one. `None` means that [`ObjectReader`] holds at least one violation.
pub trait FromObject: Type + Sized {
    const MEDIA_TYPES: &'static [&'static str] = &[JSON];
    /// Whether no body at all is an empty object.
    const OPTIONAL: bool = false;

    fn from_object(members: &mut ObjectReader) -> Option<Self>;

    /// A quicker reading of a body that is as it should be, for an operation that is called often: the same without a
    /// tree in between. Whatever this does not take, the other reads again to say why.
    fn from_plain(_bytes: &[u8]) -> Option<Self> {
        None
    }
}

/// The members of a JSON object that nobody has taken yet, and what was wrong with those that were.
pub struct ObjectReader {
    pub(super) object: Map<String, Value>,
    pub(super) violations: Vec<Violation>,
}

impl ObjectReader {
    pub fn required<T: FromJson>(&mut self, name: &str) -> Option<T> {
        match self.object.remove(name) {
            Some(value) => self.parse(name, value),
            None => {
                self.break_rule(name, &ValidationError::new("is required"));
                None
            }
        }
    }

    /// An absent member is `Some(None)`.
    pub fn optional<T: FromJson>(&mut self, name: &str) -> Option<Option<T>> {
        match self.object.remove(name) {
            Some(value) => self.parse(name, value).map(Some),
            None => Some(None),
        }
    }

    pub fn break_rule(&mut self, name: &str, rule: &ValidationError) {
        self.violations.push(Violation::new(format!("/{name}"), rule.to_string()));
    }

    pub fn break_body(&mut self, rule: &ValidationError) {
        self.violations.push(Violation::new("", rule.to_string()));
    }

    /// Takes a field of a merge patch, which `null` clears.
    pub fn nullable<T: FromJson>(&mut self, name: &str) -> Option<Patch<T>> {
        match self.object.get(name) {
            Some(Value::Null) => {
                self.object.remove(name);
                Some(Patch::Clear)
            }
            _ => self.optional(name).map(|value| value.map_or(Patch::Absent, Patch::Set)),
        }
    }

    fn parse<T: FromJson>(&mut self, name: &str, value: Value) -> Option<T> {
        let flaw = |ValueError { below, rule }| Violation::new(format!("/{name}{below}"), rule.to_string());
        T::from_json(value).map_err(|flaws| self.violations.extend(flaws.into_iter().map(flaw))).ok()
    }

    pub(super) fn finish(self) -> Vec<Violation> {
        let unknown = self.object.keys().map(|name| match is_safe_to_echo(name) {
            true => Violation::new(format!("/{name}"), "is not a member of this body; leave it out"),
            false => Violation::new("", "has a member that is not known; leave it out"),
        });
        self.violations.into_iter().chain(unknown).collect()
    }
}
