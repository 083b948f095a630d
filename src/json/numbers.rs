//! The numbers of a JSON text as they were written.
//!
//! serde_json keeps an integer of 64 bits, and makes a double of any other number. One that a double does not hold would
//! come back changed, as in many other readers (RFC 8259, section 6; RFC 7493, section 2.2).

use std::borrow::Cow;

use serde_json::Number;

/// The number tokens of a JSON text, in order. Up to the first error in the text, they are those that a parser sees.
#[derive(Clone, Copy)]
pub struct NumberTokens<'a> {
    rest: &'a [u8],
}

impl<'a> NumberTokens<'a> {
    pub fn of(text: &'a [u8]) -> Self {
        Self { rest: text }
    }
}

impl<'a> Iterator for NumberTokens<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while let [first, after @ ..] = self.rest {
            match first {
                b'"' => self.rest = after_string(after),
                b'-' | b'0'..=b'9' => {
                    let is_end = |byte: &u8| !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                    let length = self.rest.iter().position(is_end).unwrap_or(self.rest.len());
                    let (token, rest) = self.rest.split_at(length);
                    self.rest = rest;
                    return Some(token);
                }
                _ => self.rest = after,
            }
        }
        None
    }
}

/// What follows the string whose opening quotation mark has been read.
fn after_string(mut rest: &[u8]) -> &[u8] {
    loop {
        match rest {
            [b'\\', _, after @ ..] => rest = after,
            [b'"', after @ ..] => return after,
            [_, after @ ..] => rest = after,
            [] => return rest,
        }
    }
}

/// True if the number comes back with the same decimal value.
pub fn is_exact(token: &[u8]) -> bool {
    let Ok(token) = str::from_utf8(token) else { return false };
    if token.parse::<u64>().is_ok() || token.parse::<i64>().is_ok() {
        return token != "-0";
    }
    // As serde_json writes it: std writes another one of the shortest decimals where two are equally near.
    let written = token.parse().ok().and_then(Number::from_f64);
    written.is_some_and(|written| decimal(token) == decimal(&written.to_string()))
}

/// The sign, the digits without zeros at either end, and the power of ten of the last digit.
fn decimal(number: &str) -> (bool, String, i64) {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{}{fraction}", whole.trim_start_matches('-'));
    let significant = digits.trim_end_matches('0');
    let zeros = (digits.len() - significant.len()) as i64;
    let significant = significant.trim_start_matches('0');
    let power = match significant {
        "" => 0,
        _ => exponent.parse::<i64>().unwrap_or(i64::MAX).saturating_sub(fraction.len() as i64).saturating_add(zeros),
    };
    (number.starts_with('-'), significant.to_owned(), power)
}

/// Writes 1e308 for each number beyond the range of a double, at which serde_json would fail without saying where it is.
pub fn without_infinite(text: &[u8]) -> Cow<'_, [u8]> {
    let mut written = Cow::Borrowed(text);
    for token in NumberTokens::of(text) {
        let is_infinite = str::from_utf8(token).is_ok_and(|token| token.parse::<f64>().is_ok_and(f64::is_infinite));
        if is_infinite {
            let start = token.as_ptr() as usize - text.as_ptr() as usize;
            let replaced = &mut written.to_mut()[start..start + token.len()];
            replaced.fill(b' ');
            // The shortest such number, 1e309, is as long. No field takes either.
            replaced[..5].copy_from_slice(b"1e308");
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn exact_numbers_are_integers_of_64_bits_and_what_a_double_holds() {
        for exact in [
            "0",
            "-1",
            "9007199254740993",
            "18446744073709551615",
            "18446744073709552000",
            "100000000000000000000",
            "-9223372036854775808",
            "1.10",
            "0.1",
            "-0.0",
            "1e2",
            "1E+2",
            "100e-2",
            "0e999999999999999999999",
            "5e-324",
            "1.7976931348623157e308",
            "31.245270191439438",
            "-1112403563074670.2",
        ] {
            assert!(is_exact(exact.as_bytes()), "{exact}");
        }
        for inexact in [
            "-0",
            "18446744073709551616",
            "-9223372036854775809",
            "3.141592653589793238462643383279",
            "9007199254740993.0",
            "-1112403563074670.3",
            "1e400",
            "-1e400",
            "1e-400",
            "1e999999999999999999999",
        ] {
            assert!(!is_exact(inexact.as_bytes()), "{inexact}");
        }
    }

    #[test]
    fn tokens_are_the_numbers_outside_of_strings() {
        let text = br#"{"1":-2,"a\"3":[4.5e+6,"7\\",8],"b":true}"#;
        let tokens: Vec<_> = NumberTokens::of(text).map(|token| str::from_utf8(token).unwrap()).collect();
        assert_eq!(tokens, ["-2", "4.5e+6", "8"]);
    }

    proptest! {
        #[test]
        fn exact_number_comes_back_with_its_value(token in "-?(0|[1-9][0-9]{0,21})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?") {
            if is_exact(token.as_bytes()) {
                let written = serde_json::from_str::<Value>(&token).unwrap().to_string();
                prop_assert_eq!(decimal(&written), decimal(&token), "{}", written);
                let read_again = serde_json::from_str::<Value>(&written).unwrap().to_string();
                prop_assert_eq!(read_again, written);
            }
        }

        #[test]
        fn every_double_is_exact(double in any::<f64>().prop_filter("finite", |double| double.is_finite())) {
            prop_assert!(is_exact(serde_json::to_string(&double).unwrap().as_bytes()));
        }

        #[test]
        fn any_bytes_are_scanned_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            prop_assert_eq!(without_infinite(&bytes).len(), bytes.len());
        }
    }
}
