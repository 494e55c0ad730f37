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
    encoding::{DescriptorEncoder, EncodeMetric as _, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::Registry,
};

/// Labels of one sample.
pub type Labels = Vec<(&'static str, String)>;

/// Whether a sampled value only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleKind {
    /// Only grows; `_total` is added to its name.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One value looked up at a scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name without the `dfs_` prefix and without `_total`, units last.
    pub name: &'static str,
    /// One sentence without a full stop.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: SampleKind,
    /// What distinguishes it from others of its name.
    pub labels: Labels,
    /// The value now.
    pub value: f64,
}

type Source = Box<dyn Fn() -> Vec<Sample> + Send + Sync>;

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
        for sample in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().flat_map(|source| source())
        {
            families.entry(sample.name).or_default().push(sample);
        }
        for (name, samples) in families {
            let Some(first) = samples.first() else { continue };
            let kind = match first.kind {
                SampleKind::Counter => MetricType::Counter,
                SampleKind::Gauge => MetricType::Gauge,
            };
            let mut family = encoder.encode_descriptor(name, first.help, None, kind)?;
            for sample in &samples {
                let labelled = family.encode_family(&sample.labels)?;
                match sample.kind {
                    SampleKind::Counter => ConstCounter::new(sample.value).encode(labelled)?,
                    SampleKind::Gauge => ConstGauge::new(sample.value).encode(labelled)?,
                }
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
        self.sources.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(source));
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
                let sample = |name, kind, value| {
                    let labels = vec![("node", node.to_owned())];
                    Sample { name, help: "What it is", kind, labels, value }
                };
                vec![
                    sample("disk_free_bytes", SampleKind::Gauge, 5.0),
                    sample("written_bytes", SampleKind::Counter, 7.0),
                ]
            });
        }
        let text = metrics.encode();
        assert_eq!(text.matches("# TYPE dfs_disk_free_bytes gauge").count(), 1, "{text}");
        for line in [
            "dfs_disk_free_bytes{node=\"dn2\"} 5",
            "dfs_written_bytes_total{node=\"dn1\"} 7",
            "dfs_build_info{version=",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
