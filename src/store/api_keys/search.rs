//! Search: splits names and queries into words.

use unicode_normalization::UnicodeNormalization;

/// Returns the runs of letters and digits in `text`, in lower case. They contain no wildcards of `LIKE`.
pub fn words(text: &str) -> impl Iterator<Item = String> {
    let folded: String = match text.is_ascii() {
        true => text.to_ascii_lowercase(),
        false => text.nfc().flat_map(char::to_lowercase).nfc().map(|c| if c == 'ς' { 'σ' } else { c }).collect(),
    };
    let words = folded.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned);
    words.collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_letters_and_digits_in_lower_case() {
        assert_eq!(words("Build-Bot 2, 100%_ÉTÉ").collect::<Vec<_>>(), ["build", "bot", "2", "100", "été"]);
    }
}
