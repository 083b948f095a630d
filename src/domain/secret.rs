//! Secret: the string that a client presents.
//!
//! `<prefix>_<43 base62 digits><6 base62 digits>`. The 43 digits are one big-endian number: 26 random bytes, then the time
//! of minting in six bytes of milliseconds since the epoch. The 6 digits are the CRC-32 (ISO-HDLC, as in zlib) of
//! everything before them. The checksum rejects a mistyped or invented string without a database lookup, and lets a
//! scanner recognize a leaked secret.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use rand::TryRng;
use rand::rngs::SysRng;
use serde::{Deserialize, Serialize};

use crate::domain::validation::ValidationError;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// The value of each digit. A table, because branches on random digits are mispredicted.
const VALUES: [u8; 256] = {
    let mut values = [0; 256];
    let mut value = 0;
    while value < ALPHABET.len() {
        values[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    values
};
/// Digits before the checksum.
const BODY: usize = 43;
/// Digits of the checksum.
const CHECKSUM: usize = 6;
/// Bytes of the time of minting.
pub(super) const TIME: usize = 6;

/// The shape of a secret as a regular expression, alike in the common dialects, for scanners. The rules in
/// `packaging/secret-scanning` have it. A scanner that can compute should check the checksum, too.
pub const SECRET_PATTERN: &str = r"[a-z0-9_]{1,20}_[0-9A-Za-z]{49}\b";

/// The longest time for which a rotated secret keeps working beside its successor.
pub const MAX_GRACE: TimeDelta = TimeDelta::days(30);

/// 32 bytes from the operating system's random source.
pub struct Entropy([u8; 32]);

impl Entropy {
    /// Reads the operating system's random source.
    pub fn from_os() -> Result<Self, rand::rngs::SysError> {
        let mut bytes = [0; 32];
        SysRng.try_fill_bytes(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Fixed bytes, for tests.
    pub const fn fixed(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes as 64 hexadecimal digits.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

const MAX_PREFIX: usize = 20;

/// The part of a secret before the last underscore, set per deployment: 1 to 20 lowercase letters and digits, with single
/// underscores between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretPrefix(String);

impl FromStr for SecretPrefix {
    type Err = ValidationError;

    fn from_str(text: &str) -> Result<Self, ValidationError> {
        if is_prefix(text.as_bytes()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ValidationError::new(
                "a key prefix is 1 to 20 lowercase letters and digits, with single underscores between them, such as acme_live",
            ))
        }
    }
}

impl fmt::Display for SecretPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_prefix(text: &[u8]) -> bool {
    let is_word = |word: &[u8]| !word.is_empty() && word.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    text.len() <= MAX_PREFIX && text.split(|b| *b == b'_').all(is_word)
}

/// A secret in the clear. `Debug` shows nothing of it and there is no `Display`, so that only [`Secret::expose`] can leak
/// it. It is serialized only to be encrypted.
#[derive(Clone, Serialize, Deserialize)]
pub struct Secret<'a>(Cow<'a, str>);

/// A string that is not a secret by its shape or checksum.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

impl Secret<'static> {
    /// Number of letters and digits after the last underscore.
    pub const DIGITS: usize = BODY + CHECKSUM;

    /// Makes a secret. The time must be between 1970 and the year 10889.
    pub fn mint(prefix: &SecretPrefix, Entropy(bytes): &Entropy, at: DateTime<Utc>) -> Self {
        let mut bytes = *bytes;
        bytes[32 - TIME..].copy_from_slice(&at.timestamp_millis().to_be_bytes()[8 - TIME..]);
        let mut text = String::with_capacity(prefix.0.len() + 1 + BODY + CHECKSUM);
        text.push_str(&prefix.0);
        text.push('_');
        text.extend(base62(&bytes).map(char::from));
        let checksum = checksum(&text);
        text.extend(checksum.map(char::from));
        Self(Cow::Owned(text))
    }
}

impl<'a> Secret<'a> {
    /// Checks shape and checksum. Accepts any well-formed prefix, so that keys survive a change of the setting.
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        const TAIL: usize = BODY + CHECKSUM;
        let (prefix, tail) = text.as_bytes().split_at_checked(text.len().saturating_sub(TAIL + 1)).ok_or(Malformed)?;
        // Without a branch per byte, so that the compiler vectorizes the loop.
        let all_base62 = |bytes: &[u8]| bytes.iter().fold(true, |all, byte| all & byte.is_ascii_alphanumeric());
        if !(tail.len() == TAIL + 1 && tail[0] == b'_' && all_base62(&tail[1..]) && is_prefix(prefix)) {
            return Err(Malformed);
        }
        let (covered, sent) = text.split_at(text.len() - CHECKSUM);
        if sent.as_bytes() == checksum(covered) { Ok(Self(Cow::Borrowed(text))) } else { Err(Malformed) }
    }

    /// True if the text contains a secret, whatever touches it: escapes (`\n`, `%20`) and names (`KEY_`) run into it.
    pub fn is_in(text: &str) -> bool {
        const TAIL: usize = BODY + CHECKSUM;
        let bytes = text.as_bytes();
        let begins_tail =
            |at: &usize| bytes[*at] == b'_' && bytes[at + 1..=at + TAIL].iter().all(u8::is_ascii_alphanumeric);
        (1..bytes.len().saturating_sub(TAIL)).filter(begins_tail).any(|at| {
            let starts = at.saturating_sub(MAX_PREFIX)..at;
            starts.into_iter().any(|start| text.get(start..=at + TAIL).is_some_and(|part| Secret::parse(part).is_ok()))
        })
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Prefix and first four characters: enough for an owner to tell keys apart, too little to guess the rest.
    pub fn start(&self) -> &str {
        &self.0[..self.body() + 4]
    }

    /// The last four characters, which are of the checksum.
    pub fn last4(&self) -> &str {
        &self.0[self.0.len() - 4..]
    }

    /// The index of the first digit.
    fn body(&self) -> usize {
        self.0.len() - BODY - CHECKSUM
    }

    /// The time of minting: milliseconds since the epoch, big-endian.
    pub(super) fn time(&self) -> [u8; TIME] {
        let digits = self.0.as_bytes()[self.body()..].iter().take(BODY);
        let values = digits.map(|digit| u64::from(VALUES[usize::from(*digit)]));
        // Wrapping keeps the number's last eight bytes, which no higher digit changes.
        let last = values.fold(0_u64, |number, value| number.wrapping_mul(62).wrapping_add(value));
        *last.to_be_bytes().last_chunk().expect("six is less than eight")
    }
}

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

fn checksum(covered: &str) -> [u8; CHECKSUM] {
    let mut digits = [0; CHECKSUM];
    write_base62(crc32fast::hash(covered.as_bytes()).into(), &mut digits);
    digits
}

/// Returns the base62 digits of a big-endian number, zero-padded, by repeated long division.
fn base62(number: &[u8; 32]) -> [u8; BODY] {
    // As many digits per division as fit in a word.
    const TOGETHER: usize = 5;
    const DIVISOR: u64 = 62_u64.pow(TOGETHER as u32);

    let words = number.as_chunks().0;
    let mut number: [u32; 8] = std::array::from_fn(|place| u32::from_be_bytes(words[place]));
    let mut digits = [0; BODY];
    for digits in digits.rchunks_mut(TOGETHER) {
        let mut remainder = 0;
        for word in &mut number {
            let value = (remainder << 32) | u64::from(*word);
            *word =
                u32::try_from(value / DIVISOR).expect("the remainder is below the divisor, so the quotient is a word");
            remainder = value % DIVISOR;
        }
        write_base62(remainder, digits);
    }
    digits
}

/// Writes the number's last digits, most significant first.
fn write_base62(mut number: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(number % 62) as usize];
        number /= 62;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix() -> impl Strategy<Value = SecretPrefix> {
        "[a-z0-9]{1,6}(_[a-z0-9]{1,6}){0,2}".prop_map(|text| text.parse().unwrap())
    }

    fn minted(bytes: [u8; 32], milliseconds: i64) -> Secret<'static> {
        let at = DateTime::from_timestamp_millis(milliseconds).unwrap();
        Secret::mint(&"mk".parse().unwrap(), &Entropy::fixed(bytes), at)
    }

    #[test]
    fn mint_writes_prefix_43_digits_and_6_digits_of_crc() {
        let secret = minted([0; 32], 0);
        // Computed independently of this code (Python: divmod, zlib.crc32).
        assert_eq!(secret.expose(), format!("mk_{}{}", "0".repeat(43), "4NvClr"));
        assert_eq!(secret.start(), "mk_0000");
        assert_eq!(secret.last4(), "vClr");
        let rising = minted(std::array::from_fn(|place| place as u8), 0x1a1b_1c1d_1e1f);
        assert_eq!(rising.expose(), "mk_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf3YmgQx");
        let largest = minted([255; 32], 0xffff_ffff_ffff);
        assert_eq!(largest.expose(), "mk_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp11GHCu7");
    }

    #[test]
    fn debug_shows_nothing_of_the_secret() {
        let secret = minted([7; 32], 0);
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }

    #[test]
    fn prefix_is_lowercase_words_joined_by_single_underscores() {
        for valid in ["mk", "acme_live", "a1_b2_c3"] {
            assert!(valid.parse::<SecretPrefix>().is_ok(), "{valid}");
        }
        for invalid in ["", "_", "_a", "a_", "a__b", "Acme", "a-b", "a b", "é", "abcdefghijklmnopqrstu"] {
            assert!(invalid.parse::<SecretPrefix>().is_err(), "{invalid}");
        }
    }

    proptest! {
        #[test]
        fn parse_returns_the_time_of_minting(prefix in prefix(), bytes: [u8; 32], at in 0..1_i64 << 48) {
            let at = DateTime::from_timestamp_millis(at).unwrap();
            let secret = Secret::mint(&prefix, &Entropy::fixed(bytes), at);
            let parsed = Secret::parse(secret.expose());
            prop_assert_eq!(&parsed.unwrap().time(), &at.timestamp_millis().to_be_bytes()[2..]);
        }

        #[test]
        fn parse_rejects_one_changed_character(prefix in prefix(), bytes: [u8; 32], at: prop::sample::Index, to in "[0-9A-Za-z_]") {
            let secret = Secret::mint(&prefix, &Entropy::fixed(bytes), DateTime::UNIX_EPOCH);
            let at = at.index(secret.expose().len());
            let mut changed = secret.expose().to_owned();
            changed.replace_range(at..=at, &to);
            prop_assert_eq!(Secret::parse(&changed).is_ok(), changed == secret.expose());
        }

        #[test]
        fn parse_of_any_text_does_not_panic(text in ".*") {
            let _ = Secret::parse(&text);
        }
    }
}
