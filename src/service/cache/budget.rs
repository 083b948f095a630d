//! CacheBudget: how the memory that `--cache-size` allows is divided.

/// A number of bytes, divided among what is kept for later requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheBudget(pub usize);

impl CacheBudget {
    /// Cached keys, with the owners and scopes that they share: three quarters.
    pub fn keys(self) -> usize {
        self.0 - self.tokens() - self.responses() - self.pending_usage()
    }

    /// Verified tokens: an eighth.
    pub fn tokens(self) -> usize {
        self.0 / 8
    }

    /// Serialized responses: a sixteenth.
    pub fn responses(self) -> usize {
        self.0 / 16
    }

    /// Keys that are no longer cached, whose usage is not written yet: a sixteenth.
    pub fn pending_usage(self) -> usize {
        self.0 / 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_to_the_whole() {
        for bytes in [0, 1, 1000, 256 << 20, usize::MAX] {
            let budget = CacheBudget(bytes);
            let parts = [budget.keys(), budget.tokens(), budget.responses(), budget.pending_usage()];
            assert_eq!(parts.into_iter().sum::<usize>(), bytes);
        }
        assert_eq!(CacheBudget(256 << 20).keys(), 192 << 20);
    }
}
