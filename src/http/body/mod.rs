//! Body: JSON in and JSON out.
//!
//! poem-openapi's own `Json` has no size limit, coerces numbers to strings, lets unknown and duplicate members pass and
//! answers everything with 400 in its own words. This one takes each member by name, collects every violation with its
//! pointer, and says the rule instead of the parser's state.

use std::marker::PhantomData;

use bytes::Bytes;
use poem::http::{StatusCode, header};
use poem::{IntoResponse, Request, RequestBody, Response};
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchemaRef, Registry};
use poem_openapi::types::{ToJSON, Type};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::validation::ValidationError;
use crate::http::problem::{JSON, Problem, Violation};
use crate::http::values::{FromJson, ValueError};
use crate::json::pointer::is_safe_to_echo;
use crate::json::strict::{JsonError, OnDuplicate, parse_object};
use buffer::BufferedBody;

pub mod buffer;

/// The body of a request.
pub struct JsonRequest<T> {
    pub value: T,
    pub bytes: Bytes,
}

/// The body of an answer.
pub struct JsonResponse<T>(pub T);

/// The same, written already. poem-openapi makes a tree of an answer before it writes it; one that is given often is
/// written without.
pub struct PreserializedJson<T> {
    json: Vec<u8>,
    schema: PhantomData<T>,
}

impl<T: Serialize> From<&T> for PreserializedJson<T> {
    fn from(answer: &T) -> Self {
        // Room for most, so that it is not moved while it grows.
        let mut json = Vec::with_capacity(512);
        serde_json::to_writer(&mut json, answer).expect("an answer can always be written");
        Self { json, schema: PhantomData }
    }
}

/// RFC 7396.
pub const MERGE_PATCH: &str = "application/merge-patch+json";

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

/// An object of these members alone, each once. serde would take an array for it, too.
pub fn plain<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    if bytes.first() == Some(&b'{') { serde_json::from_slice(bytes).ok() } else { None }
}

/// The members of a JSON object that nobody has taken yet, and what was wrong with those that were.
pub struct ObjectReader {
    object: Map<String, Value>,
    violations: Vec<Violation>,
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

    /// A member that a patch may also clear: `null` is `Some(Some(None))`.
    pub fn clearable<T: FromJson>(&mut self, name: &str) -> Option<Option<Option<T>>> {
        match self.object.get(name) {
            Some(Value::Null) => {
                self.object.remove(name);
                Some(Some(None))
            }
            _ => self.optional(name).map(|value| value.map(Some)),
        }
    }

    fn parse<T: FromJson>(&mut self, name: &str, value: Value) -> Option<T> {
        let flaw = |ValueError { below, rule }| Violation::new(format!("/{name}{below}"), rule.to_string());
        T::from_json(value).map_err(|flaws| self.violations.extend(flaws.into_iter().map(flaw))).ok()
    }

    fn finish(self) -> Vec<Violation> {
        let unknown = self.object.keys().map(|name| match is_safe_to_echo(name) {
            true => Violation::new(format!("/{name}"), "is not a member of this body; leave it out"),
            false => Violation::new("", "has a member that is not known; leave it out"),
        });
        self.violations.into_iter().chain(unknown).collect()
    }
}

impl<T: FromObject> JsonRequest<T> {
    pub fn read(request: &Request, received: BufferedBody) -> Result<Self, Problem> {
        let bytes = received.into_bytes();
        let absent = T::OPTIONAL && bytes.as_ref().is_ok_and(Bytes::is_empty);
        if !absent {
            check_media_type(request, T::MEDIA_TYPES)?;
        }
        let bytes = bytes?;
        if let Some(value) = T::from_plain(&bytes) {
            return Ok(Self { value, bytes });
        }
        let mut duplicates = Vec::new();
        let object = if absent { Map::new() } else { parse_object(&bytes, OnDuplicate::Collect(&mut duplicates))? };
        let duplicate = |pointer| Violation::new(pointer, "appears more than once; send each field once");
        let mut violations: Vec<_> = duplicates.into_iter().map(duplicate).collect();
        let mut members = ObjectReader { object, violations: Vec::new() };
        let value = T::from_object(&mut members);
        violations.extend(members.finish());
        match value {
            Some(value) if violations.is_empty() => Ok(Self { value, bytes }),
            _ => Err(Problem::unprocessable(violations)),
        }
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

fn check_media_type(request: &Request, taken: &[&str]) -> Result<(), Problem> {
    let unsupported = |detail| Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        return unsupported("Send the body as it is, without a Content-Encoding.");
    }
    let mut declared = request.headers().get_all(header::CONTENT_TYPE).iter();
    match (declared.next(), declared.next()) {
        (Some(only), None) if only.to_str().is_ok_and(|declared| is_one_of(declared, taken)) => Ok(()),
        _ => unsupported("Send the body as JSON, with `Content-Type: application/json`."),
    }
}

/// With no parameter but a charset of UTF-8, which is all that RFC 8259, section 8.1, allows.
fn is_one_of(content_type: &str, taken: &[&str]) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    parts.next().is_some_and(|media_type| taken.iter().any(|taken| media_type.eq_ignore_ascii_case(taken)))
        && parts.all(|parameter| {
            parameter.is_empty()
                || parameter.split_once('=').is_some_and(|(name, value)| {
                    name.eq_ignore_ascii_case("charset") && value.trim_matches('"').eq_ignore_ascii_case("utf-8")
                })
        })
}

impl<'a, T: FromObject> ApiExtractor<'a> for JsonRequest<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        // What else is taken is told in words: some generators cannot choose.
        let content = vec![MetaMediaType { content_type: JSON, schema: T::schema_ref() }];
        Some(MetaRequest { description: None, content, required: !T::OPTIONAL })
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        Ok(Self::read(request, BufferedBody::of(request))?)
    }
}

impl<T: Type> Payload for JsonResponse<T> {
    const CONTENT_TYPE: &'static str = JSON;

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Type> Payload for PreserializedJson<T> {
    const CONTENT_TYPE: &'static str = JSON;

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Send> IntoResponse for PreserializedJson<T> {
    fn into_response(self) -> Response {
        Response::builder().content_type(JSON).body(self.json)
    }
}

impl<T: ToJSON> IntoResponse for JsonResponse<T> {
    fn into_response(self) -> Response {
        Response::builder().content_type(JSON).body(self.0.to_json_string())
    }
}
