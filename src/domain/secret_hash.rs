//! SecretHash: what the store keeps of a secret, and the peppers (keys of the hash) that it is made with.
//!
//! The hash begins with the secret's time of minting, followed by 26 bytes of `blake3::keyed_hash(pepper, secret)`.
//! Hashes of one time lie side by side in the database's index, so that inserts append to it; with random hashes each new
//! key would dirty an index page of its own. A slow password hash would add nothing: 208 random bits cannot be guessed,
//! and verify must respond in microseconds.

use crate::domain::secret::{Secret, TIME};
use crate::domain::validation::ValidationError;

/// The time of minting and 26 bytes of the keyed hash: what the store holds and looks up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecretHash(pub [u8; 32]);

/// A key of the hash, derived from a master secret. Its id is stored beside each hash.
#[derive(Clone)]
pub struct Pepper {
    id: String,
    key: [u8; 32],
    master: [u8; 32],
}

impl Pepper {
    /// Derives the pepper of a master secret.
    pub fn derive(master_secret: &str) -> Self {
        let id = blake3::derive_key("mintkey 2026 pepper id", master_secret.as_bytes());
        Self {
            id: id[..4].iter().map(|byte| format!("{byte:02x}")).collect(),
            key: blake3::derive_key("mintkey 2026 pepper", master_secret.as_bytes()),
            master: blake3::derive_key("mintkey 2026 subkeys", master_secret.as_bytes()),
        }
    }

    /// 8 hexadecimal digits, which reveal nothing of the pepper.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Derives a key for another purpose from the same master secret.
    pub fn subkey(&self, purpose: &str) -> [u8; 32] {
        blake3::derive_key(purpose, &self.master)
    }

    /// Hashes a secret.
    pub fn hash(&self, secret: &Secret<'_>) -> SecretHash {
        let mut hash = *blake3::keyed_hash(&self.key, secret.expose().as_bytes()).as_bytes();
        hash[..TIME].copy_from_slice(&secret.time());
        SecretHash(hash)
    }
}

/// The configured peppers, newest first: new secrets use the first, and secrets of older ones are still recognized.
#[derive(Clone)]
pub struct Peppers(Vec<Pepper>);

impl Peppers {
    /// Derives the peppers of master secrets, one per line, newest first.
    pub fn derive(master_secrets: &str) -> Result<Self, ValidationError> {
        let lines: Vec<_> = master_secrets.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        if lines.is_empty() || lines.iter().any(|line| line.len() < 32) {
            return Err(ValidationError::new(
                "a master secret is a line of at least 32 characters: make one with `openssl rand -hex 32`",
            ));
        }
        Ok(Self(lines.into_iter().map(Pepper::derive).collect()))
    }

    /// The pepper of new secrets.
    pub fn newest(&self) -> &Pepper {
        &self.0[0]
    }

    /// Every pepper, newest first.
    pub fn all(&self) -> &[Pepper] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::domain::secret::Entropy;

    #[test]
    fn hash_sorts_by_the_time_of_minting() {
        let pepper = Pepper::derive(&"n".repeat(32));
        let hash = |bytes: u8, milliseconds: i64| {
            let at = DateTime::from_timestamp_millis(milliseconds).unwrap();
            pepper.hash(&Secret::mint(&"mk".parse().unwrap(), &Entropy::fixed([bytes; 32]), at)).0
        };
        assert!(hash(9, 1_799_999_999_999) < hash(1, 1_800_000_000_000));
        assert!(hash(1, 1_800_000_000_000) < hash(5, 1_800_000_000_001));
        assert_ne!(hash(1, 0)[TIME..], hash(2, 0)[TIME..]);
    }

    #[test]
    fn derive_rejects_a_short_or_missing_master_secret() {
        assert!(Peppers::derive("").is_err());
        assert!(Peppers::derive("too short").is_err());
        let two = format!("{}\n{}\n", "n".repeat(32), "o".repeat(32));
        let peppers = Peppers::derive(&two).unwrap();
        assert_eq!(peppers.newest().id(), Pepper::derive(&"n".repeat(32)).id());
        assert_eq!(peppers.all().len(), 2);
    }
}
