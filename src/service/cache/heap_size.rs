//! HeapSize: how many bytes a cached value occupies, so that caches are bounded by bytes.

use std::sync::Arc;

use crate::domain::owner::Owner;
use crate::domain::scope::{Scope, Scopes};

/// A value whose allocations can be counted.
pub trait HeapSize {
    /// The bytes that the value has allocated, its own size aside. Values that entries share are counted by the interner
    /// that shares them.
    fn heap_size(&self) -> usize;
}

/// Returns what the allocator sets aside for an allocation: jemalloc rounds up to 8, to multiples of 16 up to 128, and from
/// there to one of four sizes between powers of two.
pub const fn allocated(bytes: usize) -> usize {
    let step = match bytes {
        0..=8 => 8,
        9..=128 => 16,
        _ => 1 << ((bytes - 1).ilog2() - 2),
    };
    bytes.next_multiple_of(step)
}

impl HeapSize for () {
    fn heap_size(&self) -> usize {
        0
    }
}

impl HeapSize for str {
    fn heap_size(&self) -> usize {
        allocated(self.len())
    }
}

impl<T: HeapSize> HeapSize for Arc<T> {
    fn heap_size(&self) -> usize {
        allocated(2 * size_of::<usize>() + size_of::<T>()) + T::heap_size(self)
    }
}

impl HeapSize for Owner {
    fn heap_size(&self) -> usize {
        let Self { issuer, subject, organization } = self;
        issuer.heap_size() + subject.heap_size() + organization.as_deref().map_or(0, str::heap_size)
    }
}

impl HeapSize for Scopes {
    /// Scopes are collected one by one, so that their list has room for a power of two.
    fn heap_size(&self) -> usize {
        let number = self.iter().count();
        let list = if number == 0 { 0 } else { allocated(number.next_power_of_two().max(4) * size_of::<Scope>()) };
        list + self.iter().map(|scope| scope.as_str().heap_size()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocated_is_the_size_class_of_jemalloc() {
        let classes = [(0, 0), (1, 8), (8, 8), (9, 16), (17, 32), (112, 112), (128, 128)];
        for (bytes, class) in classes {
            assert_eq!(allocated(bytes), class, "{bytes}");
        }
        let classes = [(129, 160), (161, 192), (256, 256), (257, 320), (4097, 5120), (5121, 6144), (8192, 8192)];
        for (bytes, class) in classes {
            assert_eq!(allocated(bytes), class, "{bytes}");
        }
    }

    #[test]
    fn heap_size_of_scopes_counts_list_and_names() {
        let scopes = |number: usize| {
            let names: Vec<_> = (0..number).map(|n| format!("projects:{n:03}")).collect();
            Scopes::from_untrusted_lossy(names.iter().map(String::as_str))
        };
        assert_eq!(scopes(0).heap_size(), 0);
        assert_eq!(scopes(1).heap_size(), 4 * 24 + 16);
        assert_eq!(scopes(50).heap_size(), 1536 + 50 * 16);
    }
}
