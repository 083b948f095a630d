//! JwksState: an issuer's public keys as a fetch left them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::service::issuer::discovery::ProviderMetadata;
use crate::service::issuer::jwk::{Key, UnusableKey};
use crate::service::issuer::jwks::KeySet;

/// Number and length (in bytes) of the values of `kid` that are remembered as absent.
const MAX_ABSENT: usize = 100;
const MAX_ABSENT_LEN: usize = 255;

/// The keys of an issuer after a fetch.
pub struct JwksState {
    pub keys: Vec<Arc<Key>>,
    /// The other published keys.
    pub unusable: Vec<UnusableKey>,
    pub metadata: Option<Arc<ProviderMetadata>>,
    /// The last successful fetch.
    pub fetched: Option<Instant>,
    /// The `kid` of keys that were withdrawn, or that tokens had and the last successful fetch did not find; newest last.
    absent: VecDeque<String>,
    /// The outcome of the last fetch. A successful one of no usable key is an error, too.
    pub outcome: Result<(), String>,
}

impl Default for JwksState {
    /// The state before the first fetch.
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            unusable: Vec::new(),
            metadata: None,
            fetched: None,
            absent: VecDeque::new(),
            outcome: Err("not fetched yet".to_owned()),
        }
    }
}

impl JwksState {
    /// The state of a source with one key that is never fetched.
    pub fn fixed(key: Arc<Key>) -> Self {
        Self { keys: vec![key], outcome: Ok(()), ..Self::default() }
    }

    /// True if a token with this `kid` can be checked. One without a `kid` may be signed by any key; a fetch for it
    /// would be a fetch for every bad signature.
    pub fn has_key(&self, id: Option<&str>) -> bool {
        match id {
            Some(id) => self.keys.iter().any(|key| key.id() == Some(id)),
            None => !self.keys.is_empty(),
        }
    }

    /// True if the last successful fetch is known not to have found the key of this `kid`, so that a token with it need
    /// not wait for another fetch. One without a `kid` is judged by the keys that there are.
    pub fn is_absent(&self, id: Option<&str>) -> bool {
        id.is_none_or(|id| self.absent.iter().any(|absent| absent == id))
    }

    /// Ok if there are keys to verify tokens with; otherwise the reason why there are none.
    pub fn ready(&self) -> Result<(), &str> {
        match &self.outcome {
            Err(reason) if self.keys.is_empty() => Err(reason),
            _ => Ok(()),
        }
    }

    /// The published key of this `kid` that would verify tokens if it could be used.
    pub fn unusable_key(&self, id: Option<&str>) -> Option<&UnusableKey> {
        self.unusable.iter().find(|key| id.is_some() && key.id() == id && !key.is_for_encryption)
    }

    /// The state after a successful fetch. A key that is published again keeps its `Arc`: cached tokens that it signed
    /// stay valid, those of removed keys do not.
    pub fn replaced(&self, fetched: KeySet, metadata: Option<Arc<ProviderMetadata>>, wanted: Option<String>) -> Self {
        let outcome = fetched.check();
        let KeySet { keys, unusable } = fetched;
        let same = |key: Arc<Key>| self.keys.iter().find(|old| **old == key).cloned().unwrap_or(key);
        let known = self.keys.iter().filter_map(|key| key.id().map(str::to_owned)).chain(wanted);
        let known = known.filter(|id| id.len() <= MAX_ABSENT_LEN && !self.is_absent(Some(id)));
        let is_published = |id: &str| keys.iter().any(|key| key.id() == Some(id));
        let mut absent: VecDeque<_> = self.absent.iter().cloned().chain(known).filter(|id| !is_published(id)).collect();
        absent.drain(..absent.len().saturating_sub(MAX_ABSENT));
        Self {
            keys: keys.into_iter().map(same).collect(),
            unusable,
            metadata,
            fetched: Some(Instant::now()),
            absent,
            outcome,
        }
    }

    /// The state after a failed fetch.
    pub fn failed(&self, reason: String) -> Self {
        Self {
            keys: self.keys.clone(),
            unusable: self.unusable.clone(),
            metadata: self.metadata.clone(),
            fetched: self.fetched,
            absent: self.absent.clone(),
            outcome: Err(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_remembers_a_bounded_number_of_kids() {
        let mut state = JwksState::default();
        for number in 0..=MAX_ABSENT {
            state = state.replaced(KeySet::default(), None, Some(number.to_string()));
        }
        state = state.replaced(KeySet::default(), None, Some("x".repeat(MAX_ABSENT_LEN + 1)));
        assert_eq!(state.absent.len(), MAX_ABSENT);
        assert!(!state.is_absent(Some("0")) && state.is_absent(Some("1")));
    }
}
