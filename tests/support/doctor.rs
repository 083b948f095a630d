//! Runs `mintkey doctor` and checks its report.

use std::process::Command;

use super::run;

pub fn run_doctor(command: &mut Command) -> (String, bool) {
    let output = run(command);
    let report = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    assert!(!report.contains("panicked"), "{report}");
    (report, output.status.success())
}

/// Checks that all checks pass, and that the line on this subject contains these words.
pub fn assert_passes(report: &(String, bool), subject: &str, expected: &[&str]) {
    let (report, passed) = report;
    assert!(passed & !report.contains("FAIL"), "{report}");
    assert_line(report, &format!("ok    {subject}: "), expected);
}

/// Checks that only the check of this subject fails, with these words and without a secret.
pub fn assert_fails(report: &(String, bool), subject: &str, expected: &[&str]) {
    let (report, passed) = report;
    assert_eq!(report.lines().filter(|assert_line| assert_line.starts_with("FAIL")).count(), 1, "{report}");
    assert_line(report, &format!("FAIL  {subject}: "), expected);
    assert!(!passed && report.contains("1 check failed"), "{report}");
}

fn assert_line(report: &str, start: &str, expected: &[&str]) {
    let assert_line = report
        .lines()
        .find(|assert_line| assert_line.starts_with(start))
        .unwrap_or_else(|| panic!("no {start:?} in:\n{report}"));
    for word in expected {
        assert!(assert_line.contains(word), "no {word:?} in: {assert_line}");
    }
    assert!(!report.contains("canary"), "{report}");
}

/// The part of the failed check's advice between two texts, to be followed.
pub fn advice<'a>(report: &'a (String, bool), before: &str, after: &str) -> &'a str {
    let line = report.0.lines().find(|line| line.starts_with("FAIL")).unwrap_or_else(|| panic!("{}", report.0));
    let (_, rest) = line.split_once(before).unwrap_or_else(|| panic!("no {before:?} in: {line}"));
    rest.split_once(after).map_or(rest, |(advice, _)| advice)
}
