//! Metrics in the text forms that Prometheus reads: prefix `dfs_`, base units, no label that a user can make many of.
//!
//! Values are looked up where they are kept (mailbox depths, budgets, free space, counters of the store), at each
//! scrape, by functions given to [`Metrics::sample`]. So the rooms below need not know this one, and a node that is
//! never scraped pays nothing.
//!
//! Two forms are spoken: [OpenMetrics 1.0](https://prometheus.io/docs/specs/om/open_metrics_spec/) for those who ask for it,
//! and for everybody else the [older text form](https://prometheus.io/docs/instrumenting/exposition_formats/), version
//! 0.0.4, which `promtool check metrics` reads.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    future::ready,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::{BoxFuture, join_all};

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `text/plain; version=0.0.4`.
    Text,
    /// `application/openmetrics-text; version=1.0.0`.
    OpenMetrics,
}

impl Form {
    /// The form that an `Accept` header of HTTP prefers; between equals, and if it names neither, the older one.
    pub fn accepted(accept: &str) -> Self {
        let best = |wanted: &str| {
            let weights = accept.split(',').filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let kind = parts.next()?;
                let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse);
                kind.eq_ignore_ascii_case(wanted).then_some(weight.unwrap_or(0.0))
            });
            weights.fold(0.0, f64::max)
        };
        let open = best("application/openmetrics-text");
        if open > best("text/plain") { Self::OpenMetrics } else { Self::Text }
    }

    /// The content type that is answered with it.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

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

/// One value with its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name without the `dfs_` prefix and without `_total`, units last.
    pub name: &'static str,
    /// One sentence without a full stop, on one line.
    pub help: &'static str,
    /// What distinguishes it from others of its name.
    pub labels: Labels,
    /// The value now. All samples of a name have the same kind of value.
    pub value: SampleValue,
}

type SampleSource = Arc<dyn Fn() -> BoxFuture<'static, Vec<Sample>> + Send + Sync>;

/// The metrics of a process. Cheap to clone; all clones are the same metrics.
#[derive(Clone, Default)]
pub struct Metrics {
    sources: Arc<Mutex<Vec<SampleSource>>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// A set with nothing but the version of the build in it.
    pub fn new() -> Self {
        let metrics = Self::default();
        metrics.sample(|| {
            let labels = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
            vec![Sample {
                name: "build_info",
                help: "Always 1; the version of this binary is a label",
                labels,
                value: SampleValue::Gauge(1.0),
            }]
        });
        metrics
    }

    /// Adds a function that is called at each scrape. It must be quick and must not block.
    pub fn sample(&self, source: impl Fn() -> Vec<Sample> + Send + Sync + 'static) {
        self.gather(move || ready(source()));
    }

    /// As [`Self::sample`], for values that have to be waited for. All are waited for at once, and by the scrape: so `source`
    /// must see to it that it ends within seconds.
    pub fn gather<F>(&self, source: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Vec<Sample>> + Send + 'static,
    {
        let source: SampleSource = Arc::new(move || Box::pin(source()));
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).push(source);
    }

    /// Everything, in one of the text forms.
    pub async fn encode(&self, form: Form) -> String {
        // One family per name, whatever number of sources contribute to it.
        let mut families: BTreeMap<&'static str, Vec<Sample>> = BTreeMap::new();
        // Asked outside the lock: a source that takes its time keeps only its own scrape.
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for sample in join_all(sources.iter().map(|source| source())).await.into_iter().flatten() {
            families.entry(sample.name).or_default().push(sample);
        }
        let mut out = String::new();
        for (name, samples) in &families {
            // Writing to a string does not fail.
            let _ = family(&mut out, form, name, samples);
        }
        if form == Form::OpenMetrics {
            out.push_str("# EOF\n");
        }
        out
    }
}

fn family(out: &mut String, form: Form, name: &str, samples: &[Sample]) -> fmt::Result {
    let Some(first) = samples.first() else { return Ok(()) };
    let (kind, suffix) = match first.value {
        SampleValue::Counter(_) => ("counter", "_total"),
        SampleValue::Gauge(_) => ("gauge", ""),
        SampleValue::Histogram { .. } => ("histogram", ""),
    };
    // OpenMetrics names the family, the older form what its lines begin with.
    let described = if form == Form::OpenMetrics { "" } else { suffix };
    writeln!(out, "# HELP dfs_{name}{described} {}.", first.help)?;
    writeln!(out, "# TYPE dfs_{name}{described} {kind}")?;
    for Sample { labels, value, .. } in samples {
        match value {
            SampleValue::Counter(value) | SampleValue::Gauge(value) => {
                line(out, name, suffix, labels, None, Number(*value))?;
            }
            SampleValue::Histogram { sum, buckets } => {
                let mut count = 0;
                for (bound, more) in buckets {
                    count += more;
                    line(out, name, "_bucket", labels, Some(*bound), count)?;
                }
                line(out, name, "_sum", labels, None, Number(*sum))?;
                line(out, name, "_count", labels, None, count)?;
            }
        }
    }
    Ok(())
}

fn line(
    out: &mut String,
    name: &str,
    suffix: &str,
    labels: &Labels,
    bound: Option<f64>,
    value: impl fmt::Display,
) -> fmt::Result {
    write!(out, "dfs_{name}{suffix}")?;
    let bound = bound.map(|bound| ("le", Number(bound).to_string()));
    let mut before = '{';
    for (label, text) in labels.iter().chain(&bound) {
        write!(out, "{before}{label}=\"{}\"", Escaped(text))?;
        before = ',';
    }
    if before == ',' {
        out.push('}');
    }
    writeln!(out, " {value}")
}

/// A number as both forms write it.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            number => write!(f, "{number:?}"),
        }
    }
}

/// Text of a label.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\n' => f.write_str("\\n"),
            '"' | '\\' => write!(f, "\\{c}"),
            c => f.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn samples_of_several_nodes_share_one_family_per_name() {
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
        let text = metrics.encode(Form::Text).await;
        assert_eq!(text.matches("# TYPE dfs_disk_free_bytes gauge").count(), 1, "{text}");
        for line in [
            "# HELP dfs_written_bytes_total What it is.\n# TYPE dfs_written_bytes_total counter\n",
            "dfs_disk_free_bytes{node=\"dn2\"} 5.0",
            "dfs_written_bytes_total{node=\"dn1\"} 7.0",
            "dfs_wait_seconds_bucket{node=\"dn1\",le=\"0.5\"} 2",
            "dfs_wait_seconds_bucket{node=\"dn1\",le=\"+Inf\"} 3",
            "dfs_wait_seconds_sum{node=\"dn1\"} 9.5",
            "dfs_wait_seconds_count{node=\"dn1\"} 3",
            "# TYPE dfs_build_info gauge\n",
            "dfs_build_info{version=",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("# EOF"), "{text}");
        let text = metrics.encode(Form::OpenMetrics).await;
        assert!(text.contains("# TYPE dfs_written_bytes counter\ndfs_written_bytes_total{"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn whoever_asks_for_openmetrics_gets_it_and_everybody_else_the_older_form() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
                          application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, form) in [
            ("", Form::Text),
            ("*/*", Form::Text),
            ("text/plain;version=0.0.4", Form::Text),
            ("text/html, text/plain; q=0.9, application/openmetrics-text; q=0.5", Form::Text),
            ("application/openmetrics-text; q=nonsense", Form::Text),
            ("application/openmetrics-text", Form::OpenMetrics),
            ("Application/OpenMetrics-Text; version=1.0.0", Form::OpenMetrics),
            (prometheus, Form::OpenMetrics),
        ] {
            assert_eq!(Form::accepted(accept), form, "{accept}");
        }
    }

    #[tokio::test]
    async fn names_that_users_choose_break_no_line() {
        let metrics = Metrics::new();
        metrics.sample(|| {
            let labels = vec![("node", "a\"b\\c\nd".to_owned())];
            vec![Sample { name: "x", help: "What it is", labels, value: SampleValue::Gauge(f64::INFINITY) }]
        });
        let text = metrics.encode(Form::Text).await;
        assert!(text.contains("dfs_x{node=\"a\\\"b\\\\c\\nd\"} +Inf\n"), "{text}");
    }
}
