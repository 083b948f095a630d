//! JSON reading that is stricter than serde_json's. Knows nothing of HTTP or of tokens; both read with it.

pub mod numbers;
pub mod pointer;
pub mod strict;
