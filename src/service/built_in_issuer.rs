//! Built-in issuer: signs access tokens for development, tests and machines without an identity provider. Its tokens
//! follow RFC 9068 and are signed with Ed25519.

use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use pem::Pem;
use serde_json::json;

use crate::domain::id::new_id;
use crate::domain::issuer_policy::IssuerPolicy;
use crate::domain::validation::ValidationError;
use crate::service::issuer::algorithm::{Algorithm, PublicKey};
use crate::service::issuer::jwk::Key;
use crate::service::issuer::jwks_cache::JwksCache;
use crate::service::issuer::jwks_source::JwksSource;
use crate::service::issuer::{TokenType, TrustedIssuer, is_valid_identifier};

/// The `iss` of its tokens.
pub const ISSUER: &str = "urn:mintkey:standalone";
/// The `aud` of its tokens.
pub const AUDIENCE: &str = "mintkey";

/// The issuer's private key.
pub struct SigningKey(Ed25519KeyPair);

/// The user that a token authenticates.
pub struct TokenSubject<'a> {
    pub subject: &'a str,
    /// Separated by spaces.
    pub scopes: &'a str,
    pub organization: Option<&'a str>,
}

impl SigningKey {
    /// Generates a private key, as PKCS #8 in PEM (RFC 5958, RFC 7468).
    pub fn generate_pem() -> Result<String, ValidationError> {
        let failed = |_| ValidationError::new("no Ed25519 key could be generated");
        let der = Ed25519KeyPair::generate().and_then(|pair| pair.to_pkcs8v1()).map_err(failed)?;
        Ok(pem::encode(&Pem::new("PRIVATE KEY", der.as_ref())))
    }

    /// Parses a private key as PKCS #8 in PEM.
    pub fn from_pem(text: &str) -> Result<Self, ValidationError> {
        let rule = ValidationError::new(
            "a signing key is an Ed25519 private key in PEM: make one with `openssl genpkey -algorithm ed25519`",
        );
        let pem = pem::parse(text).map_err(|_| rule.clone())?;
        Ed25519KeyPair::from_pkcs8(pem.contents()).map(Self).map_err(|_| rule)
    }

    /// The issuer as one whose tokens are accepted.
    pub fn as_trusted_issuer(&self) -> TrustedIssuer {
        let public = PublicKey::ed25519(self.0.public_key().as_ref()).expect("the key is one of Ed25519");
        TrustedIssuer {
            issuer: ISSUER.to_owned(),
            audiences: vec![AUDIENCE.to_owned()],
            token_type: TokenType::Strict,
            scopes: None,
            organization: Some("org".to_owned()),
            required_claim: None,
            // It signs by this machine's clock.
            leeway: TimeDelta::zero(),
            keys: JwksCache::new(ISSUER, JwksSource::Fixed(Key::fixed(public).into()), vec![Algorithm::EdDsa]),
            client: None,
            policy: IssuerPolicy::BUILT_IN,
        }
    }

    /// Signs a token.
    pub fn token(&self, of: &TokenSubject<'_>, ttl: Duration, now: DateTime<Utc>) -> Result<String, ValidationError> {
        if !is_valid_identifier(of.subject) || !of.organization.is_none_or(is_valid_identifier) {
            return Err(ValidationError::new(
                "--subject and --organization must be 1 to 255 bytes long, without control characters",
            ));
        }
        let issued = now.timestamp();
        let lifetime = i64::try_from(ttl.as_secs()).ok().filter(|seconds| (1..=100 * 365 * 86_400).contains(seconds));
        let lifetime = lifetime
            .ok_or(ValidationError::new("the lifetime of a token must be between one second and a hundred years"))?;
        let mut claims = json!({
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": of.subject,
            "client_id": "mintkey",
            "iat": issued,
            "exp": issued + lifetime,
            "jti": new_id(now),
            "scope": of.scopes,
        });
        if let Some(organization) = of.organization {
            claims["org"] = organization.into();
        }
        let header = json!({ "typ": "at+jwt", "alg": Algorithm::EdDsa.name() });
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signing_input = format!("{header}.{claims}");
        let signature = URL_SAFE_NO_PAD.encode(self.0.sign(signing_input.as_bytes()));
        Ok(format!("{signing_input}.{signature}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::issuer::rejection::TokenFault;
    use crate::service::issuer::{TokenError, UnverifiedToken, VerifiedToken};

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn token(key: &SigningKey) -> String {
        let alice =
            TokenSubject { subject: "alice", scopes: "api-keys:verify projects:read", organization: Some("acme") };
        key.token(&alice, Duration::from_secs(60), at(1_000)).unwrap()
    }

    async fn verify(key: &SigningKey, token: &str, now: DateTime<Utc>) -> Result<VerifiedToken, TokenError> {
        key.as_trusted_issuer().verify(&UnverifiedToken::parse(token).unwrap(), now).await
    }

    #[tokio::test]
    async fn token_authenticates_its_subject_until_it_expires() {
        let key = SigningKey::from_pem(&SigningKey::generate_pem().unwrap()).unwrap();
        let caller = verify(&key, &token(&key), at(1_059)).await.unwrap().caller;
        assert_eq!(caller.owner.issuer, ISSUER);
        assert_eq!(caller.owner.subject, "alice");
        assert_eq!(caller.owner.organization.as_deref(), Some("acme"));
        assert!(caller.scopes.contains("projects:read") && caller.scopes.contains("api-keys:verify"));
        let later = verify(&key, &token(&key), at(1_060)).await;
        assert!(matches!(later, Err(TokenError::Invalid(rejection)) if rejection.fault == TokenFault::Expired));
    }

    #[tokio::test]
    async fn token_of_another_key_is_rejected() {
        let [ours, theirs] = [(); 2].map(|()| SigningKey::from_pem(&SigningKey::generate_pem().unwrap()).unwrap());
        assert!(verify(&ours, &token(&theirs), at(1_000)).await.is_err());
    }

    #[test]
    fn from_pem_of_another_kind_of_key_says_how_to_generate_one() {
        let error =
            SigningKey::from_pem("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").err().unwrap();
        assert!(error.to_string().contains("openssl genpkey"));
    }
}
