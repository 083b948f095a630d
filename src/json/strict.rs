//! A JSON object in which every field name occurs once.
//!
//! RFC 8259, section 4, leaves duplicate names open, and two readers that choose differently see two documents in one:
//! a proxy and this service (a request), or a verifier and an issuer (a token: RFC 8725, section 2.4). serde_json keeps
//! the last duplicate without a word, so requests and tokens are read here instead.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::json::numbers::{NumberTokens, is_exact, without_infinite};
use crate::json::pointer;

/// What to do with a name that occurs twice in one object, at any depth.
pub enum OnDuplicate<'p> {
    /// Fails with [`JsonError::Malformed`] at the second occurrence.
    Fail,
    /// Keeps the last value and adds a pointer for each further occurrence. Numbers that cannot be kept are found, too.
    Collect(&'p mut Findings),
}

/// What is wrong with a body although it is a JSON object, as pointers (RFC 6901).
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    pub duplicates: Vec<String>,
    /// Numbers that would come back with another value.
    pub inexact_numbers: Vec<String>,
}

/// A text that is not a JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum JsonError {
    /// No bytes, or white space alone.
    #[error("empty")]
    Empty,
    /// JSON of another type.
    #[error("not an object")]
    NotAnObject,
    /// Not JSON (RFC 8259), or a duplicate name under [`OnDuplicate::Fail`].
    #[error("malformed at line {line}, column {column}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// In bytes, counted from 1; 0 at the start of a line.
        column: usize,
    },
}

/// Parses one JSON object and nothing after it.
pub fn parse_object(bytes: &[u8], on_duplicate: OnDuplicate<'_>) -> Result<Map<String, Value>, JsonError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(JsonError::Empty);
    }
    let readable = match on_duplicate {
        OnDuplicate::Fail => Cow::Borrowed(bytes),
        OnDuplicate::Collect(_) => without_infinite(bytes),
    };
    let shared = Shared { on_duplicate: on_duplicate.into(), numbers: NumberTokens::of(bytes).into() };
    let mut json = serde_json::Deserializer::from_slice(&readable);
    let value = Reader { path: Path::Root, shared: &shared }.deserialize(&mut json);
    match value.and_then(|value| json.end().map(|()| value)) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(JsonError::NotAnObject),
        Err(error) => Err(JsonError::Malformed { line: error.line(), column: error.column() }),
    }
}

/// Reads the value at `path`.
struct Reader<'r, 'p> {
    path: Path<'r>,
    shared: &'r Shared<'p>,
}

struct Shared<'p> {
    on_duplicate: RefCell<OnDuplicate<'p>>,
    /// Those that have not been read.
    numbers: Cell<NumberTokens<'p>>,
}

/// A pointer as links to the parents, on the stack. Duplicates are rare, and formatting a pointer for every field took a
/// third of the time of reading a body.
#[derive(Clone, Copy)]
enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl Path<'_> {
    fn pointer(&self) -> String {
        match *self {
            Self::Root => String::new(),
            Self::Field(parent, name) => pointer::field(&parent.pointer(), name),
            Self::Item(parent, index) => pointer::child(&parent.pointer(), index),
        }
    }
}

/// Returns the reader of a value within the one that `parent` reads.
fn reader_at<'c, 'p>(parent: &Reader<'c, 'p>, path: Path<'c>) -> Reader<'c, 'p> {
    Reader { path, shared: parent.shared }
}

impl Reader<'_, '_> {
    fn report_duplicate<E: serde::de::Error>(&self) -> Result<(), E> {
        match &mut *self.shared.on_duplicate.borrow_mut() {
            OnDuplicate::Fail => Err(E::custom("a duplicate field")),
            OnDuplicate::Collect(findings) => {
                findings.duplicates.push(self.path.pointer());
                Ok(())
            }
        }
    }

    fn check_number(&self) {
        let OnDuplicate::Collect(findings) = &mut *self.shared.on_duplicate.borrow_mut() else { return };
        let mut numbers = self.shared.numbers.get();
        if !numbers.next().is_none_or(is_exact) {
            findings.inexact_numbers.push(self.path.pointer());
        }
        self.shared.numbers.set(numbers);
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            match object.entry(name) {
                Entry::Vacant(entry) => {
                    let field = reader_at(&self, Path::Field(&self.path, entry.key()));
                    let value = access.next_value_seed(field)?;
                    entry.insert(value);
                }
                Entry::Occupied(mut entry) => {
                    let field = reader_at(&self, Path::Field(&self.path, entry.key()));
                    field.report_duplicate()?;
                    let value = access.next_value_seed(field)?;
                    entry.insert(value);
                }
            }
        }
        Ok(Value::Object(object))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(reader_at(&self, Path::Item(&self.path, items.len())))? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        self.check_number();
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        self.check_number();
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        self.check_number();
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn findings(json: &str) -> Findings {
        let mut findings = Findings::default();
        parse_object(json.as_bytes(), OnDuplicate::Collect(&mut findings)).unwrap();
        findings
    }

    fn duplicates(json: &str) -> Vec<String> {
        findings(json).duplicates
    }

    #[test]
    fn parse_object_keeps_every_value() {
        let text = r#"{"a":[1,-2,0.5,true,null,"x"],"b":{"c":"\u00e9"}}"#;
        let object = parse_object(text.as_bytes(), OnDuplicate::Fail).unwrap();
        assert_eq!(Value::Object(object), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn parse_object_collects_duplicates_at_any_depth() {
        assert_eq!(duplicates(r#"{"name":"a","name":"b"}"#), ["/name"]);
        assert_eq!(duplicates(r#"{"metadata":{"a":[{"b":1,"b":1}]}}"#), ["/metadata/a/0/b"]);
        assert_eq!(duplicates(r#"{"a":{"x":1},"b":{"x":1}}"#), [""; 0]);
    }

    #[test]
    fn parse_object_does_not_echo_a_name_that_could_be_a_credential() {
        let secret = format!("mk_{}", "a".repeat(49));
        assert_eq!(duplicates(&format!(r#"{{"{secret}":1,"{secret}":2}}"#)), [""]);
    }

    #[test]
    fn parse_object_finds_numbers_that_would_change() {
        let text = r#"{"a":[1,1e400,{"b":18446744073709551616}],"5":2.5,"c":-0,"d":[0.1,1e-400]}"#;
        assert_eq!(findings(text).inexact_numbers, ["/a/1", "/a/2/b", "/c", "/d/1"]);
        let error = parse_object(br#"{"a":1e400}"#, OnDuplicate::Fail).unwrap_err();
        assert!(matches!(error, JsonError::Malformed { .. }), "{error:?}");
    }

    #[test]
    fn parse_object_fails_on_the_first_duplicate() {
        for json in [r#"{"a":1,"a":1}"#, r#"{"a":{"b":1,"b":2}}"#, r#"{"a":[{"b":1,"\u0062":2}]}"#] {
            let error = parse_object(json.as_bytes(), OnDuplicate::Fail).unwrap_err();
            assert!(matches!(error, JsonError::Malformed { .. }), "{json}: {error:?}");
        }
    }

    #[test]
    fn parse_object_rejects_what_is_not_one_object() {
        let parse = |json: &[u8]| parse_object(json, OnDuplicate::Collect(&mut Findings::default())).unwrap_err();
        for json in ["", "  "] {
            assert_eq!(parse(json.as_bytes()), JsonError::Empty, "{json:?}");
        }
        for json in ["[]", "[\"x\"]", "null", "5", "\"x\""] {
            assert_eq!(parse(json.as_bytes()), JsonError::NotAnObject, "{json}");
        }
        for json in
            ["{", "{} {}", "{\"a\":1} {}", "{\"a\":1,}", "{'a':1}", "\u{feff}{}", "{\"a\":01}", "{\"a\":\"\\ud800\"}"]
        {
            assert!(matches!(parse(json.as_bytes()), JsonError::Malformed { .. }), "{json}");
        }
        assert_eq!(parse(b"{\"a\":\n\"\xff\"}"), JsonError::Malformed { line: 2, column: 2 });
    }

    proptest! {
        #[test]
        fn parse_object_of_any_bytes_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_object(&bytes, OnDuplicate::Collect(&mut Findings::default()));
        }

        #[test]
        fn parse_object_returns_what_was_written(fields in prop::collection::btree_map("[a-z]{1,5}", "\\PC{0,8}", 0..5)) {
            let value: Value = fields.into_iter().collect();
            let mut findings = Findings::default();
            let read = parse_object(value.to_string().as_bytes(), OnDuplicate::Collect(&mut findings)).unwrap();
            prop_assert_eq!(Value::Object(read), value);
            prop_assert_eq!(findings, Findings::default());
        }
    }
}
