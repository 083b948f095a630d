//! Client: how the client of an OAuth endpoint authenticates (RFC 6749, section 2.3.1).
//!
//! The credential is one of this service, an API key or an access token of a trusted issuer, in one of three places:
//! `Authorization: Bearer`, the password of `Authorization: Basic`, or the form field `client_secret`. The user name and
//! `client_id` are ignored: the credential alone says who the client is.

use std::str;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use poem::http::HeaderMap;
use poem_openapi::registry::{MetaSecurityScheme, Registry};

use crate::api::auth::{
    HeaderFault, authorization, bearer_credential, bearer_scheme, credential_of_scheme, within_limit,
};
use crate::api::oauth::form::OAuthForm;
use crate::api::oauth::problem::missing_client_credential;
use crate::http::problem::Problem;

/// The schemes of [`header_credential`]. The form field is described with the form: OpenAPI has no scheme for it.
pub const SECURITY_SCHEMES: [&str; 2] = ["bearer", "basic"];

pub fn register_security_schemes(registry: &mut Registry) {
    registry.create_security_scheme("bearer", bearer_scheme());
    registry.create_security_scheme(
        "basic",
        MetaSecurityScheme {
            ty: "http",
            description: Some(
                "Any user name, and as password an API key of this service or an access token. For OAuth clients: the two \
                 operations under `/oauth/` alone take it.",
            ),
            name: None,
            key_in: None,
            scheme: Some("basic"),
            bearer_format: None,
            flows: None,
            openid_connect_url: None,
        },
    );
}

/// Returns the credential of the `Authorization` header, if there is one.
pub fn header_credential(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(authorization) = authorization(headers)? else { return Ok(None) };
    let credential = match (bearer_credential(authorization), credential_of_scheme("basic", authorization)) {
        (Some(credential), _) => credential.to_owned(),
        (None, Some(encoded)) if !encoded.is_empty() => password(encoded)?,
        (None, _) => String::new(),
    };
    if credential.is_empty() { Err(missing_client_credential()) } else { Ok(Some(within_limit(credential)?)) }
}

/// Returns the credential of the request, in its header or its form. Several have to be equal, because a proxy in front
/// may have checked another one.
pub fn client_credential(in_header: Option<String>, form: &OAuthForm) -> Result<Option<String>, Problem> {
    match (in_header, &form.client_secret) {
        (Some(header), Some(field)) if header != *field => Err(Problem::bad_request(
            "The Authorization header and the form field `client_secret` differ; send the credential in one of them.",
        )),
        (Some(header), _) => Ok(Some(header)),
        (None, field) => Ok(field.clone().map(within_limit).transpose()?),
    }
}

/// Decodes with and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Returns the password of Basic credentials (RFC 7617), form-decoded as RFC 6749, section 2.3.1 says. A client that does
/// not encode it gets the same, because no credential has a character that would be encoded otherwise.
fn password(encoded: &str) -> Result<String, HeaderFault> {
    let decoded = BASE64.decode(encoded).map_err(|_| HeaderFault::Malformed)?;
    // No credential has a colon, and a user name that is not form-encoded can have one, in any encoding.
    let password = decoded.rsplit(|byte| *byte == b':').next().filter(|password| password.len() < decoded.len());
    let password = str::from_utf8(password.ok_or(HeaderFault::Malformed)?).map_err(|_| HeaderFault::Malformed)?;
    let spaced = password.replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8();
    Ok(decoded.map_err(|_| HeaderFault::Malformed)?.into_owned())
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose;
    use poem::http::{HeaderValue, header};

    use super::*;

    /// The credential, or the status of the rejection.
    fn credential_in(headers: &[&[u8]]) -> Result<Option<String>, u16> {
        let mut map = HeaderMap::new();
        for value in headers {
            map.append(header::AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        header_credential(&map).map_err(|problem| problem.status.as_u16())
    }

    fn basic(user_and_password: impl AsRef<[u8]>) -> String {
        format!("Basic {}", general_purpose::STANDARD.encode(user_and_password))
    }

    #[test]
    fn header_credential_is_bearer_or_the_password_of_basic() {
        for (header, expected) in [
            ("Bearer mk_1", "mk_1"),
            ("bearer  mk_1 ", "mk_1"),
            (&basic("gateway:mk_1"), "mk_1"),
            (&basic(":mk_1"), "mk_1"),
            (&basic("a%3Ab:mk%5F1"), "mk_1"),
            (&basic("urn:gateway:mk_1"), "mk_1"),
            (&basic(b"\xe9:mk_1"), "mk_1"),
            (&basic("a:b%3Ac+d%2Be"), "b:c d+e"),
            (&basic("a:%zz%"), "%zz%"),
            (&basic("é:mk_1"), "mk_1"),
            (&basic("a:mk_1").replace("Basic ", "bASIC   "), "mk_1"),
            (basic("a:mk_12").trim_end_matches('='), "mk_12"),
            (basic("a:mk_1").trim_end_matches('='), "mk_1"),
        ] {
            assert_eq!(credential_in(&[header.as_bytes()]), Ok(Some(expected.to_owned())), "{header}");
        }
        assert_eq!(credential_in(&[]), Ok(None));
    }

    #[test]
    fn header_credential_of_another_form_is_401() {
        for header in [
            "",
            "Bearer",
            "Bearer ",
            "Basic",
            "Basic ",
            "Basic mk_1",
            "Basic a:b",
            "Basic YTpi YTpi",
            "Basic Og==",
            "Digest YTpi",
            "BasicYTpi",
            &basic("mk_1"),
            &basic(b"a:\xff"),
            &basic("a:%FF"),
            &basic("mk_1:"),
            &basic(format!("a:{}", "x".repeat(16 * 1024 + 1))),
        ] {
            assert_eq!(credential_in(&[header.as_bytes()]), Err(401), "{header}");
        }
        assert_eq!(credential_in(&[b"Basic \xff"]), Err(401));
        assert_eq!(credential_in(&[b"Bearer a", b"Bearer a"]), Err(400));
        assert_eq!(credential_in(&[basic("a:b").as_bytes(), b"Bearer b"]), Err(400));
    }

    #[test]
    fn credential_in_two_places_has_to_be_the_same() {
        let taken = |header: Option<&str>, field: Option<&str>| {
            let mut form = OAuthForm::default();
            form.client_secret = field.map(str::to_owned);
            client_credential(header.map(str::to_owned), &form).map_err(|problem| problem.status.as_u16())
        };
        assert_eq!(taken(None, None), Ok(None));
        for (header, field) in [(Some("a"), None), (None, Some("a")), (Some("a"), Some("a"))] {
            assert_eq!(taken(header, field), Ok(Some("a".to_owned())));
        }
        assert_eq!(taken(Some("a"), Some("b")), Err(400));
    }
}
