//! Chaos: what the service keeps of its promises when the world around it does not.

mod front_door;
#[expect(dead_code, reason = "the support is shared with the other test binaries")]
#[path = "../support/mod.rs"]
mod support;
