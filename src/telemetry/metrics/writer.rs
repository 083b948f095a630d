//! Writes the families of a collector.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::registry::Unit;

/// Each method writes one metric family.
pub struct MetricWriter<'a>(pub DescriptorEncoder<'a>);

impl MetricWriter<'_> {
    pub fn write<M: EncodeMetric + TypedMetric>(&mut self, name: &str, help: &str, value: M) -> fmt::Result {
        value.encode(self.0.encode_descriptor(name, help, None, M::TYPE)?)
    }

    pub fn write_with_unit<M: EncodeMetric + TypedMetric>(
        &mut self,
        unit: Unit,
        name: &str,
        help: &str,
        value: M,
    ) -> fmt::Result {
        value.encode(self.0.encode_descriptor(name, help, Some(&unit), M::TYPE)?)
    }

    /// One series for each value of a label.
    pub fn write_labeled<'s, M: EncodeMetric + TypedMetric>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (&'static str, &'s str, M)>,
    ) -> fmt::Result {
        self.write_labeled_with_unit(None, name, help, series)
    }

    pub fn write_labeled_with_unit<'s, M: EncodeMetric + TypedMetric>(
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
