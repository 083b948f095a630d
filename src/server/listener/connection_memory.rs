//! ConnectionMemory: the memory of one connection for a head that has arrived in part.

use std::sync::Arc;

use crate::http::memory_budget::{Exhausted, MemoryBudget};

/// What a connection may keep without taking it from the memory of all: a page of memory, which an idle connection needs,
/// too, and more than most heads have.
const FREE: usize = 4 * 1024;

/// Is taken from the memory of all heads, of which those of one peer may take half. It grows to the largest head and is
/// returned with the connection, because hyper keeps its buffers as long.
pub struct ConnectionMemory {
    all: Arc<MemoryBudget>,
    peer: Arc<MemoryBudget>,
    taken: usize,
}

impl ConnectionMemory {
    pub fn new(all: Arc<MemoryBudget>, peer: Arc<MemoryBudget>) -> Self {
        Self { all, peer, taken: 0 }
    }

    /// Returns another memory of the same connection.
    pub fn another(&self) -> Self {
        Self::new(self.all.clone(), self.peer.clone())
    }

    /// Takes memory for a buffer of this size.
    pub fn grow_to(&mut self, size: usize) -> Result<(), Exhausted> {
        let more = size.saturating_sub(FREE + self.taken);
        if more == 0 {
            return Ok(());
        }
        self.peer.take(more)?;
        if let Err(exhausted) = self.all.take(more) {
            self.peer.give_back(more);
            return Err(exhausted);
        }
        self.taken += more;
        Ok(())
    }
}

impl Drop for ConnectionMemory {
    fn drop(&mut self) {
        if self.taken > 0 {
            self.all.give_back(self.taken);
            self.peer.give_back(self.taken);
        }
    }
}
