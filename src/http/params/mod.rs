//! Query parameters, one file each, with their schemas.

pub mod cursor;
pub mod day;
pub mod limit;
pub mod scope_list;
