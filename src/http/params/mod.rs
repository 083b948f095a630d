//! Parameters: how values look in a query.

pub mod cursor;
pub mod day;
pub mod limit;
pub mod scope_list;
