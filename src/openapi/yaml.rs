//! YAML that YAML 1.1 and 1.2 read alike.
//!
//! The two versions differ in which plain scalars are not strings: 1.1 makes a timestamp of `2026-04-15T12:00:00Z` and
//! a boolean of `on`, and many tools still read 1.1. Emitters for serde quote by one version only, so this one writes a
//! string plain only where both versions agree that it is one.

use std::fmt::Write;

use serde_json::Value;

pub fn to_yaml_text(value: &Value) -> String {
    let mut text = String::new();
    write_node(&mut text, value, 0);
    text
}

/// Writes a value that starts on a line of its own.
fn write_node(text: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                write!(text, "{:indent$}{}:", "", scalar(name)).expect("a String takes all text");
                write_value(text, value, indent, indent + 2);
            }
        }
        Value::Array(items) if !items.is_empty() => items.iter().for_each(|item| write_item(text, item, indent)),
        leaf => writeln!(text, "{:indent$}{}", "", inline(leaf)).expect("a String takes all text"),
    }
}

/// Writes the value after `name:`. A list has the indentation of its name.
fn write_value(text: &mut String, value: &Value, indent: usize, below: usize) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            text.push('\n');
            write_node(text, value, below);
        }
        Value::Array(items) if !items.is_empty() => {
            text.push('\n');
            write_node(text, value, indent);
        }
        Value::String(string) if is_block(string) => write_block(text, string, below),
        leaf => writeln!(text, " {}", inline(leaf)).expect("a String takes all text"),
    }
}

/// Writes `- ` and the item, whose first line follows on the same line.
fn write_item(text: &mut String, item: &Value, indent: usize) {
    let start = text.len();
    match item {
        Value::String(string) if is_block(string) => {
            write!(text, "{:indent$}-", "").expect("a String takes all text");
            write_block(text, string, indent + 2);
        }
        _ => {
            write_node(text, item, indent + 2);
            text.replace_range(start + indent..start + indent + 1, "-");
        }
    }
}

/// True if the text has several lines and can be a literal block: no line begins with white space or needs an escape,
/// and at most one line break ends it.
fn is_block(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    body.contains('\n')
        && !body.ends_with('\n')
        && !body.starts_with('\n')
        && body.split('\n').all(|line| !line.starts_with([' ', '\t']) && is_printable(line))
}

fn write_block(text: &mut String, block: &str, indent: usize) {
    let (body, header) = block.strip_suffix('\n').map_or((block, " |-\n"), |body| (body, " |\n"));
    text.push_str(header);
    for line in body.split('\n') {
        let line = if line.is_empty() { "\n".to_owned() } else { format!("{:indent$}{line}\n", "") };
        text.push_str(&line);
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(string) => scalar(string),
        // JSON's own form is YAML's, too: null, true, 5, [] and {}.
        other => other.to_string(),
    }
}

fn scalar(text: &str) -> String {
    if is_plain(text) {
        text.to_owned()
    } else if is_printable(text) {
        format!("'{}'", text.replace('\'', "''"))
    } else {
        // JSON's escapes are YAML's.
        Value::from(text).to_string()
    }
}

/// True if every version of YAML reads the bare text as this string.
fn is_plain(text: &str) -> bool {
    // All words that YAML 1.1 or 1.2 reads as a boolean or null.
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    text.starts_with(|first: char| first.is_ascii_alphabetic() || "/_$(".contains(first))
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
        && is_printable(text)
}

/// True if the text is one line of characters that YAML takes unescaped.
fn is_printable(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() || ('\u{2028}'..='\u{2029}').contains(&c) || c == '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn strings_that_only_one_version_takes_for_strings_are_quoted() {
        for text in
            ["2026-04-15T12:00:00Z", "2026-04-15", "on", "No", "null", "~", "0.1.0", "1e3", "12:30", "", "=", "<<"]
        {
            assert_eq!(to_yaml_text(&json!(text)), format!("'{text}'\n"));
        }
        assert_eq!(to_yaml_text(&json!("it's: so")), "'it''s: so'\n");
        assert_eq!(to_yaml_text(&json!("a plain sentence, with 5 words.")), "a plain sentence, with 5 words.\n");
    }

    #[test]
    fn nested_values_are_indented_by_two() {
        let value = json!({ "a": { "b": [1, { "c": "x\ny", "d": [] }, ["z"]] }, "e": {} });
        let text = "a:\n  b:\n  - 1\n  - c: |-\n      x\n      y\n    d: []\n  - - z\ne: {}\n";
        assert_eq!(to_yaml_text(&value), text);
    }

    fn json_values() -> impl Strategy<Value = Value> {
        let text = prop_oneof!["\\PC{0,12}", "[ -~\n]{0,12}", "[a-z:# '\"\n-]{0,8}", any::<String>()];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[ -~]{0,6}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn written_value_is_read_back(value in json_values()) {
            let text = to_yaml_text(&value);
            let read: Value = serde_norway::from_str(&text).map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
            prop_assert_eq!(read, value, "{}", text);
        }
    }
}
