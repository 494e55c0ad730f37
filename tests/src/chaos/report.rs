//! What a run shows, for programs (JSON) and for people (a table).

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use super::scenario::Scenario;

/// The report of one run of one scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The name of the scenario's file.
    pub scenario: String,
    /// What it shows.
    pub about: String,
    /// Where it ran: `local` or `compose`.
    pub ground: String,
    /// What chance was seeded with.
    pub seed: u64,
    /// How long it took, start and end of the cluster included.
    pub seconds: u64,
    /// Whether all held.
    pub passed: bool,
    /// What did not.
    pub failures: Vec<String>,
    /// What became of the operations of clients.
    pub operations: Operations,
    /// Files that were acknowledged and left alone.
    pub acknowledged: Acknowledged,
    /// Reads that gave other bytes than were put.
    pub wrong_bytes: u64,
    /// Whether one order explains what clients saw.
    pub linearizable: bool,
    /// How long operations took that were done.
    pub latency: Latencies,
    /// From the first fault to the first sign of it in `status`; `null` if there was none.
    pub detected_ms: Option<u64>,
    /// That sign.
    pub detected_by: Vec<String>,
    /// From the end of the faults until all was well.
    pub healthy_ms: Option<u64>,
    /// Restarts of actors, by kind.
    pub restarts: BTreeMap<String, u64>,
    /// What was done to the cluster.
    pub faults: Vec<String>,
    /// Processes that ended by themselves and were started again.
    pub processes_ended: Vec<String>,
    /// How whole the cluster is at the end.
    pub whole: Whole,
}

/// What became of the operations of clients.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Operations {
    /// Done.
    pub ok: u64,
    /// Not done, and said so.
    pub failed: u64,
    /// Perhaps done.
    pub unknown: u64,
    /// Codes of those that failed.
    pub codes: BTreeMap<String, u64>,
    /// The first errors, with what was done.
    pub errors: Vec<String>,
}

/// Files that were acknowledged and left alone.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Acknowledged {
    /// How many there are.
    pub kept: u64,
    /// How many of them are not there at the end.
    pub lost: u64,
}

/// How long operations took, by when they began.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Latencies {
    /// Before the first fault.
    pub before: Latency,
    /// From the first fault until all was well.
    pub during: Latency,
    /// After that.
    pub after: Latency,
}

/// How long operations took.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Latency {
    /// How many.
    pub operations: u64,
    /// Half of them took no longer.
    pub p50_ms: Option<f64>,
    /// 99 of 100 took no longer.
    pub p99_ms: Option<f64>,
    /// The longest.
    pub max_ms: Option<f64>,
}

/// How whole the cluster is at the end.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Whole {
    /// Chunks of which every copy was read.
    pub chunks: u64,
    /// Those without as many good copies as asked for.
    pub short: u64,
    /// What `status` finds wrong.
    pub status: Vec<String>,
    /// What `fsck` finds wrong.
    pub fsck: Vec<String>,
}

impl Report {
    /// One with nothing in it yet.
    pub(super) fn of(scenario: &Scenario) -> Self {
        Self {
            scenario: scenario.name.clone(),
            about: scenario.about.clone(),
            ground: String::new(),
            seed: 0,
            seconds: 0,
            passed: false,
            failures: vec![],
            operations: Operations::default(),
            acknowledged: Acknowledged::default(),
            wrong_bytes: 0,
            linearizable: false,
            latency: Latencies::default(),
            detected_ms: None,
            detected_by: vec![],
            healthy_ms: None,
            restarts: BTreeMap::new(),
            faults: vec![],
            processes_ended: vec![],
            whole: Whole::default(),
        }
    }

    /// The cells of its row.
    fn row(&self) -> Vec<String> {
        let Operations { ok, failed, unknown, .. } = &self.operations;
        let latency = |of: &Latency| match (of.p50_ms, of.p99_ms) {
            (Some(p50), Some(p99)) => format!("{p50:.0}/{p99:.0}"),
            _ => "-".to_owned(),
        };
        let seconds = |ms: Option<u64>| {
            ms.map_or_else(|| "-".to_owned(), |ms| format!("{}.{}s", ms / 1000, ms % 1000 / 100))
        };
        vec![
            self.scenario.clone(),
            if self.passed { "ok" } else { "FAILED" }.to_owned(),
            ok.to_string(),
            failed.to_string(),
            unknown.to_string(),
            self.acknowledged.lost.to_string(),
            self.wrong_bytes.to_string(),
            if self.linearizable { "yes" } else { "NO" }.to_owned(),
            latency(&self.latency.before),
            latency(&self.latency.during),
            latency(&self.latency.after),
            seconds(self.detected_ms),
            seconds(self.healthy_ms),
            self.whole.chunks.to_string(),
            self.whole.short.to_string(),
            self.restarts.values().sum::<u64>().to_string(),
            format!("{}s", self.seconds),
        ]
    }
}

const HEADINGS: [&str; 17] = [
    "SCENARIO",
    "RESULT",
    "OK",
    "FAILED",
    "UNKNOWN",
    "LOST",
    "WRONG",
    "ONE ORDER",
    "BEFORE",
    "DURING",
    "AFTER",
    "DETECTED",
    "HEALTHY",
    "CHUNKS",
    "SHORT",
    "RESTARTS",
    "TOOK",
];

/// The reports as a table, with what failed and which actors were restarted below it.
pub fn table(reports: &[Report]) -> String {
    let rows: Vec<Vec<String>> = std::iter::once(HEADINGS.map(str::to_owned).to_vec())
        .chain(reports.iter().map(Report::row))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADINGS.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 | 1 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text.push_str("BEFORE, DURING, AFTER the trouble: p50/p99 in ms. CHUNKS: of which every copy was read at the end; SHORT: those that miss one.\n");
    for report in reports {
        let kinds = report.restarts.iter().map(|(kind, count)| format!("{kind} {count}"));
        let kinds = kinds.collect::<Vec<_>>().join(", ");
        if !kinds.is_empty() {
            let _ = writeln!(text, "{}: restarts: {kinds}", report.scenario);
        }
        for error in report.operations.errors.iter().filter(|_| !report.passed) {
            let _ = writeln!(text, "{}: a client saw: {error}", report.scenario);
        }
        for failure in &report.failures {
            let _ = writeln!(text, "{}: FAILED (seed {}): {failure}", report.scenario, report.seed);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::scenario::tests::SAMPLE;

    #[test]
    fn a_table_names_what_failed_and_json_has_it_all() {
        let scenario = Scenario::parse("kill-datanode", SAMPLE).expect("a scenario");
        let report = Report {
            failures: vec!["acknowledged and lost: /keep/7".to_owned()],
            restarts: BTreeMap::from([("gc".to_owned(), 2)]),
            healthy_ms: Some(1_234),
            ..Report::of(&scenario)
        };
        let text = table(std::slice::from_ref(&report));
        let row = text.lines().nth(1).expect("a row");
        assert!(row.starts_with("kill-datanode  FAILED") && row.contains("1.2s"), "{text}");
        assert!(text.contains("restarts: gc 2") && text.contains("lost: /keep/7"), "{text}");
        let json = serde_json::to_value(&report).expect("JSON");
        for key in ["operations", "acknowledged", "wrong_bytes", "linearizable", "latency", "whole", "seed"] {
            assert!(!json[key].is_null(), "{key}");
        }
    }
}
