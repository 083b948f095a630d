//! Form: the parameters of a request to an OAuth endpoint.

use std::borrow::Cow;

use bytes::Bytes;
use poem::http::HeaderMap;
use poem_openapi::registry::{MetaMediaType, MetaRequest};
use poem_openapi::types::Type;

use crate::http::body::media_type::{FORM, check_media_type};
use crate::http::body::reader::BodyReader;
use crate::http::problem::Problem;

/// The parameters that are known. Others are ignored (RFC 6749, section 3.2).
#[derive(Default)]
pub struct OAuthForm {
    token: Option<String>,
    pub client_secret: Option<String>,
}

/// Declares that an operation takes this form.
pub fn form_meta<F: Type>() -> MetaRequest {
    let content = vec![MetaMediaType { content_type: FORM, schema: F::schema_ref() }];
    MetaRequest { description: None, content, required: true }
}

/// A parameter that is sent at most once (RFC 6749, section 3.2).
const ONCE: [&str; 4] = ["token", "token_type_hint", "client_id", "client_secret"];

impl OAuthForm {
    pub async fn read(headers: &HeaderMap, body: BodyReader<'_>) -> Result<Self, Problem> {
        let bytes = body.read().await;
        check_form(headers)?;
        Self::parse(&bytes?)
    }

    fn parse(bytes: &Bytes) -> Result<Self, Problem> {
        let (mut form, mut seen) = (Self::default(), [false; ONCE.len()]);
        for (name, value) in form_urlencoded::parse(bytes) {
            let Some(index) = ONCE.iter().position(|known| *known == name) else { continue };
            if std::mem::replace(&mut seen[index], true) {
                return Err(Problem::bad_request(format!("Send the form field `{}` once.", ONCE[index])));
            }
            match ONCE[index] {
                "token" => form.token = non_empty(value),
                "client_secret" => form.client_secret = non_empty(value),
                _ => {}
            }
        }
        Ok(form)
    }

    pub fn token(self) -> Result<String, Problem> {
        self.token.ok_or_else(|| Problem::bad_request("Send the form field `token` once, with an API key."))
    }
}

/// A parameter without a value counts as omitted (RFC 6749, section 3.2).
fn non_empty(value: Cow<'_, str>) -> Option<String> {
    if value.is_empty() { None } else { Some(value.into_owned()) }
}

/// Rejects a body that is not a form. Does not look at the body.
pub fn check_form(headers: &HeaderMap) -> Result<(), Problem> {
    check_media_type(headers, &[FORM], &format!("Send a form, with `Content-Type: {FORM}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(form: &'static str) -> Result<(Option<String>, Option<String>), u16> {
        let parsed = OAuthForm::parse(&Bytes::from_static(form.as_bytes()));
        parsed.map(|form| (form.token, form.client_secret)).map_err(|problem| problem.status.as_u16())
    }

    #[test]
    fn parse_takes_each_known_field_once_and_ignores_others() {
        let some = |text: &str| Some(text.to_owned());
        for (form, expected) in [
            ("", Ok((None, None))),
            ("token=a", Ok((some("a"), None))),
            ("t%6Fken=%61+b&client_secret=mk%5F1&client_id=x&x=1&x=2", Ok((some("a b"), some("mk_1")))),
            ("token=&client_secret", Ok((None, None))),
            ("Token=a&token[]=b", Ok((None, None))),
            ("token=a&t%6Fken=", Err(400)),
            ("client_secret=&client_secret=", Err(400)),
            ("client_id=a&client_id=a", Err(400)),
            ("token_type_hint=&token_type_hint=", Err(400)),
        ] {
            assert_eq!(parse(form), expected, "{form}");
        }
    }
}
