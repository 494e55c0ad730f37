//! Metrics in the OpenMetrics text form: prefix `dfs_`, base units, no label that a user can make many of.
//!
//! Values are looked up where they are kept (mailbox depths, budgets, free space, counters of the store), at each
//! scrape, by functions given to [`Metrics::sample`]. So the rooms below need not know this one, and a node that is
//! never scraped pays nothing.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder, NoLabelSet, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::Registry,
};

/// Labels of one sample.
pub type Labels = Vec<(&'static str, String)>;

/// A value looked up at a scrape.
#[derive(Clone, Debug, PartialEq)]
pub enum SampleValue {
    /// Only grows; `_total` is added to its name.
    Counter(f64),
    /// Goes up and down.
    Gauge(f64),
    /// How measured values are spread; `_bucket`, `_sum` and `_count` are added to its name.
    Histogram {
        /// Sum of all values.
        sum: f64,
        /// How many values lie at or below each bound and above the one before. The last bound is infinite.
        buckets: Vec<(f64, u64)>,
    },
}

impl SampleValue {
    fn kind(&self) -> MetricType {
        match self {
            Self::Counter(_) => MetricType::Counter,
            Self::Gauge(_) => MetricType::Gauge,
            Self::Histogram { .. } => MetricType::Histogram,
        }
    }

    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        match self {
            Self::Counter(value) => ConstCounter::new(*value).encode(encoder),
            Self::Gauge(value) => ConstGauge::new(*value).encode(encoder),
            Self::Histogram { sum, buckets } => {
                let count = buckets.iter().map(|(_, count)| count).sum();
                encoder.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)
            }
        }
    }
}

/// One value with its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name without the `dfs_` prefix and without `_total`, units last.
    pub name: &'static str,
    /// One sentence without a full stop.
    pub help: &'static str,
    /// What distinguishes it from others of its name.
    pub labels: Labels,
    /// The value now. All samples of a name have the same kind of value.
    pub value: SampleValue,
}

type Source = Arc<dyn Fn() -> Vec<Sample> + Send + Sync>;

#[derive(Clone, Default)]
struct Sources(Arc<Mutex<Vec<Source>>>);

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sources")
    }
}

impl Collector for Sources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // One family per name, whatever number of sources contribute to it.
        let mut families: BTreeMap<&'static str, Vec<Sample>> = BTreeMap::new();
        // Asked outside the lock: a source that takes its time keeps only its own scrape.
        let sources = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for sample in sources.iter().flat_map(|source| source()) {
            families.entry(sample.name).or_default().push(sample);
        }
        for (name, samples) in families {
            let Some(first) = samples.first() else { continue };
            let mut family = encoder.encode_descriptor(name, first.help, None, first.value.kind())?;
            for sample in &samples {
                sample.value.encode(family.encode_family(&sample.labels)?)?;
            }
        }
        Ok(())
    }
}

/// The metrics of a process. Cheap to clone; all clones are the same metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    sources: Sources,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// An empty set, with the version of the build in it.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("dfs");
        registry.register(
            "build",
            "Version of this binary",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        let sources = Sources::default();
        registry.register_collector(Box::new(sources.clone()));
        Self { registry: Arc::new(registry), sources }
    }

    /// Adds a function that is called at each scrape. It must be quick and must not block.
    pub fn sample(&self, source: impl Fn() -> Vec<Sample> + Send + Sync + 'static) {
        self.sources.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(source));
    }

    /// Everything, in the OpenMetrics text form.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        match text::encode(&mut out, &self.registry) {
            Ok(()) => out,
            Err(error) => format!("# the metrics could not be written: {error}\n# EOF\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_several_nodes_share_one_family_per_name() {
        let metrics = Metrics::new();
        for node in ["dn1", "dn2"] {
            metrics.sample(move || {
                let sample = |name, value| {
                    let labels = vec![("node", node.to_owned())];
                    Sample { name, help: "What it is", labels, value }
                };
                let buckets = vec![(0.5, 2), (f64::INFINITY, 1)];
                vec![
                    sample("disk_free_bytes", SampleValue::Gauge(5.0)),
                    sample("written_bytes", SampleValue::Counter(7.0)),
                    sample("wait_seconds", SampleValue::Histogram { sum: 9.5, buckets }),
                ]
            });
        }
        let text = metrics.encode();
        assert_eq!(text.matches("# TYPE dfs_disk_free_bytes gauge").count(), 1, "{text}");
        for line in [
            "dfs_disk_free_bytes{node=\"dn2\"} 5",
            "dfs_written_bytes_total{node=\"dn1\"} 7",
            "dfs_wait_seconds_bucket{le=\"0.5\",node=\"dn1\"} 2",
            "dfs_wait_seconds_bucket{le=\"+Inf\",node=\"dn1\"} 3",
            "dfs_wait_seconds_sum{node=\"dn1\"} 9.5",
            "dfs_wait_seconds_count{node=\"dn1\"} 3",
            "dfs_build_info{version=",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
