//! The timeline as text: a column for each host, and what happens in words beside them.

use std::fmt::Write as _;

use super::page::Page;
use super::rows::{Message, Row, Shown, Sort};
use super::spans::Sort as Ill;
use crate::sim::id::HostId;

/// Between two columns.
const WIDE: usize = 8;
const NARROW: usize = 4;
/// So many columns are wide ones.
const WIDE_MAX: usize = 12;
/// A pause that is longer is said.
const IDLE_US: i64 = 200_000;

const LEGEND: &str = "\
│ a process  ┃ a client whose call is open  ┊ a process that is paused  (blank) none
●──▶ request  ●╌╌▶ answer  ●══▶ data  ●~~▶ other  ■ disk made durable  □ disk changed  × fault  ! log
";

pub(super) fn draw(page: &Page) -> String {
    let mut text = format!("{}\n{LEGEND}\n", page.title);
    let width = if page.lanes.len() > WIDE_MAX { NARROW } else { WIDE };
    let mut heads = String::new();
    page.lanes.iter().for_each(|lane| heads.push_str(&format!("{:<width$}", lane.to_string())));
    let _ = writeln!(text, "   seconds  {heads}");
    let mut lanes = Lanes { page, width, calling: vec![false; page.lanes.len()] };
    let mut before = page.rows.first().map_or(0, |row| row.at);
    for row in &page.rows {
        if row.at - before > IDLE_US {
            let idle = (row.at - before) as f64 / 1e6;
            let _ = writeln!(text, "            {}   ... {idle:.1} s", lanes.line(before + 1));
        }
        before = row.until;
        let _ = writeln!(text, "{:>10.3}  {}   {}", row.at as f64 / 1e6, lanes.row(row), words(page, row));
    }
    if let Some(more) = page.more {
        let _ = writeln!(text, "... and more from second {:.1} on", more as f64 / 1e6);
    }
    page.verdict.iter().for_each(|verdict| text.push_str(&format!("\n{verdict}")));
    text.push('\n');
    text
}

struct Lanes<'a> {
    page: &'a Page,
    width: usize,
    /// Whether the client of a lane waits for an answer.
    calling: Vec<bool>,
}

impl Lanes<'_> {
    fn cells(&self, at: i64) -> Vec<char> {
        let mut cells = vec![' '; self.page.lanes.len() * self.width];
        for (lane, host) in self.page.lanes.iter().enumerate() {
            let is = |sort| self.page.spans.iter().any(|span| span.is_of(sort, *host) && span.covers(at));
            cells[lane * self.width] = match () {
                () if is(Ill::Down) => ' ',
                () if is(Ill::Paused) => '┊',
                () if self.calling[lane] => '┃',
                () => '│',
            };
        }
        cells
    }

    fn line(&self, at: i64) -> String {
        self.cells(at).into_iter().collect()
    }

    fn row(&mut self, row: &Row) -> String {
        let lane = self.page.lane(row.host);
        match (&row.shown, lane) {
            (Shown::Called(_), Some(lane)) => self.calling[lane] = true,
            (Shown::Answered(..), Some(lane)) => self.calling[lane] = false,
            _ => {}
        }
        let mut cells = self.cells(row.at);
        let mut mark = |lane: usize, mark: char| cells[lane * self.width] = mark;
        match (&row.shown, lane) {
            (Shown::Message(message), Some(from)) => {
                if let Some(to) = self.page.lane(message.to) {
                    arrow(&mut cells, from * self.width, to * self.width, message.sort);
                }
            }
            (Shown::Disk { durable, .. }, Some(lane)) => mark(lane, if *durable { '■' } else { '□' }),
            (Shown::Fault(text), _) => {
                let hosts = text.split(' ').filter_map(HostId::named);
                hosts.filter_map(|host| self.page.lane(host)).for_each(|lane| mark(lane, '×'));
            }
            (Shown::Log { .. }, Some(lane)) => mark(lane, '!'),
            (Shown::Called(_), Some(lane)) => mark(lane, '┳'),
            (Shown::Answered(..), Some(lane)) => mark(lane, '┻'),
            _ => {}
        }
        cells.into_iter().collect()
    }
}

fn arrow(cells: &mut [char], from: usize, to: usize, sort: Sort) {
    let line = match sort {
        Sort::Request => '─',
        Sort::Answer | Sort::Refusal => '╌',
        Sort::Data => '═',
        Sort::Other => '~',
    };
    let (left, right) = (from.min(to), from.max(to));
    cells[left + 1..right].fill(line);
    cells[from] = '●';
    match from < to {
        true => cells[to - 1] = '▶',
        false => cells[to + 1] = '◀',
    }
}

fn words(page: &Page, row: &Row) -> String {
    let host = row.host;
    match &row.shown {
        Shown::Message(Message { to, label, .. }) => {
            let held = if page.holds_back(row.at, host, *to) { "  (held back)" } else { "" };
            format!("{host} > {to}  {label}{held}")
        }
        Shown::Disk { label, .. } => format!("{host} disk: {label}"),
        Shown::Fault(text) if text.split(' ').any(|word| HostId::named(word).is_some()) => {
            format!("FAULT {text}")
        }
        Shown::Fault(text) => format!("--- {text}"),
        Shown::Log { text, error } => {
            format!("{host} {}: {text}", if *error { "ERROR" } else { "WARN" })
        }
        Shown::Life(text) | Shown::Called(text) | Shown::Answered(text, _) | Shown::Said(text) => {
            format!("{host} {text}")
        }
    }
}
