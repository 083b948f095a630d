//! Strict: JSON in which every object has each member once. RFC 8259, section 4, leaves duplicates open, and two readers
//! that choose differently see two requests in one.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::http::body::is_plain;
use crate::http::problem::{Problem, Violation};

/// The object, and a violation for each member that stands in it twice, at any depth.
pub fn object(bytes: &[u8]) -> Result<(Map<String, Value>, Vec<Violation>), Problem> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Problem::bad_request("The body is empty; send a JSON object."));
    }
    let violations = RefCell::default();
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { pointer: String::new(), violations: &violations }.deserialize(&mut json);
    match value.and_then(|value| json.end().map(|()| value)) {
        Ok(Value::Object(object)) => Ok((object, violations.into_inner())),
        Ok(_) => Err(Problem::bad_request("The body is JSON, but not an object; send a JSON object.")),
        Err(error) => Err(Problem::bad_request(format!(
            "The body is not well-formed JSON: look at line {}, column {}.",
            error.line(),
            error.column()
        ))),
    }
}

struct Strict<'v> {
    pointer: String,
    violations: &'v RefCell<Vec<Violation>>,
}

impl Strict<'_> {
    fn below(&self, step: impl fmt::Display) -> Self {
        Strict { pointer: format!("{}/{step}", self.pointer), violations: self.violations }
    }

    /// Below a member whose name cannot be repeated to the client, the pointer stays at the object.
    fn below_member(&self, name: &str) -> Self {
        if is_plain(name) {
            self.below(name)
        } else {
            Strict { pointer: self.pointer.clone(), violations: self.violations }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            let member = self.below_member(&name);
            if object.contains_key(&name) {
                self.violations
                    .borrow_mut()
                    .push(Violation::new(member.pointer.clone(), "stands there more than once; send each member once"));
            }
            let value = access.next_value_seed(member)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self.below(items.len()))? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
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

    fn pointers(json: &str) -> Vec<String> {
        object(json.as_bytes()).unwrap().1.into_iter().map(|violation| violation.pointer).collect()
    }

    #[test]
    fn duplicates_are_found_at_any_depth() {
        assert_eq!(pointers(r#"{"name":"a","name":"b"}"#), ["/name"]);
        assert_eq!(pointers(r#"{"metadata":{"a":[{"b":1,"b":1}]}}"#), ["/metadata/a/0/b"]);
        assert_eq!(pointers(r#"{"a":{"x":1},"b":{"x":1}}"#), [""; 0]);
    }

    #[test]
    fn a_name_that_could_be_a_credential_is_not_repeated() {
        let secret = format!("mk_{}", "a".repeat(49));
        assert_eq!(pointers(&format!(r#"{{"{secret}":1,"{secret}":2}}"#)), [""]);
    }

    #[test]
    fn what_is_not_one_object_is_a_bad_request() {
        for json in [
            "",
            "  ",
            "{",
            "[]",
            "[\"x\"]",
            "null",
            "5",
            "\"x\"",
            "{} {}",
            "{\"a\":1,}",
            "{'a':1}",
            "\u{feff}{}",
            "{\"a\":01}",
        ] {
            let problem = object(json.as_bytes()).unwrap_err();
            assert_eq!(problem.status, 400, "{json}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}").unwrap_err().status, 400);
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = object(&bytes);
        }

        #[test]
        fn an_object_comes_through_unchanged(members in prop::collection::btree_map("[a-z]{1,5}", "\\PC{0,8}", 0..5)) {
            let value: Value = members.into_iter().collect();
            let (read, violations) = object(value.to_string().as_bytes()).unwrap();
            prop_assert_eq!(Value::Object(read), value);
            prop_assert!(violations.is_empty());
        }
    }
}
