//! What there is to draw of a run.

use std::collections::BTreeSet;

use super::rows::{Row, Shown, rows};
use super::spans::{Span, spans};
use crate::sim::id::HostId;
use crate::sim::plan::Plan;
use crate::sim::run::Report;
use crate::sim::trace::What;
use crate::sim::world::LOAD_BEGINS;

/// Rows of a page; what comes after them is on another one.
const ROWS_MAX: usize = 3_000;
/// From so many lanes on, those in which nothing happens are left out.
const LANES_ALL: usize = 12;

/// Which part of a run is to be seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct View {
    /// From this second of the load on.
    pub from: Option<f64>,
    /// Up to this one.
    pub to: Option<f64>,
    /// With what goes on all the time: heartbeats, pings, credits, welcomes.
    pub all: bool,
}

impl View {
    fn holds(&self, row: &Row) -> bool {
        let us = |seconds: f64| (seconds * 1e6) as i64;
        self.from.is_none_or(|from| us(from) <= row.until) && self.to.is_none_or(|to| row.at <= us(to))
    }
}

/// A part of a run, ready to be drawn.
pub struct Page {
    pub(super) title: String,
    pub(super) lanes: Vec<HostId>,
    pub(super) rows: Vec<Row>,
    pub(super) spans: Vec<Span>,
    /// How it ended, and whether that is right.
    pub(super) verdict: Vec<String>,
    pub(super) clean: bool,
    /// Where the next page begins, if this one does not hold all that is in view.
    pub(super) more: Option<i64>,
}

impl Page {
    /// What can be seen of a run that kept its events.
    pub fn of(plan: &Plan, report: &Report, view: View) -> Self {
        let mut events = report.trace.events();
        // Hosts take turns within a tick.
        events.sort_by_key(|event| event.at);
        let begins = |what: &What| matches!(what, What::Life(text) if text == LOAD_BEGINS);
        let base = events.iter().find(|event| begins(&event.what)).map_or(0, |event| event.at);
        let spans = spans(&events, base);
        let mut rows = rows(&events, base, view.all);
        rows.retain(|row| view.holds(row));
        let more = rows.get(ROWS_MAX).map(|row| row.at);
        rows.truncate(ROWS_MAX);
        let clean = report.wrong.is_empty();
        let verdict = match clean {
            true => vec!["clean".to_owned()],
            false => report.wrong.iter().map(|wrong| format!("WRONG: {wrong}")).collect(),
        };
        let title = format!("{plan}");
        let lanes = lanes(plan, &rows);
        Self { title, lanes, rows, spans, verdict, clean, more }
    }

    /// Whether bytes from one host to another are held back at this time.
    pub(super) fn holds_back(&self, at: i64, from: HostId, to: HostId) -> bool {
        self.spans.iter().any(|span| span.covers(at) && span.holds_back(from, to))
    }

    pub(super) fn lane(&self, host: HostId) -> Option<usize> {
        self.lanes.iter().position(|lane| *lane == host)
    }
}

fn lanes(plan: &Plan, rows: &[Row]) -> Vec<HostId> {
    let mut seen: BTreeSet<HostId> = rows.iter().map(|row| row.host).collect();
    seen.extend(rows.iter().filter_map(|row| match &row.shown {
        Shown::Message(message) => Some(message.to),
        _ => None,
    }));
    if usize::from(plan.nodes) < LANES_ALL {
        seen.insert(HostId::COORDINATOR);
        seen.extend((1..=plan.nodes).map(HostId::datanode));
    }
    seen.remove(&HostId::WORLD);
    seen.into_iter().collect()
}
