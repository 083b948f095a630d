//! Content-Type and Content-Encoding of a body.

use poem::http::{HeaderMap, HeaderValue, header};

use crate::domain::excerpt::Excerpt;
use crate::http::problem::Problem;

/// RFC 7396.
pub const MERGE_PATCH: &str = "application/merge-patch+json";

/// The media type of HTML forms, in which OAuth sends parameters.
pub const FORM: &str = "application/x-www-form-urlencoded";

/// Checks that a body has one of the accepted media types and no encoding. Otherwise the error gives the advice.
pub fn check_media_type(headers: &HeaderMap, accepted: &[&str], advice: &str) -> Result<(), Problem> {
    if let Some(coding) = headers.get(header::CONTENT_ENCODING) {
        return Err(Problem::unsupported_media_type(format!(
            "Send the body unencoded, without a Content-Encoding header; this one is {}.",
            shown(coding)
        )));
    }
    let mut declared = headers.get_all(header::CONTENT_TYPE).iter();
    let seen = match (declared.next(), declared.next()) {
        (Some(only), None) if only.to_str().is_ok_and(|declared| is_one_of(declared, accepted)) => return Ok(()),
        (Some(only), None) => format!("this one is {}", shown(only)),
        (Some(_), Some(_)) => "there are several".to_owned(),
        (None, _) => "there is none".to_owned(),
    };
    Err(Problem::unsupported_media_type(format!("{advice}; {seen}.")))
}

/// A header's value, for the response.
fn shown(value: &HeaderValue) -> Excerpt {
    Excerpt::of_text(Some(&String::from_utf8_lossy(value.as_bytes())))
}

/// True without parameters other than a charset of UTF-8, the only encoding of JSON (RFC 8259, section 8.1). Forms are
/// ASCII and have no parameters, but clients add the charset of the text that they encoded.
fn is_one_of(content_type: &str, accepted: &[&str]) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    accepted.iter().any(|accepted| media_type.eq_ignore_ascii_case(accepted))
        && (media_type.eq_ignore_ascii_case(FORM)
            || parts.all(|parameter| {
                parameter.is_empty()
                    || parameter.split_once('=').is_some_and(|(name, value)| {
                        name.eq_ignore_ascii_case("charset") && value.trim_matches('"').eq_ignore_ascii_case("utf-8")
                    })
            }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = "application/json";

    fn check(content_types: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for content_type in content_types {
            headers.append(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        check_media_type(&headers, &[FORM, JSON], "advice").is_ok()
    }

    #[test]
    fn check_media_type_accepts_one_declaration_in_utf_8() {
        for accepted in [
            FORM,
            "Application/X-WWW-Form-Urlencoded",
            "application/x-www-form-urlencoded; charset=\"UTF-8\"",
            "application/x-www-form-urlencoded; charset=ISO-8859-1",
            JSON,
            "Application/JSON;charset=utf-8",
        ] {
            assert!(check(&[accepted]), "{accepted}");
        }
        assert!(!check(&[]));
        assert!(!check(&[FORM, FORM]));
        for rejected in ["text/plain", "", "application/json; charset=latin1", "application/x-www-form-urlencoded2"] {
            assert!(!check(&[rejected]), "{rejected}");
        }
    }

    #[test]
    fn check_media_type_shows_what_was_declared() {
        let detail = |declared: &[&'static str]| {
            let values = declared.iter().map(|value| (header::CONTENT_TYPE, HeaderValue::from_static(value)));
            let error = check_media_type(&values.collect(), &[FORM], "Send a form").unwrap_err();
            error.into_json("r")["detail"].as_str().unwrap().to_owned()
        };
        assert_eq!(detail(&[]), "Send a form; there is none.");
        assert_eq!(detail(&["text/plain"]), "Send a form; this one is \"text/plain\".");
    }

    #[test]
    fn check_media_type_rejects_an_encoded_body() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(FORM));
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(check_media_type(&headers, &[FORM], "advice").unwrap_err().status, 415);
    }
}
