//! Algorithm: the signature algorithms of access tokens (RFC 7518, section 3.1; RFC 8037), and keys that verify them.
//!
//! All are asymmetric: with a symmetric one, this service could forge tokens.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm,
};

/// An algorithm that an issuer may sign by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    /// With Ed25519. Ed448 is not supported: the cryptographic library does not have it.
    EdDsa,
}

impl Algorithm {
    pub const ALL: [Self; 10] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::EdDsa,
    ];

    /// The name, as in `alg`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of this name. Ed25519 has two names (RFC 9864).
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "Ed25519" => Some(Self::EdDsa),
            _ => Self::ALL.into_iter().find(|algorithm| algorithm.name() == name),
        }
    }

    /// The parameters, if it is one of RSA. They accept the key lengths that NIST SP 800-131A allows.
    const fn rsa(self) -> Option<&'static RsaParameters> {
        match self {
            Self::Rs256 => Some(&RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Some(&RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Some(&RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Some(&RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Some(&RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Some(&RSA_PSS_2048_8192_SHA512),
            Self::Es256 | Self::Es384 | Self::Es512 | Self::EdDsa => None,
        }
    }
}

/// The names, separated by spaces.
pub fn names(algorithms: &[Algorithm]) -> String {
    algorithms.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(" ")
}

/// An elliptic curve, and the one algorithm that signs with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    /// The curve of this name (RFC 7518, section 6.2.1.1).
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "P-256" => Some(Self::P256),
            "P-384" => Some(Self::P384),
            "P-521" => Some(Self::P521),
            _ => None,
        }
    }

    /// The length of a coordinate in bytes.
    pub const fn coordinate_length(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    pub const fn algorithm(self) -> Algorithm {
        match self {
            Self::P256 => Algorithm::Es256,
            Self::P384 => Algorithm::Es384,
            Self::P521 => Algorithm::Es512,
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_FIXED,
            Self::P384 => &ECDSA_P384_SHA384_FIXED,
            Self::P521 => &ECDSA_P521_SHA512_FIXED,
        }
    }
}

/// A public key, checked to be one of its type.
pub enum PublicKey {
    /// Modulus and exponent. The algorithm is chosen by the token.
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    /// Of a type with one algorithm.
    Other(Algorithm, ParsedPublicKey),
}

impl PublicKey {
    /// From modulus and exponent, big-endian and without leading zeros.
    pub fn rsa(n: Vec<u8>, e: Vec<u8>) -> Option<Self> {
        let key = RsaPublicKeyComponents { n, e };
        key.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()?;
        Some(Self::Rsa(key))
    }

    /// From coordinates of the curve's full length. `None` if they are no point of the curve.
    pub fn elliptic(curve: Curve, x: &[u8], y: &[u8]) -> Option<Self> {
        // SEC 1, section 2.3.3: an uncompressed point begins with 4.
        let key = ParsedPublicKey::new(curve.verification(), [&[4], x, y].concat()).ok()?;
        Some(Self::Other(curve.algorithm(), key))
    }

    /// From the 32 bytes of RFC 8032.
    pub fn ed25519(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == 32).then(|| Some(Self::Other(Algorithm::EdDsa, ParsedPublicKey::new(&ED25519, bytes).ok()?)))?
    }

    /// The algorithms that its type can sign by.
    pub fn algorithms(&self) -> Vec<Algorithm> {
        match self {
            Self::Rsa(_) => Algorithm::ALL.into_iter().filter(|algorithm| algorithm.rsa().is_some()).collect(),
            Self::Other(algorithm, _) => vec![*algorithm],
        }
    }

    /// True if the signature is this key's, by this algorithm.
    pub fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match (self, algorithm.rsa()) {
            (Self::Rsa(key), Some(parameters)) => key.verify(parameters, message, signature).is_ok(),
            (Self::Other(own, key), None) => *own == algorithm && key.verify_sig(message, signature).is_ok(),
            _ => false,
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.algorithms()).finish()
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
        EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair,
    };

    use super::*;

    #[test]
    fn from_name_knows_every_name_exactly() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
            assert_eq!(Algorithm::from_name(&algorithm.name().to_lowercase()), None);
        }
        assert_eq!(Algorithm::from_name("Ed25519"), Some(Algorithm::EdDsa));
        for other in ["HS256", "none", "ES256K", "Ed448", "RS256 ", ""] {
            assert_eq!(Algorithm::from_name(other), None, "{other}");
        }
    }

    #[test]
    fn elliptic_key_verifies_its_own_signature_alone() {
        let signing: [(Curve, &EcdsaSigningAlgorithm); 3] = [
            (Curve::P256, &ECDSA_P256_SHA256_FIXED_SIGNING),
            (Curve::P384, &ECDSA_P384_SHA384_FIXED_SIGNING),
            (Curve::P521, &ECDSA_P521_SHA512_FIXED_SIGNING),
        ];
        for (curve, by) in signing {
            let pair = EcdsaKeyPair::generate(by).unwrap();
            let (x, y) = pair.public_key().as_ref()[1..].split_at(curve.coordinate_length());
            let key = PublicKey::elliptic(curve, x, y).unwrap();
            let signature = pair.sign(&SystemRandom::new(), b"message").unwrap();
            for algorithm in Algorithm::ALL {
                assert_eq!(key.verify(algorithm, b"message", signature.as_ref()), algorithm == curve.algorithm());
            }
            assert!(!key.verify(curve.algorithm(), b"another", signature.as_ref()));
            assert!(!key.verify(curve.algorithm(), b"message", &signature.as_ref()[1..]));
            assert!(PublicKey::elliptic(curve, x, x).is_none(), "{curve:?}: no point of the curve");
        }
    }
}
