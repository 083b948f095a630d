//! Handmade tokens.

use std::fs;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use mintkey::domain::clock::Clock;
use serde_json::{Value, json};

use crate::support::Server;

/// Signs with the signing key of a server.
pub struct Forge(Ed25519KeyPair);

impl Forge {
    pub fn of(server: &Server) -> Self {
        let pem = pem::parse(fs::read_to_string(server.data.join("signing.key")).unwrap()).unwrap();
        Self(Ed25519KeyPair::from_pkcs8(pem.contents()).unwrap())
    }

    /// The keys of another issuer.
    pub fn generate() -> Self {
        Self(Ed25519KeyPair::generate().unwrap())
    }

    /// The public key as a JWK (RFC 8037).
    pub fn jwk(&self) -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url(self.public()) })
    }

    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = unsigned(header, claims);
        let signature = base64url(self.0.sign(signed.as_bytes()).as_ref());
        format!("{signed}.{signature}")
    }

    pub fn public(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }
}

pub fn hs256(claims: &Value, key: &[u8]) -> String {
    let signed = unsigned(&json!({ "typ": "at+jwt", "alg": "HS256" }), claims);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), signed.as_bytes());
    format!("{signed}.{}", base64url(tag.as_ref()))
}

pub fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| base64url(value.to_string().as_bytes());
    format!("{}.{}", part(header), part(claims))
}

pub fn header() -> Value {
    json!({ "typ": "at+jwt", "alg": "EdDSA" })
}

/// The claims of a valid token, modified by `change`.
pub fn claims(change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = json!({
        "iss": "urn:mintkey:standalone", "aud": "mintkey", "sub": "alice", "client_id": "mintkey",
        "iat": now() - 10, "exp": now() + 3_600, "jti": "1", "scope": "",
    });
    change(&mut claims);
    claims
}

pub fn now() -> i64 {
    Clock::System.now().timestamp()
}

/// Base64url without padding (RFC 4648, section 5).
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0; 4];
        group[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(group);
        text.extend((0..=chunk.len()).map(|digit| char::from(ALPHABET[(bits >> (18 - 6 * digit)) as usize & 63])));
    }
    text
}
