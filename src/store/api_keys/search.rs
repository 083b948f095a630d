//! Search: the words of a name, as they are stored and as they are looked for.

use unicode_normalization::UnicodeNormalization;

/// Runs of letters and digits, in lower case. Nothing of `LIKE`'s own syntax is left in them.
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
