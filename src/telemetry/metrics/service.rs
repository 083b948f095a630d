//! What the service knows of itself, read at a scrape.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::service::Services;
use crate::service::issuer::TrustedIssuer;

pub struct OfService {
    pub services: Arc<Services>,
    pub max_connections: usize,
}

impl fmt::Debug for OfService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OfService")
    }
}

impl Collector for OfService {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let (verifier, usage) = (self.services.verifier.stats(), self.services.usage.stats());
        let issuers = self.services.auth.issuers();
        let count = |number: u64| ConstCounter::new(number);
        let gauge = |number: usize| ConstGauge::new(number);
        let mut families = Families(encoder);

        let version = [("version", env!("CARGO_PKG_VERSION"), gauge(1))];
        families.labelled("mintkey_build_info", "The program that runs", version)?;
        families.one("mintkey_http_connections_limit", "Connections served at a time", gauge(self.max_connections))?;

        let codes = usage.verdicts.iter().map(|&(verdict, number)| ("code", verdict.as_str(), count(number)));
        families.labelled("mintkey_verifications", "Decisions about presented keys", codes)?;

        families.one("mintkey_cache_hits", "PresentedKey secrets that were in memory", count(verifier.cache_hits))?;
        families.one(
            "mintkey_cache_misses",
            "PresentedKey secrets that were not in memory",
            count(verifier.cache_misses),
        )?;
        let entries = [("positive", verifier.positive_entries), ("negative", verifier.negative_entries)];
        let entries = entries.map(|(kind, number)| ("kind", kind, gauge(number)));
        families.labelled("mintkey_cache_entries", "Secrets in memory, of keys and of nothing", entries)?;

        families.in_unit(
            Unit::Seconds,
            "mintkey_revocation_lag",
            "Time that a change of a key made elsewhere takes to be heard of here, or since when nothing was heard",
            ConstGauge::new(verifier.revocation_lag.as_secs_f64()),
        )?;
        let keys = issuers.iter().map(|issuer| ("issuer", &*issuer.issuer, gauge(issuer.keys.count())));
        families.labelled("mintkey_issuer_keys", "Public keys of an issuer that are known", keys)?;
        let age = |issuer: &TrustedIssuer| Some(ConstGauge::new(issuer.keys.age()?.as_secs_f64()));
        let ages = issuers.iter().filter_map(|issuer| Some(("issuer", &*issuer.issuer, age(issuer)?)));
        let help = "Time since the keys of an issuer were last fetched";
        families.labelled_in_unit(Some(Unit::Seconds), "mintkey_issuer_keys_age", help, ages)?;

        let pools = self.services.store_stats();
        let open = pools.iter().map(|pool| ("pool", pool.name, gauge(pool.connections)));
        families.labelled("mintkey_store_connections", "Connections to the database", open)?;
        let idle = pools.iter().map(|pool| ("pool", pool.name, gauge(pool.idle)));
        families.labelled("mintkey_store_connections_idle", "Connections to the database that wait for work", idle)?;

        families.one(
            "mintkey_usage_batches_written",
            "Batches of counts of use that were written",
            count(usage.written_batches),
        )?;
        families.one(
            "mintkey_usage_batches_failed",
            "Batches of counts of use that failed and wait",
            count(usage.failed_batches),
        )?;
        families.one("mintkey_usage_pending", "Secrets whose counts of use wait to be written", gauge(usage.pending))
    }
}

/// Writes a metric family a call.
pub struct Families<'a>(pub DescriptorEncoder<'a>);

impl Families<'_> {
    pub fn one<M: EncodeMetric + TypedMetric>(&mut self, name: &str, help: &str, value: M) -> fmt::Result {
        value.encode(self.0.encode_descriptor(name, help, None, M::TYPE)?)
    }

    pub fn in_unit<M: EncodeMetric + TypedMetric>(
        &mut self,
        unit: Unit,
        name: &str,
        help: &str,
        value: M,
    ) -> fmt::Result {
        value.encode(self.0.encode_descriptor(name, help, Some(&unit), M::TYPE)?)
    }

    /// One series for each value of a label.
    pub fn labelled<'s, M: EncodeMetric + TypedMetric>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (&'static str, &'s str, M)>,
    ) -> fmt::Result {
        self.labelled_in_unit(None, name, help, series)
    }

    pub fn labelled_in_unit<'s, M: EncodeMetric + TypedMetric>(
        &mut self,
        unit: Option<Unit>,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (&'static str, &'s str, M)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit.as_ref(), M::TYPE)?;
        series.into_iter().try_for_each(|(label, of, value)| value.encode(family.encode_family(&[(label, of)])?))
    }
}
