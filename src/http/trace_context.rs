//! W3C Trace Context: the `traceparent` header of a request.

use poem::http::HeaderName;

pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Returns the trace id of a `traceparent` header (W3C Trace Context, section 3.2): `<version>-<32 hex>-<16 hex>-<flags>`.
pub fn trace_id(traceparent: &str) -> Option<&str> {
    let parts: Vec<_> = traceparent.split('-').collect();
    let [version, trace, parent, flags, ..] = parts[..] else { return None };
    let hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let zero = |text: &str| text.bytes().all(|b| b == b'0');
    let known = hex(version, 2) && version != "ff" && (version != "00" || parts.len() == 4);
    (known && hex(trace, 32) && !zero(trace) && hex(parent, 16) && !zero(parent) && hex(flags, 2)).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_id_is_taken_from_a_complete_traceparent() {
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(trace_id(valid), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        assert!(trace_id(&valid.replacen("00-", "cc-", 1)).is_some(), "a future version");
        for invalid in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            &format!("{valid}-more"),
            &valid.to_uppercase(),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            assert_eq!(trace_id(invalid), None, "{invalid}");
        }
    }
}
