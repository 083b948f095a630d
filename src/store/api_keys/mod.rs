//! Keys and their secrets: looked up, made and changed.

mod access;
mod change;
mod find;
mod insert;
mod list;
mod lookup;
mod rehash;
mod rows;
mod search;

pub use change::{Change, Unchanged};
pub use insert::{Created, Creation};
pub use list::KeyFilter;
pub use lookup::Found;
