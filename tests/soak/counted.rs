//! What the clients sent, as they know it from the responses.

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Verify,
    ForwardAuth,
    List,
    Create,
    Rotate,
    Revoke,
    Update,
}

impl Operation {
    pub fn name(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::ForwardAuth => "forward auth",
            Self::List => "list",
            Self::Create => "create",
            Self::Rotate => "rotate",
            Self::Revoke => "revoke",
            Self::Update => "update",
        }
    }
}

/// A key as its client knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyState {
    pub name: String,
    pub revoked: bool,
}

/// Numbers by key and by verdict, or by key and by action.
pub type CountsByKey = BTreeMap<(Uuid, String), i64>;

#[derive(Default)]
pub struct Counted {
    pub keys: BTreeMap<Uuid, KeyState>,
    pub usage: CountsByKey,
    pub events: CountsByKey,
    /// The times of the responses, in microseconds, by operation, in the first, the second and the last third.
    pub times: BTreeMap<Operation, [Vec<u32>; 3]>,
    /// Responses with another status than expected, and requests without a response.
    pub unexpected: Vec<String>,
    /// How long after its planned time an operation began, at most.
    pub behind: Duration,
}

impl Counted {
    pub fn operations(&self) -> usize {
        self.times.values().flatten().map(Vec::len).sum()
    }

    pub fn add(&mut self, other: Self) {
        self.keys.extend(other.keys);
        self.usage.extend(other.usage);
        self.events.extend(other.events);
        for (operation, thirds) in other.times {
            for (all, own) in self.times.entry(operation).or_default().iter_mut().zip(thirds) {
                all.extend(own);
            }
        }
        self.unexpected.extend(other.unexpected);
        self.behind = self.behind.max(other.behind);
    }
}
