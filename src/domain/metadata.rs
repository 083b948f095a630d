//! Metadata: data of the owner's application, returned whenever the key is verified.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::validation::ValidationError;

/// A JSON object of at most 4 KiB without white space. mintkey does not interpret it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Metadata(Map<String, Value>);

impl Metadata {
    /// Of the JSON without white space.
    pub const MAX_BYTES: usize = 4096;

    /// Checks the size.
    pub fn new(object: Map<String, Value>) -> Result<Self, ValidationError> {
        let metadata = Self(object);
        if metadata.to_json().len() > Self::MAX_BYTES {
            return Err(ValidationError::new("must be at most 4096 bytes long as JSON without white space"));
        }
        Ok(metadata)
    }

    /// The object.
    pub fn as_object(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The object.
    pub fn into_object(self) -> Map<String, Value> {
        self.0
    }

    /// The object as JSON without white space.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0).expect("a JSON object can always be serialized")
    }

    /// Parses metadata that was checked before it was stored.
    pub fn from_db(json: &str) -> serde_json::Result<Self> {
        serde_json::from_str(json).map(Self)
    }
}
