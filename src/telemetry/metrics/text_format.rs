//! The Prometheus text format, made from OpenMetrics, which the metrics library writes.

/// Converts OpenMetrics to the Prometheus text format 0.0.4. There, the `_total` of a counter is part of its name, and there
/// are no units and no end mark.
pub fn to_prometheus(open_metrics: &str) -> String {
    let counters: Vec<_> =
        open_metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut text = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines().filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF") {
        let comment = ["# HELP ", "# TYPE "].into_iter().find_map(|start| Some((start, line.strip_prefix(start)?)));
        match comment.and_then(|(start, rest)| Some((start, rest.split_once(' ')?))) {
            Some((start, (name, rest))) if counters.contains(&name) => {
                text.push_str(&format!("{start}{name}_total {rest}"));
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_prometheus_names_counters_with_total_and_drops_units_and_end() {
        let open_metrics = "# HELP a_seconds A time.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n\
                            a_seconds_total{x=\"# TYPE a_seconds counter\"} 1\n# HELP b A.\n# TYPE b gauge\nb 2\n# EOF\n";
        let expected = "# HELP a_seconds_total A time.\n# TYPE a_seconds_total counter\n\
                        a_seconds_total{x=\"# TYPE a_seconds counter\"} 1\n# HELP b A.\n# TYPE b gauge\nb 2\n";
        assert_eq!(to_prometheus(open_metrics), expected);
    }
}
