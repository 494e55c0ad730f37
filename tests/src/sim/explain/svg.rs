//! The timeline as a picture: what `text` says, with colours for clients, bands for what lasted, and every event under the
//! pointer.

use super::canvas::{Anchor, Canvas, cut};
use super::page::Page;
use super::rows::{Message, Outcome, Row, Shown, Sort};
use super::spans::{Sort as Ill, Span};
use crate::sim::id::HostId;

const WIDTH: f64 = 1_600.0;
/// The column of times.
const LEFT: f64 = 90.0;
/// Room for the words of the last lane.
const RIGHT: f64 = 210.0;
const TOP: f64 = 96.0;
const ROW: f64 = 19.0;
/// What is left of a time in which nothing happens.
const GAP: f64 = 26.0;
const IDLE_US: i64 = 200_000;
/// The names of lanes come again after so many rows.
const NAMES_EVERY: usize = 40;
/// The width of a letter, more or less.
const LETTER: f64 = 6.3;
/// Events of a row that are told under the pointer.
const TOLD_MAX: usize = 30;
/// Letters of a line of the title or the verdict.
const LINE: usize = 165;

const STYLE: &str = "\
text { font: 10.5px ui-monospace, 'DejaVu Sans Mono', monospace; fill: #333; paint-order: stroke; stroke: white; stroke-width: 3px }\
.head { font-size: 14px; font-weight: bold } .call { font-weight: bold } .time { fill: #888 } .bad { fill: #c1121f; font-weight: bold }\
.warn { fill: #b35900 } .good { fill: #2b7a3d; font-weight: bold } .faint { fill: #999 }";
const BAD: &str = "#c1121f";
/// A colour for each client.
const CLIENTS: [&str; 8] =
    ["#1f5fbf", "#2b7a3d", "#b35900", "#7b3fa0", "#00808a", "#a0346e", "#6b6b00", "#444488"];
const NOBODY: &str = "#777777";
const DIAMOND: &str = "M 0 -5.5 L 5.5 0 L 0 5.5 L -5.5 0 Z";
const DISC: &str = "M -4 0 a 4 4 0 1 0 8 0 a 4 4 0 1 0 -8 0 Z";
const CROSS: &str = "M -5 -5 L 5 5 M 5 -5 L -5 5";
const HEAD_RIGHT: &str = "M 0 0 L -8 -3.5 L -8 3.5 Z";
const HEAD_LEFT: &str = "M 0 0 L 8 -3.5 L 8 3.5 Z";

pub(super) fn draw(page: &Page) -> String {
    let map = Map::of(page);
    let mut canvas = Canvas::default();
    map.names(&mut canvas);
    map.lanes(&mut canvas);
    page.spans.iter().for_each(|span| map.span(&mut canvas, span));
    map.calls(&mut canvas);
    for (row, y) in page.rows.iter().zip(&map.ys) {
        let told = row.events.iter().take(TOLD_MAX).cloned();
        let more = row.events.len().checked_sub(TOLD_MAX).filter(|more| *more > 0);
        let told: Vec<_> = told.chain(more.map(|more| format!("... and {more} more"))).collect();
        canvas.group(&told.join("\n"), |canvas| map.row(canvas, row, *y));
    }
    legend(&mut canvas, page);
    let height = map.verdict(&mut canvas);
    canvas.finish((map.width, height), STYLE)
}

/// Where everything is.
struct Map<'a> {
    page: &'a Page,
    /// Between two lanes.
    pitch: f64,
    width: f64,
    ys: Vec<f64>,
    bottom: f64,
}

impl<'a> Map<'a> {
    fn of(page: &'a Page) -> Self {
        let pitch = ((WIDTH - LEFT - RIGHT) / page.lanes.len().max(1) as f64).clamp(40.0, 170.0);
        let width = LEFT + RIGHT + pitch * page.lanes.len() as f64;
        let (mut y, mut before, mut ys) = (TOP + ROW / 2.0, None, vec![]);
        for (number, row) in page.rows.iter().enumerate() {
            let idle = before.is_some_and(|before| row.at - before > IDLE_US);
            y += if idle { ROW + GAP } else { ROW };
            y += if number > 0 && number % NAMES_EVERY == 0 { ROW } else { 0.0 };
            before = Some(row.until);
            ys.push(y);
        }
        Self { page, pitch, width: width.max(1_100.0), ys, bottom: y + ROW }
    }

    fn x(&self, host: HostId) -> Option<f64> {
        self.page.lane(host).map(|lane| LEFT + self.pitch * (lane as f64 + 0.3))
    }

    /// The height of a time: between the rows before and after.
    fn y(&self, at: i64) -> f64 {
        let next = self.page.rows.iter().position(|row| row.at >= at);
        next.map_or(self.bottom, |next| self.ys[next] - ROW / 2.0)
    }

    fn letters(&self, width: f64) -> usize {
        (width / LETTER) as usize
    }

    fn names(&self, canvas: &mut Canvas) {
        for (number, y) in self.ys.iter().enumerate().step_by(NAMES_EVERY) {
            let (class, y) = if number == 0 { ("head", TOP - 8.0) } else { ("head faint", *y - ROW + 4.0) };
            for host in &self.page.lanes {
                let Some(x) = self.x(*host) else { continue };
                canvas.text((x, y), Anchor::Middle, class, &host.to_string());
            }
        }
    }

    fn lanes(&self, canvas: &mut Canvas) {
        for x in self.page.lanes.iter().filter_map(|host| self.x(*host)) {
            canvas.line((x, TOP), (x, self.bottom), r##"stroke="#bbb""##);
        }
        let rows = self.page.rows.iter().zip(&self.ys);
        let pairs = rows.clone().zip(rows.skip(1));
        for ((before, _), (row, y)) in pairs.filter(|((a, _), (b, _))| b.at - a.until > IDLE_US) {
            let (y, idle) = (y - ROW / 2.0 - GAP / 2.0, (row.at - before.until) as f64 / 1e6);
            canvas.line(
                (LEFT, y),
                (self.width - RIGHT / 2.0, y),
                r##"stroke="#ddd" stroke-dasharray="2 6" stroke-width="12""##,
            );
            canvas.text((LEFT - 12.0, y + 4.0), Anchor::End, "time", &format!("⋮ {idle:.1} s"));
        }
    }

    fn span(&self, canvas: &mut Canvas, span: &Span) {
        let Some((x, first)) = span.hosts.first().and_then(|host| self.x(*host)).zip(self.page.rows.first())
        else {
            return;
        };
        let (above, below) = (self.y(span.from.max(first.at)), self.y(span.to));
        if below - above < 1.0 || span.to <= first.at {
            return;
        }
        let times = format!("{:.1} to {:.1} s", span.from as f64 / 1e6, span.to as f64 / 1e6);
        let (offset, width, colour) = match span.sort {
            Ill::Down => (0.0, 16.0, "#e5383b"),
            Ill::Paused => (0.0, 16.0, "#999999"),
            Ill::Mute => (-14.0, 5.0, "#e5383b"),
            Ill::Slow => (-20.0, 5.0, "#ee9b00"),
            Ill::Disk => (14.0, 5.0, "#ee9b00"),
        };
        let label = match span.hosts.get(1) {
            Some(other) if span.sort == Ill::Mute => format!("↛ {other}"),
            Some(other) => format!("slow to {other}"),
            None => span.text.clone(),
        };
        canvas.group(&format!("{}: {times}", span.text), |canvas| {
            let style = format!(r#"fill="{colour}" fill-opacity="0.45""#);
            canvas.rect((x + offset - width / 2.0, above), (width, below - above), &style);
            // Where it begins there is a row that says so.
            if span.from < first.at {
                let words = cut(&until(&label, span), self.letters(self.pitch - 14.0).max(12));
                canvas.text((x + offset + 10.0, above + 2.0), Anchor::Start, "bad", &words);
            }
        });
    }

    /// From each call to its answer.
    fn calls(&self, canvas: &mut Canvas) {
        let mut open = vec![None; self.page.lanes.len()];
        for (row, y) in self.page.rows.iter().zip(&self.ys) {
            let Some(lane) = self.page.lane(row.host) else { continue };
            match &row.shown {
                Shown::Called(call) => open[lane] = Some((*y, call)),
                Shown::Answered(text, outcome) => {
                    let (from, call) = open[lane].take().unwrap_or((TOP, text));
                    self.call(canvas, row.host, (from, *y), &[call, text], Some(*outcome));
                }
                _ => {}
            }
        }
        for (lane, call) in open.into_iter().enumerate() {
            if let Some((from, call)) = call {
                self.call(canvas, self.page.lanes[lane], (from, self.bottom), &[call], None);
            }
        }
    }

    fn call(
        &self,
        canvas: &mut Canvas,
        host: HostId,
        (from, to): (f64, f64),
        words: &[&String],
        outcome: Option<Outcome>,
    ) {
        let Some(x) = self.x(host) else { return };
        let stroke = match outcome {
            Some(Outcome::Done) => "#2b7a3d",
            Some(Outcome::Refused) => "#777777",
            Some(Outcome::Unknown) | None => BAD,
        };
        let style = format!(r#"rx="4" fill="{}" fill-opacity="0.35" stroke="{stroke}""#, colour(Some(host)));
        let words: Vec<_> = words.iter().map(|words| words.as_str()).collect();
        canvas.group(&words.join("\n"), |canvas| canvas.rect((x - 5.0, from), (10.0, to - from), &style));
    }

    fn row(&self, canvas: &mut Canvas, row: &Row, y: f64) {
        let time = format!("{:.3}", row.at as f64 / 1e6);
        canvas.text((LEFT - 12.0, y + 4.0), Anchor::End, "time", &time);
        let Some(x) = self.x(row.host) else {
            if let Shown::Fault(text) = &row.shown {
                self.fault(canvas, row, text, y);
            }
            return;
        };
        let mut say = |class: &str, text: &str, letters: usize| {
            canvas.text((x + 11.0, y + 4.0), Anchor::Start, class, &cut(text, letters));
        };
        let (near, far) = (self.letters(self.pitch - 12.0), self.letters(self.width - x - 16.0));
        match &row.shown {
            Shown::Message(message) => self.message(canvas, row, message, (x, y)),
            Shown::Disk { label, short, durable } => {
                let label = if label.chars().count() <= near { label } else { short };
                say("", label, near.max(12));
                let (mark, fill) = match *durable {
                    true if label.contains("rename") => (DIAMOND, "#333"),
                    true => (DISC, "#333"),
                    false => (DISC, "white"),
                };
                canvas.path((x, y), mark, &format!(r##"fill="{fill}" stroke="#333""##));
            }
            Shown::Life(text) => {
                let down = self
                    .page
                    .spans
                    .iter()
                    .find(|span| span.is_of(Ill::Down, row.host) && span.from == row.at);
                match (text.as_str(), down) {
                    ("starts", _) => say("good", text, far),
                    (_, Some(span)) => say("bad", &until(text, span), far),
                    (_, None) => say("faint", text, far),
                }
            }
            Shown::Log { text, error } => {
                let class = if *error { "bad" } else { "warn" };
                say(class, &format!("! {text}"), far.min(70));
            }
            Shown::Called(text) => say("call", text, far),
            Shown::Answered(text, outcome) => {
                let class = match outcome {
                    Outcome::Done => "good",
                    Outcome::Refused => "",
                    Outcome::Unknown => "bad",
                };
                say(class, text.split_once(": ").map_or(text.as_str(), |(_, result)| result), far);
            }
            Shown::Said(text) | Shown::Fault(text) => say("", text, far),
        }
    }

    fn message(&self, canvas: &mut Canvas, row: &Row, message: &Message, (x, y): (f64, f64)) {
        let Some(to) = self.x(message.to) else { return };
        let held = self.page.holds_back(row.at, row.host, message.to);
        let stroke = if held { BAD } else { colour(message.client) };
        let class = match message.sort {
            _ if held => "bad",
            Sort::Refusal => "warn",
            _ => "",
        };
        let dashes = match message.sort {
            Sort::Request => "",
            Sort::Answer | Sort::Refusal => r#"stroke-dasharray="5 3""#,
            Sort::Data => r#"stroke-width="3.5""#,
            Sort::Other => r#"stroke-dasharray="1.5 3""#,
        };
        canvas.line((x, y), (to, y), &format!(r#"stroke="{stroke}" {dashes}"#));
        canvas.path((x, y), "M -2 0 a 2 2 0 1 0 4 0 a 2 2 0 1 0 -4 0 Z", &format!(r#"fill="{stroke}""#));
        let head = if x < to { HEAD_RIGHT } else { HEAD_LEFT };
        canvas.path((to, y), head, &format!(r#"fill="{stroke}""#));
        let label = if held { format!("held back: {}", message.label) } else { message.label.clone() };
        let label = cut(&label, self.letters((to - x).abs() - 16.0).max(8));
        canvas.text(((x + to) / 2.0, y - 3.0), Anchor::Middle, class, &label);
    }

    /// A line through all lanes, and a cross where it hits.
    fn fault(&self, canvas: &mut Canvas, row: &Row, text: &str, y: f64) {
        let hosts: Vec<_> = text.split(' ').filter_map(HostId::named).collect();
        let (colour, class) = if hosts.is_empty() { ("#999", "faint") } else { (BAD, "bad") };
        let style = format!(r#"stroke="{colour}" stroke-dasharray="6 4""#);
        canvas.line((LEFT, y), (self.width - RIGHT + 10.0, y), &style);
        for x in hosts.into_iter().filter_map(|host| self.x(host)) {
            canvas.path((x, y), CROSS, &format!(r#"stroke="{BAD}" stroke-width="3""#));
        }
        let span = self.page.spans.iter().find(|span| span.from == row.at && span.text == text);
        let text = span.map_or(text.to_owned(), |span| until(text, span));
        // Of a path its end says most.
        let words: Vec<_> = text.split(' ').map(|word| word.rsplit('/').next().unwrap_or(word)).collect();
        let words = cut(&words.join(" "), self.letters(RIGHT - 14.0));
        canvas.text((self.width - RIGHT + 14.0, y + 4.0), Anchor::Start, class, &words);
    }

    /// Below everything else. Returns where the picture ends.
    fn verdict(&self, canvas: &mut Canvas) -> f64 {
        let mut y = self.bottom + 24.0;
        if let Some(more) = self.page.more {
            let text =
                format!("more from second {:.1} on: --from {:.1}", more as f64 / 1e6, more as f64 / 1e6);
            canvas.text((LEFT, y), Anchor::Start, "warn", &text);
            y += ROW;
        }
        let class = if self.page.clean { "good" } else { "bad" };
        for line in self.page.verdict.iter().flat_map(|verdict| lines(verdict)) {
            canvas.text((LEFT, y), Anchor::Start, class, &line);
            y += ROW;
        }
        y + ROW
    }
}

fn until(text: &str, span: &Span) -> String {
    format!("{text}, until {:.1} s", span.to as f64 / 1e6)
}

fn colour(client: Option<HostId>) -> &'static str {
    client.map_or(NOBODY, |client| CLIENTS[usize::from(client.number()) % CLIENTS.len()])
}

/// A text in lines that fit.
fn lines(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    letters.chunks(LINE).map(|line| line.iter().collect()).collect()
}

fn legend(canvas: &mut Canvas, page: &Page) {
    for (number, line) in lines(&page.title).iter().take(3).enumerate() {
        canvas.text((12.0, 16.0 + 13.0 * number as f64), Anchor::Start, "", line);
    }
    let mut x = 12.0;
    let mut item = |canvas: &mut Canvas, mark: &str, style: &str, words: &str| {
        canvas.path((x + 8.0, 62.0), mark, style);
        canvas.text((x + 24.0, 66.0), Anchor::Start, "faint", words);
        x += 40.0 + LETTER * words.chars().count() as f64;
    };
    let line = "M -8 0 L 8 0";
    item(canvas, line, r##"stroke="#1f5fbf""##, "request, in the colour of its client");
    item(canvas, line, r##"stroke="#1f5fbf" stroke-dasharray="5 3""##, "answer");
    item(canvas, line, r##"stroke="#1f5fbf" stroke-width="3.5""##, "data");
    item(canvas, line, r##"stroke="#777" stroke-dasharray="1.5 3""##, "other");
    item(canvas, DISC, r##"fill="white" stroke="#333""##, "disk changed");
    item(canvas, DISC, r##"fill="#333""##, "and synced");
    item(canvas, DIAMOND, r##"fill="#333""##, "and renamed");
    item(canvas, CROSS, r##"stroke="#c1121f" stroke-width="3""##, "fault");
    item(
        canvas,
        "M -3 -7 h 6 v 14 h -6 Z",
        r##"fill="#1f5fbf" fill-opacity="0.35" stroke="#2b7a3d""##,
        "call",
    );
    item(canvas, "M -6 -7 h 12 v 14 h -12 Z", r##"fill="#e5383b" fill-opacity="0.45""##, "down");
}
