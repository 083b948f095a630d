//! Two linters find nothing in the committed OpenAPI document.

use serde_json::Value;

use crate::support::succeed;
use crate::tools::{npm, project};

#[test]
fn redocly_finds_no_error_and_no_warning() {
    let report = succeed(
        npm("redocly")
            .args(["lint", "--format=json", "openapi.yaml"])
            .env("REDOCLY_TELEMETRY", "off")
            .env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")
            .current_dir(project()),
    );
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["totals"]["errors"], 0, "{report:#}");
    assert_eq!(report["totals"]["warnings"], 0, "{report:#}");
}

#[test]
fn spectral_finds_no_error_and_no_warning() {
    succeed(npm("spectral").args(["lint", "--fail-severity=warn", "openapi.yaml"]).current_dir(project()));
}
