//! Reading a body without a tree in between.

use serde::Deserialize;

/// An object of these members alone, each once. serde would take an array for it, too.
pub fn plain<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    if bytes.first() == Some(&b'{') { serde_json::from_slice(bytes).ok() } else { None }
}
