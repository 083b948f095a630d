//! W3C Trace Context: the `traceparent` header of a request.

use poem::http::HeaderName;

pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The trace id of a `traceparent` header (W3C Trace Context, section 3.2): `<version>-<32 hex>-<16 hex>-<flags>`.
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
    fn only_a_whole_traceparent_is_honoured() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(trace_id(good), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        assert!(trace_id(&good.replacen("00-", "cc-", 1)).is_some(), "a version to come");
        for bad in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            &format!("{good}-more"),
            &good.to_uppercase(),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            assert_eq!(trace_id(bad), None, "{bad}");
        }
    }
}
