//! Metrics of the services, read at a scrape.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::service::Services;
use crate::service::issuer::TrustedIssuer;
use crate::telemetry;
use crate::telemetry::metrics::ConnectionLimits;
use crate::telemetry::metrics::writer::MetricWriter;

pub struct ServiceCollector {
    pub services: Arc<Services>,
    pub limits: ConnectionLimits,
}

impl fmt::Debug for ServiceCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceCollector")
    }
}

impl Collector for ServiceCollector {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut writer = MetricWriter(encoder);
        let version = [("version", env!("CARGO_PKG_VERSION"), gauge(1))];
        writer.write_labeled("mintkey_build_info", "Version of the running program", version)?;
        let (all, per_peer) = (gauge(self.limits.all), gauge(self.limits.per_peer));
        writer.write("mintkey_http_connections_limit", "Maximum concurrent connections", all)?;
        writer.write(
            "mintkey_http_connections_per_peer_limit",
            "Maximum concurrent connections of a peer",
            per_peer,
        )?;
        let dropped = count(telemetry::dropped_log_lines());
        writer.write("mintkey_log_lines_dropped", "Number of log lines that could not be written", dropped)?;
        let omitted = count(telemetry::UNAUTHENTICATED_LINES.omitted());
        writer.write("mintkey_log_lines_omitted", "Number of request lines over the limit per second", omitted)?;
        let lost = telemetry::LOST_SPANS.by_reason().map(|(reason, number)| ("reason", reason, count(number)));
        writer.write_labeled("mintkey_spans_lost", "Number of spans that no collector received", lost)?;
        self.write_verifier(&mut writer)?;
        self.write_issuers(&mut writer)?;
        self.write_store(&mut writer)?;
        self.write_stored_secrets(&mut writer)?;
        self.write_refusals(&mut writer)?;
        self.write_revocation_jobs(&mut writer)?;
        self.write_usage(&mut writer)
    }
}

impl ServiceCollector {
    fn write_verifier(&self, writer: &mut MetricWriter<'_>) -> fmt::Result {
        let stats = self.services.verifier.stats();
        let (hits, misses) = (count(stats.cache_hits), count(stats.cache_misses));
        writer.write("mintkey_cache_hits", "Number of lookups found in the cache", hits)?;
        writer.write("mintkey_cache_misses", "Number of lookups not found in the cache", misses)?;
        let entries = [("positive", stats.positive_entries), ("negative", stats.negative_entries)];
        let entries = entries.map(|(kind, number)| ("kind", kind, gauge(number)));
        let help = "Cached lookups: keys that exist (positive), secrets of no key (negative)";
        writer.write_labeled("mintkey_cache_entries", help, entries)?;
        let cached = self.services.cached_bytes().map(|(kind, bytes, _)| ("kind", kind, gauge(bytes)));
        let help = "Memory that cached keys, verified tokens and serialized responses occupy";
        writer.write_labeled_with_unit(Some(Unit::Bytes), "mintkey_cache_size", help, cached)?;
        let limits = self.services.cached_bytes().map(|(kind, _, limit)| ("kind", kind, gauge(limit)));
        let help = "Maximum of mintkey_cache_size_bytes: the share of --cache-size";
        writer.write_labeled_with_unit(Some(Unit::Bytes), "mintkey_cache_size_limit", help, limits)?;
        let lag = ConstGauge::new(stats.revocation_lag.as_secs_f64());
        let help = "Time for a change made by another process to reach this cache, or since the last contact";
        writer.write_with_unit(Unit::Seconds, "mintkey_revocation_lag", help, lag)
    }

    fn write_refusals(&self, writer: &mut MetricWriter<'_>) -> fmt::Result {
        let stats = self.services.keys.refusals();
        let outcomes = [("recorded", stats.recorded), ("over_limit", stats.over_limit), ("failed", stats.failed)];
        let outcomes = outcomes.map(|(outcome, number)| ("audit", outcome, count(number)));
        let help = "Number of operations refused for a missing right over a key, by the outcome of recording them";
        writer.write_labeled("mintkey_refusals", help, outcomes)
    }

    fn write_revocation_jobs(&self, writer: &mut MetricWriter<'_>) -> fmt::Result {
        let stats = self.services.revocation_jobs.stats();
        let help = "Number of keys that this process revoked in bulk revocations";
        writer.write("mintkey_bulk_revoked_keys", help, count(stats.revoked))?;
        let unfinished = ConstGauge::new(stats.unfinished);
        writer.write("mintkey_bulk_revocations_unfinished", "Unfinished bulk revocations of all processes", unfinished)
    }

    fn write_issuers(&self, writer: &mut MetricWriter<'_>) -> fmt::Result {
        let issuers = self.services.auth.issuers();
        let keys = issuers.iter().map(|issuer| ("issuer", &*issuer.issuer, gauge(issuer.keys.count())));
        writer.write_labeled("mintkey_issuer_keys", "Cached public keys of an issuer", keys)?;
        let age = |issuer: &TrustedIssuer| Some(ConstGauge::new(issuer.keys.age()?.as_secs_f64()));
        let ages = issuers.iter().filter_map(|issuer| Some(("issuer", &*issuer.issuer, age(issuer)?)));
        let help = "Time since the last successful fetch of an issuer's keys";
        writer.write_labeled_with_unit(Some(Unit::Seconds), "mintkey_issuer_keys_age", help, ages)
    }

    fn write_store(&self, writer: &mut MetricWriter<'_>) -> fmt::Result {
        let pools = self.services.store_stats();
        let open = pools.iter().map(|pool| ("pool", pool.name, gauge(pool.connections)));
        writer.write_labeled("mintkey_store_connections", "Open database connections", open)?;
        let idle = pools.iter().map(|pool| ("pool", pool.name, gauge(pool.idle)));
        writer.write_labeled("mintkey_store_connections_idle", "Idle database connections", idle)?;
        let Some(writable) = self.services.health.is_writable() else { return Ok(()) };
        let help = "1 if the database took the last change that was tried, else 0";
        writer.write("mintkey_store_writable", help, gauge(usize::from(writable)))
    }

    fn write_stored_secrets(&self, writer: &mut MetricWriter<'_>) -> fmt::Result {
        let counts = self.services.stored_secrets.counts();
        let secrets = counts.iter().map(|(pepper, number)| ("pepper", pepper.as_str(), ConstGauge::new(*number)));
        let help = "Secrets that depend on a pepper, while several are registered; counted hourly";
        writer.write_labeled("mintkey_stored_secrets", help, secrets)
    }

    fn write_usage(&self, writer: &mut MetricWriter<'_>) -> fmt::Result {
        let stats = self.services.usage.stats();
        let codes = stats.verdicts.iter().map(|&(verdict, number)| ("code", verdict.as_str(), count(number)));
        writer.write_labeled("mintkey_verifications", "Number of verifications, by result", codes)?;
        let (written, failed) = (count(stats.written_batches), count(stats.failed_batches));
        writer.write("mintkey_usage_batches_written", "Number of usage batches written", written)?;
        writer.write("mintkey_usage_batches_failed", "Number of usage batches that failed and are retried", failed)?;
        writer.write("mintkey_usage_pending", "Secrets with usage counts not yet written", gauge(stats.pending))
    }
}

fn count(number: u64) -> ConstCounter<u64> {
    ConstCounter::new(number)
}

fn gauge(number: usize) -> ConstGauge<usize> {
    ConstGauge::new(number)
}
