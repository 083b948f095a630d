//! Metadata: what the owner's application wants to find again when the key is verified.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::validation::ValidationError;

/// A JSON object of at most 4 KiB in its shortest form. mintkey keeps it and gives it back; it reads nothing in it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Metadata(Map<String, Value>);

impl Metadata {
    pub const MAX_BYTES: usize = 4096;

    pub fn new(object: Map<String, Value>) -> Result<Self, ValidationError> {
        let metadata = Self(object);
        if metadata.to_json().len() > Self::MAX_BYTES {
            return Err(ValidationError::new("must be at most 4096 bytes long as JSON without white space"));
        }
        Ok(metadata)
    }

    pub fn as_object(&self) -> &Map<String, Value> {
        &self.0
    }

    pub fn into_object(self) -> Map<String, Value> {
        self.0
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0).expect("a JSON object can always be written")
    }

    /// An object that was checked when it was stored.
    pub fn from_db(json: &str) -> serde_json::Result<Self> {
        serde_json::from_str(json).map(Self)
    }
}
