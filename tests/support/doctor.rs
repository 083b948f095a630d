//! Doctor: what it says of a deployment, line by line, and whether it is content.

use std::process::Command;

use super::run;

pub fn outcome(command: &mut Command) -> (String, bool) {
    let output = run(command);
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    assert!(!said.contains("panicked"), "{said}");
    (said, output.status.success())
}

/// Checks that nothing is wrong and that this is said of the subject.
pub fn is_content(said: &(String, bool), subject: &str, words: &[&str]) {
    let (said, content) = said;
    assert!(content & !said.contains("WRONG"), "{said}");
    line(said, &format!("ok     {subject}: "), words);
}

/// Checks that this one thing is wrong, in these words, and that the words hold no secret.
pub fn says(said: &(String, bool), subject: &str, words: &[&str]) {
    let (said, content) = said;
    assert_eq!(said.lines().filter(|line| line.starts_with("WRONG")).count(), 1, "{said}");
    line(said, &format!("WRONG  {subject}: "), words);
    assert!(!content && said.contains("one thing is wrong"), "{said}");
}

fn line(said: &str, start: &str, words: &[&str]) {
    let line = said.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no {start:?} in:\n{said}"));
    for word in words {
        assert!(line.contains(word), "no {word:?} in: {line}");
    }
    assert!(!said.contains("canary"), "{said}");
}
