//! The encoding of text that people save in files: a superset of ASCII, without byte-order marks.

use crate::domain::validation::ValidationError;

/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Rejects UTF-16 and UTF-32, and a byte-order mark in any place, because files are also joined. Editors hide the mark, but
/// it would be a part of a secret, and the PEM block after it would be skipped.
pub fn check_text_encoding(bytes: &[u8]) -> Result<(), ValidationError> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) || bytes.contains(&0) {
        return Err(ValidationError::new(
            "is in UTF-16 or UTF-32; save it as UTF-8 without a byte-order mark, such as with `iconv -f UTF-16 -t UTF-8`",
        ));
    }
    if bytes.windows(BYTE_ORDER_MARK.len()).any(|window| window == BYTE_ORDER_MARK) {
        return Err(ValidationError::new(
            r"contains a byte-order mark (U+FEFF), which editors hide; save it as UTF-8 without one, such as with `sed -i 's/\xEF\xBB\xBF//g'`",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_text_encoding_rejects_byte_order_marks_and_utf_16() {
        let utf16 =
            |text: &str, to_bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to_bytes).collect::<Vec<_>>();
        for (bytes, word) in [
            ("\u{feff}secret".into(), "sed"),
            ("first\n\u{feff}second".into(), "sed"),
            (utf16("\u{feff}secret", u16::to_le_bytes), "iconv"),
            (utf16("\u{feff}secret", u16::to_be_bytes), "iconv"),
            (utf16("secret", u16::to_le_bytes), "iconv"),
            (vec![0xff, 0xfe, 0, 0, b's', 0, 0, 0], "iconv"),
        ] {
            assert!(check_text_encoding(&bytes).unwrap_err().to_string().contains(word), "{bytes:?}");
        }
        for bytes in [&b""[..], b"secret\r\n", "é🔑".as_bytes(), b"a comment in Latin-1: \xe9"] {
            assert_eq!(check_text_encoding(bytes), Ok(()));
        }
    }
}
