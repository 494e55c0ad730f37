//! Whether what was seen in a run is what was promised. Pure: what was seen goes in, a report comes out.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::report::{Acknowledged, Latencies, Latency, Operations, Report, Whole};
use super::scenario::Scenario;
use crate::history::{self, Op};

/// Complaints of one kind that a report names.
const NAMED_MAX: usize = 5;

/// What became of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was done, or was answered that there is no such file.
    Done,
    /// It was not done, for this reason.
    Failed(&'static str),
    /// It may have been done.
    Unknown,
}

/// One operation of a client.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// When it began, since the load did.
    pub(super) at: Duration,
    /// How long it took.
    pub(super) took: Duration,
    pub(super) outcome: Outcome,
}

/// What was seen in one run.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    pub(super) samples: Vec<Sample>,
    /// The first errors that clients saw, with what they did.
    pub(super) errors: Vec<String>,
    /// What clients saw on paths that they share, with the number of paths: each is judged apart.
    pub(super) histories: Vec<(usize, Vec<Op>)>,
    /// Files whose put was acknowledged and that nobody touched again.
    pub(super) kept: u64,
    /// Those of them that are not there at the end, or cannot be read.
    pub(super) lost: Vec<String>,
    /// Reads that gave other bytes than were put.
    pub(super) wrong: Vec<String>,
    /// When the first fault was done, since the load began.
    pub(super) trouble: Duration,
    /// When the cluster was healthy again, since the load began.
    pub(super) healed: Option<Duration>,
    /// From the first fault to the first sign of it in `status`.
    pub(super) detected: Option<Duration>,
    /// That sign.
    pub(super) sign: Option<Vec<String>>,
    /// From the end of the faults until all was well.
    pub(super) healthy: Option<Duration>,
    /// What `status` finds wrong at the end.
    pub(super) findings: Vec<String>,
    /// What `fsck` finds wrong at the end.
    pub(super) fsck: Vec<String>,
    /// Chunks of which every copy was read at the end.
    pub(super) chunks: u64,
    /// Those that have not as many good copies as were asked for, or a bad one besides.
    pub(super) short: Vec<String>,
    /// Restarts of actors, by kind.
    pub(super) restarts: BTreeMap<String, u64>,
    /// Kinds of actors that were struck and do not come and go.
    pub(super) struck: BTreeSet<String>,
    /// What was done to the cluster.
    pub(super) done: Vec<String>,
    /// Processes that ended by themselves, and were started again as an init system would.
    pub(super) ended: Vec<String>,
    /// Panics that nobody ordered.
    pub(super) panics: Vec<String>,
    /// Why the run did not come to its end.
    pub(super) aborted: Option<String>,
}

/// Judges a run.
pub(super) fn judge(scenario: &Scenario, evidence: Evidence) -> Report {
    let mut failures = Vec::new();
    failures.extend(evidence.aborted.as_ref().map(|why| format!("the run was ended: {why}")));
    let told = |what: &str, found: &[String]| {
        let more = found.len().saturating_sub(NAMED_MAX);
        let named = found.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join("; ");
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        (!found.is_empty()).then(|| format!("{what}: {named}{more}"))
    };
    failures.extend(told("acknowledged and lost", &evidence.lost));
    failures.extend(told("wrong bytes", &evidence.wrong));
    failures.extend(told("not in as many good copies as asked for", &evidence.short));
    failures.extend(told("status is not clean", &evidence.findings));
    failures.extend(told("fsck is not clean", &evidence.fsck));
    failures.extend(told("panics that nobody ordered", &evidence.panics));
    let orders = evidence.histories.into_iter().filter_map(|(paths, ops)| history::check(paths, ops).err());
    let orders: Vec<_> = orders.collect();
    let linearizable = orders.is_empty();
    failures.extend(orders);
    if evidence.aborted.is_none() {
        failures.extend(unhealed(scenario, evidence.healthy));
        failures.extend(never_began(&evidence.samples, evidence.kept, &evidence.done));
    }
    let operations = Operations { errors: evidence.errors, ..operations(&evidence.samples) };
    failures.extend(too_many("failed", operations.failed, scenario.checks.failed_max));
    failures.extend(too_many("are unknown", operations.unknown, scenario.checks.unknown_max));
    failures.extend(undetected(scenario, evidence.detected));
    if scenario.checks.restarts {
        let idle = evidence.struck.iter().filter(|kind| !evidence.restarts.contains_key(*kind));
        failures.extend(idle.map(|kind| format!("{kind} was struck and never restarted")));
    }
    let lost = evidence.lost.len() as u64;
    Report {
        passed: failures.is_empty(),
        failures,
        operations,
        acknowledged: Acknowledged { kept: evidence.kept, lost },
        wrong_bytes: evidence.wrong.len() as u64,
        linearizable,
        latency: latencies(&evidence.samples, evidence.trouble, evidence.healed),
        detected_ms: evidence.detected.map(millis),
        detected_by: evidence.sign.unwrap_or_default(),
        healthy_ms: evidence.healthy.map(millis),
        restarts: evidence.restarts,
        faults: evidence.done,
        processes_ended: evidence.ended,
        whole: Whole {
            chunks: evidence.chunks,
            short: evidence.short.len() as u64,
            status: evidence.findings,
            fsck: evidence.fsck,
        },
        ..Report::of(scenario)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn unhealed(scenario: &Scenario, healthy: Option<Duration>) -> Option<String> {
    let within = scenario.recovery.within.0;
    match healthy {
        Some(took) if took <= within => None,
        _ => Some(format!("the cluster was not whole within {}", humantime::format_duration(within))),
    }
}

/// A run in which nothing was done proves nothing.
fn never_began(samples: &[Sample], kept: u64, done: &[String]) -> Option<String> {
    let ok = samples.iter().filter(|sample| sample.outcome == Outcome::Done).count();
    (ok == 0 || kept == 0 || done.is_empty())
        .then(|| format!("{ok} operations, {kept} kept files and {} faults prove nothing", done.len()))
}

fn too_many(what: &str, found: u64, allowed: Option<u64>) -> Option<String> {
    let allowed = allowed.filter(|allowed| found > *allowed)?;
    Some(format!("{found} operations {what}, at most {allowed} may"))
}

fn undetected(scenario: &Scenario, detected: Option<Duration>) -> Option<String> {
    let within = scenario.checks.detect_within?.0;
    let allowed = humantime::format_duration(within);
    match detected {
        Some(took) if took <= within => None,
        Some(took) => {
            Some(format!("status told of the fault after {} ms, not within {allowed}", millis(took)))
        }
        None => Some("status never told of the fault".to_owned()),
    }
}

fn operations(samples: &[Sample]) -> Operations {
    let mut operations = Operations::default();
    for sample in samples {
        match sample.outcome {
            Outcome::Done => operations.ok += 1,
            Outcome::Failed(code) => {
                operations.failed += 1;
                *operations.codes.entry(code.to_owned()).or_default() += 1;
            }
            Outcome::Unknown => operations.unknown += 1,
        }
    }
    operations
}

fn latencies(samples: &[Sample], trouble: Duration, healed: Option<Duration>) -> Latencies {
    let healed = healed.unwrap_or(Duration::MAX);
    let of = |within: &dyn Fn(Duration) -> bool| {
        let done = samples.iter().filter(|sample| sample.outcome == Outcome::Done && within(sample.at));
        let mut took: Vec<Duration> = done.map(|sample| sample.took).collect();
        took.sort_unstable();
        let at = |percent: usize| took.get((took.len() * percent / 100).min(took.len().saturating_sub(1)));
        let ms = |percent| at(percent).map(|took| took.as_secs_f64() * 1000.0);
        Latency { operations: took.len() as u64, p50_ms: ms(50), p99_ms: ms(99), max_ms: ms(100) }
    };
    Latencies {
        before: of(&|at| at < trouble),
        during: of(&|at| at >= trouble && at < healed),
        after: of(&|at| at >= healed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::scenario::tests::SAMPLE;
    use crate::history::Event;

    fn scenario(more: &str) -> Scenario {
        Scenario::parse("sample", &format!("{SAMPLE}{more}")).expect("a scenario")
    }

    fn sample(at: u64, took: u64, outcome: Outcome) -> Sample {
        Sample { at: Duration::from_millis(at), took: Duration::from_millis(took), outcome }
    }

    fn op(called: u64, event: Event) -> Op {
        Op { event, called, returned: Some(called + 1), client: 0 }
    }

    /// A run in which all went well.
    fn clean() -> Evidence {
        let samples = vec![
            sample(100, 1, Outcome::Done),
            sample(1_500, 30, Outcome::Done),
            sample(9_000, 2, Outcome::Done),
        ];
        Evidence {
            samples,
            histories: vec![(1, vec![op(0, Event::Put(0, 1)), op(2, Event::Get(0, Some(1)))])],
            kept: 3,
            trouble: Duration::from_millis(1_000),
            healed: Some(Duration::from_millis(8_000)),
            detected: Some(Duration::from_millis(700)),
            healthy: Some(Duration::from_millis(4_000)),
            chunks: 4,
            restarts: BTreeMap::from([("gc".to_owned(), 2)]),
            struck: BTreeSet::from(["gc".to_owned()]),
            done: vec!["kill datanode2".to_owned()],
            ..Evidence::default()
        }
    }

    #[track_caller]
    fn fails(more: &str, evidence: Evidence, why: &str) {
        let report = judge(&scenario(more), evidence);
        assert!(!report.passed);
        assert!(report.failures.iter().any(|failure| failure.contains(why)), "{:?}", report.failures);
    }

    #[test]
    fn a_run_in_which_all_went_well_passes_with_its_figures() {
        let checks = "checks: {failed_max: 0, unknown_max: 0, detect_within: 1s, restarts: true}\n";
        let report = judge(&scenario(checks), clean());
        assert_eq!(report.failures, [""; 0]);
        assert!(report.passed && report.linearizable);
        assert_eq!((report.operations.ok, report.acknowledged.kept, report.acknowledged.lost), (3, 3, 0));
        let p50s = [&report.latency.before, &report.latency.during, &report.latency.after].map(|l| l.p50_ms);
        assert_eq!(p50s, [Some(1.0), Some(30.0), Some(2.0)]);
        assert_eq!((report.detected_ms, report.healthy_ms), (Some(700), Some(4_000)));
    }

    #[test]
    fn whatever_breaks_a_promise_fails_the_run() {
        let one = || vec!["/keep/7".to_owned()];
        fails("", Evidence { lost: one(), ..clean() }, "acknowledged and lost: /keep/7");
        fails("", Evidence { wrong: one(), ..clean() }, "wrong bytes: /keep/7");
        fails("", Evidence { short: one(), ..clean() }, "not in as many good copies as asked for: /keep/7");
        fails(
            "",
            Evidence { findings: vec!["NODE_DOWN".into()], ..clean() },
            "status is not clean: NODE_DOWN",
        );
        fails("", Evidence { fsck: vec!["orphan".into()], ..clean() }, "fsck is not clean: orphan");
        fails("", Evidence { healthy: None, ..clean() }, "not whole within 30s");
        fails(
            "",
            Evidence { panics: vec!["dn1: oops".into()], ..clean() },
            "panics that nobody ordered: dn1: oops",
        );
        let late = Some(Duration::from_secs(31));
        fails("", Evidence { healthy: late, ..clean() }, "not whole within 30s");
        fails("", Evidence { aborted: Some("too long".into()), ..clean() }, "the run was ended: too long");
        let forgotten = vec![op(0, Event::Put(0, 1)), op(2, Event::Get(0, None))];
        fails("", Evidence { histories: vec![(1, forgotten)], ..clean() }, "no order explains the history");
    }

    #[test]
    fn what_a_scenario_asks_for_besides_fails_the_run_too() {
        let with = |outcome| Evidence {
            samples: vec![sample(0, 1, Outcome::Done), sample(1, 1, outcome)],
            ..clean()
        };
        fails(
            "checks: {failed_max: 0}\n",
            with(Outcome::Failed("Busy")),
            "1 operations failed, at most 0 may",
        );
        fails(
            "checks: {unknown_max: 0}\n",
            with(Outcome::Unknown),
            "1 operations are unknown, at most 0 may",
        );
        let late = "checks: {detect_within: 500ms}\n";
        fails(late, clean(), "status told of the fault after 700 ms, not within 500ms");
        fails(late, Evidence { detected: None, ..clean() }, "status never told of the fault");
        let idle = Evidence { restarts: BTreeMap::new(), ..clean() };
        fails("checks: {restarts: true}\n", idle, "gc was struck and never restarted");
        assert!(
            judge(&scenario(""), with(Outcome::Unknown)).passed,
            "unless it asks, clients may see failures"
        );
    }

    #[test]
    fn a_run_in_which_nothing_was_done_proves_nothing() {
        fails("", Evidence { samples: vec![], ..clean() }, "prove nothing");
        fails("", Evidence { kept: 0, ..clean() }, "prove nothing");
        fails("", Evidence { done: vec![], ..clean() }, "prove nothing");
    }

    #[test]
    fn many_complaints_are_counted_and_some_are_named() {
        let lost = (0..9).map(|number| format!("/keep/{number}")).collect();
        fails("", Evidence { lost, ..clean() }, "/keep/4; and 4 more");
    }
}
