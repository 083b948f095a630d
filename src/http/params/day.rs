//! A day of a range.

use chrono::NaiveDate;
use poem_openapi::registry::MetaSchema;
use poem_openapi::types::{ParseError, ParseFromParameter, ParseResult};

use crate::http::values::schema_type;

/// A day, as `2026-11-23`.
#[derive(Debug, Clone, Copy)]
pub struct Day(pub NaiveDate);

schema_type!(Day, "Day", MetaSchema::new_with_format("string", "date"));

impl ParseFromParameter for Day {
    fn parse_from_parameter(text: &str) -> ParseResult<Self> {
        // chrono also accepts signs, spaces and single digits.
        let is_shaped = text.len() == 10
            && text.bytes().enumerate().all(|(at, b)| if at == 4 || at == 7 { b == b'-' } else { b.is_ascii_digit() });
        let day = text.parse().ok().filter(|_| is_shaped);
        day.map(Self).ok_or_else(|| ParseError::custom("must be a day such as 2026-11-23"))
    }
}
