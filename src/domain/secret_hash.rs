//! SecretHash: what the store keeps of a secret, and the peppers (keys of the hash) that it is made with.
//!
//! The hash begins with the secret's time of minting, followed by 26 bytes of `blake3::keyed_hash(pepper, secret)`.
//! Hashes of one time lie side by side in the database's index, so that inserts append to it; with random hashes each new
//! key would dirty an index page of its own. A slow password hash would add nothing: 208 random bits cannot be guessed,
//! and verify must respond in microseconds.

use chrono::{DateTime, Utc};

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

/// A pepper that secrets in the database were hashed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredPepper {
    pub id: String,
    /// Peppers are ordered by it: a secret is rehashed only from an earlier pepper to a later one, so that replicas
    /// whose first lines differ do not rehash the same secret to and fro.
    pub first_used_at: DateTime<Utc>,
}

/// The configured peppers: new secrets use the first, and secrets of the others are still recognized.
#[derive(Clone)]
pub struct Peppers {
    /// In the order of the lines.
    all: Vec<Pepper>,
    earlier: Vec<Pepper>,
    later: Vec<Pepper>,
}

impl Peppers {
    /// Derives the peppers of master secrets, one per line, newest first.
    pub fn derive(master_secrets: &str) -> Result<Self, ValidationError> {
        let lines: Vec<_> = master_secrets.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        if lines.is_empty() || lines.iter().any(|line| line.len() < 32) {
            return Err(ValidationError::new(
                "a master secret is a line of at least 32 characters: make one with `openssl rand -hex 32`",
            ));
        }
        Ok(Self::new(lines.into_iter().map(Pepper::derive).collect(), &[]))
    }

    /// The same peppers, ordered by what is registered in the database.
    pub fn ordered_by(self, registered: &[RegisteredPepper]) -> Self {
        Self::new(self.all, registered)
    }

    fn new(all: Vec<Pepper>, registered: &[RegisteredPepper]) -> Self {
        let time =
            |pepper: &Pepper| registered.iter().find(|known| known.id == pepper.id).map(|known| known.first_used_at);
        let newest = time(&all[0]);
        // One that is not registered will be registered later, by a replica that has it as its first line.
        let is_earlier = |pepper: &Pepper| newest.is_some() && time(pepper).is_some_and(|time| Some(time) < newest);
        let (earlier, mut later): (Vec<_>, Vec<_>) = all[1..].iter().cloned().partition(is_earlier);
        later.sort_by_key(|pepper| (time(pepper).is_none(), time(pepper)));
        Self { all, earlier, later }
    }

    /// The pepper of new secrets.
    pub fn newest(&self) -> &Pepper {
        &self.all[0]
    }

    /// Every pepper, in the order of the lines.
    pub fn all(&self) -> &[Pepper] {
        &self.all
    }

    /// The peppers whose secrets are rehashed with the newest.
    pub fn earlier(&self) -> &[Pepper] {
        &self.earlier
    }

    /// The peppers that other replicas use for new secrets, in the order in which they were registered. Their secrets
    /// are verified and not rehashed. Empty except while a master secret is being replaced.
    pub fn later(&self) -> &[Pepper] {
        &self.later
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

    #[test]
    fn peppers_are_earlier_or_later_than_the_first_line() {
        let ids = |peppers: &[Pepper]| peppers.iter().map(|pepper| pepper.id().to_owned()).collect::<Vec<_>>();
        let lines = ["a", "b", "c", "d"].map(|letter| letter.repeat(32));
        let [a, b, c, d] = lines.each_ref().map(|line| Pepper::derive(line).id().to_owned());
        let registered = |id: &str, seconds| RegisteredPepper {
            id: id.to_owned(),
            first_used_at: DateTime::from_timestamp(seconds, 0).unwrap(),
        };
        let peppers = Peppers::derive(&lines.join("\n")).unwrap();
        assert_eq!((ids(peppers.earlier()), ids(peppers.later())), (vec![], vec![b.clone(), c.clone(), d.clone()]));

        let peppers = peppers.ordered_by(&[registered(&b, 1), registered(&a, 2), registered(&d, 3)]);
        assert_eq!((ids(peppers.earlier()), ids(peppers.later())), (vec![b], vec![d, c]));
        assert_eq!(peppers.newest().id(), a);
    }
}
