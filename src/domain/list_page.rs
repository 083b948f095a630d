//! ListPage: part of a list, with the cursor of the next part.

use uuid::Uuid;

/// A page of a list, newest first. It may have fewer items than requested, or none, although more follow: a filter may
/// match few of many rows, and a page ends when it has examined a bounded number of them.
#[derive(Debug)]
pub struct ListPage<T> {
    pub items: Vec<T>,
    /// The id to continue after, if more items may follow.
    pub next: Option<Uuid>,
}

impl<T> ListPage<T> {
    pub const EMPTY: Self = Self { items: Vec::new(), next: None };

    /// Builds a page of at most `limit` items from the result of a query for `limit + 1`. The extra item, which is not
    /// part of the page, shows that another page follows.
    pub fn from_lookahead(mut items: Vec<T>, limit: u64, id: impl FnOnce(&T) -> Uuid) -> Self {
        let more = items.len() as u64 > limit;
        if more {
            items.pop();
        }
        Self { next: items.last().filter(|_| more).map(id), items }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_is_the_last_items_id_if_the_query_found_one_more() {
        let page = |found: u128| ListPage::from_lookahead((1..=found).collect(), 3, |item| Uuid::from_u128(*item));
        for (found, items, next) in [(0, 0, None), (3, 3, None), (4, 3, Some(Uuid::from_u128(3)))] {
            let page = page(found);
            assert_eq!((page.items.len(), page.next), (items, next), "{found} found");
        }
    }
}
