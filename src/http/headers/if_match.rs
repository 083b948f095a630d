//! `If-Match`, and the `ETag` that it refers to.

use poem::http::header;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaParamIn, MetaSchema, MetaSchemaRef};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use crate::domain::precondition::{Precondition, RevisionTag};
use crate::http::problem::Problem;

/// `If-Match` (RFC 9110, section 13.1.1), of all fields of that name. Not poem-openapi's `Header`, which reads only the
/// first field and takes one that is not ASCII for absent: the request would then be executed without its condition.
pub struct IfMatch(pub Precondition);

impl<'a> ApiExtractor<'a> for IfMatch {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    type ParamType = ();
    type ParamRawType = ();

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Header)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        let pattern = r#"^(\*|(W/)?"[!#-~]*"(, *(W/)?"[!#-~]*")*)$"#.to_owned();
        // Without an example: Swagger UI would send it in every request.
        let schema = MetaSchema { pattern: Some(pattern), ..MetaSchema::new("string") };
        Some(MetaSchemaRef::Inline(Box::new(schema)))
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let mut fields = request.headers().get_all(header::IF_MATCH).iter().peekable();
        if fields.peek().is_none() {
            return Ok(Self(Precondition::None));
        }
        // Several fields are one list (RFC 9110, section 5.3).
        let list = fields.map(|field| field.as_bytes()).collect::<Vec<_>>().join(&b',');
        let precondition = parse_if_match(&list).ok_or_else(|| {
            Problem::bad_request(
                "Send the ETag of the key as If-Match, in its double quotes, such as \"1\"; or * for any revision.",
            )
        })?;
        Ok(Self(precondition))
    }
}

/// The `ETag` of a key with this revision.
pub fn entity_tag(revision: i64) -> String {
    format!("\"{revision}\"")
}

/// Parses `*` or a list of entity tags. `None` for anything else, also for an empty list: a client that sends one has lost
/// its tag.
fn parse_if_match(list: &[u8]) -> Option<Precondition> {
    if list.trim_ascii() == b"*" {
        return Some(Precondition::None);
    }
    let (mut tags, mut rest) = (Vec::new(), list.trim_ascii_start());
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(b",") {
            // Empty elements are ignored (RFC 9110, section 5.6.1.2).
            rest = after.trim_ascii_start();
            continue;
        }
        let (tag, after) = take_entity_tag(rest)?;
        tags.push(tag);
        rest = after.trim_ascii_start();
        if !rest.is_empty() && !rest.starts_with(b",") {
            return None;
        }
    }
    (!tags.is_empty()).then_some(Precondition::OneOf(tags))
}

/// Takes an entity tag (RFC 9110, section 8.8.3) from the front of a list. It may contain commas.
fn take_entity_tag(list: &[u8]) -> Option<(RevisionTag, &[u8])> {
    let (is_weak, quoted) = match list.strip_prefix(b"W/") {
        Some(quoted) => (true, quoted),
        None => (false, list),
    };
    let opaque = quoted.strip_prefix(b"\"")?;
    let length = opaque.iter().position(|byte| *byte == b'"')?;
    let (opaque, after) = (&opaque[..length], &opaque[length + 1..]);
    let is_valid = opaque.iter().all(|byte| matches!(byte, b'!' | b'#'..=b'~' | 0x80..));
    is_valid.then(|| (revision_tag(is_weak, opaque), after))
}

/// Recognizes the tags of this service, also when they were altered: a proxy that compresses makes a tag weak (nginx), or
/// appends the name of the coding, as in `"1-gzip"` (Apache), `"1--gzip"` (Jetty) and `"1;br"`.
fn revision_tag(is_weak: bool, opaque: &[u8]) -> RevisionTag {
    let Ok(opaque) = str::from_utf8(opaque) else { return RevisionTag::Unknown };
    let digits = opaque.len() - opaque.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, suffix) = opaque.split_at(digits);
    let Some(revision) = number.parse::<i64>().ok().filter(|revision| revision.to_string() == number) else {
        return RevisionTag::Unknown;
    };
    match (is_weak, suffix) {
        (false, "") => RevisionTag::Exact(revision),
        (true, "") => RevisionTag::Altered(format!("W/\"{opaque}\"")),
        (_, suffix) if is_coding_suffix(suffix) => {
            RevisionTag::Altered(format!("{}\"{opaque}\"", if is_weak { "W/" } else { "" }))
        }
        _ => RevisionTag::Unknown,
    }
}

/// True for a separator and the name of a coding. The length is limited because the tag is repeated in the response, which
/// must not repeat a credential.
fn is_coding_suffix(suffix: &str) -> bool {
    const MAX_BYTES: usize = 16;
    const SEPARATORS: &[u8] = b"-;:+.";
    suffix.len() <= MAX_BYTES
        && suffix.starts_with(|c: char| !c.is_ascii_alphanumeric())
        && suffix.ends_with(|c: char| c.is_ascii_alphanumeric())
        && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric() || SEPARATORS.contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::RevisionTag::{Exact, Unknown};
    use super::*;

    fn tags(list: &str) -> Option<Vec<RevisionTag>> {
        match parse_if_match(list.as_bytes())? {
            Precondition::None => Some(Vec::new()),
            Precondition::OneOf(tags) => Some(tags),
        }
    }

    #[test]
    fn if_match_is_a_star_or_a_list_of_tags() {
        for (list, expected) in [
            (" * ", vec![]),
            ("\"1\"", vec![Exact(1)]),
            (" \"1\" ,,\t\"22\",", vec![Exact(1), Exact(22)]),
            ("\"1,2\",\"3\"", vec![Unknown, Exact(3)]),
            ("\"\", \"x\", \"01\", \"+1\", \"*\", \"é\", \"99999999999999999999\", W/\"x\"", vec![Unknown; 8]),
        ] {
            assert_eq!(tags(list), Some(expected), "{list}");
        }
    }

    #[test]
    fn if_match_recognizes_tags_that_proxies_altered() {
        for tag in ["W/\"1\"", "\"1-gzip\"", "\"1--gzip\"", "\"1;br\"", "\"1:zstd\"", "W/\"1-gzip\"", "\"1-deflate\""] {
            assert_eq!(tags(tag), Some(vec![RevisionTag::Altered(tag.to_owned())]));
        }
        let secret = format!("\"1-mk_{}\"", "a".repeat(49));
        for tag in ["\"1gzip\"", "\"1-\"", "\"-gzip\"", &secret] {
            assert_eq!(tags(tag), Some(vec![Unknown]), "{tag}");
        }
    }

    #[test]
    fn if_match_rejects_what_is_no_list_of_tags() {
        for list in
            ["", " ", ",", "1", "garbage", "\"1", "1\"", "w/\"1\"", "W/ \"1\"", "\"a b\"", "\"1\" \"2\"", "*, \"1\""]
        {
            assert_eq!(tags(list), None, "{list}");
        }
    }

    proptest! {
        #[test]
        fn if_match_of_any_bytes_parses_without_a_panic(list in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse_if_match(&list);
        }
    }
}
