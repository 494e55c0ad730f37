//! From events to rows.

use std::collections::BTreeMap;

use dfs_wire::frame::{FrameKind, Header};
use dfs_wire::limits::HEAD_BYTES_MAX;

use crate::sim::id::HostId;
use crate::sim::trace::{Event, What, short};

/// Events of one kind belong together if no more time goes by between them.
const TOGETHER_US: i64 = 5_000;

/// One row of the timeline.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Microseconds since the load began; before that, less than 0.
    pub(super) at: i64,
    /// When the last of what it holds was.
    pub(super) until: i64,
    pub(super) host: HostId,
    pub(super) shown: Shown,
    /// The events in it, as they are.
    pub(super) events: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) enum Shown {
    Message(Message),
    /// Changes of a disk, and whether any of them made others durable.
    Disk {
        label: String,
        /// The same in few words.
        short: String,
        durable: bool,
    },
    /// Something is done to the world.
    Fault(String),
    /// A process begins or ends.
    Life(String),
    /// A client calls something.
    Called(String),
    /// What came of it.
    Answered(String, Outcome),
    /// What a client has to say besides.
    Said(String),
    Log {
        text: String,
        error: bool,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) to: HostId,
    pub(super) label: String,
    pub(super) sort: Sort,
    /// The client for whom it is sent.
    pub(super) client: Option<HostId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Request,
    Answer,
    Refusal,
    Data,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// Nothing was done: it was refused, or could not be.
    Refused,
    Unknown,
}

/// Rows in order of time.
pub(super) fn rows(events: &[Event], base: u64, all: bool) -> Vec<Row> {
    let mut table = Table {
        base: base as i64,
        all,
        rows: vec![],
        streams: BTreeMap::new(),
        calls: BTreeMap::new(),
        open: BTreeMap::new(),
    };
    events.iter().for_each(|event| table.add(event));
    table.rows
}

/// A request, and for whom it is.
#[derive(Clone, Default)]
struct Stream {
    label: String,
    client: Option<HostId>,
}

/// What may be one row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Together {
    Disk(HostId),
    /// Data from a host on a stream of a connection.
    Data(HostId, u64, u32),
}

struct Table {
    base: i64,
    all: bool,
    rows: Vec<Row>,
    streams: BTreeMap<(u64, u32), Stream>,
    /// What each client called last.
    calls: BTreeMap<HostId, String>,
    /// The last row of its kind, with the counts in it.
    open: BTreeMap<Together, (usize, Counts)>,
}

impl Table {
    fn add(&mut self, event: &Event) {
        let shown = match &event.what {
            What::Sent { to, line, header, about } => return self.sent(event, *to, *line, header, about),
            What::Disk(operation, path) => return self.disk(event, operation, path),
            What::Life(text) if event.host == HostId::WORLD => Shown::Fault(text.clone()),
            What::Life(text) => Shown::Life(text.clone()),
            What::Client(text) => self.said(event.host, text),
            What::Log(level, text) => {
                Shown::Log { text: text.clone(), error: *level == tracing::Level::ERROR }
            }
        };
        // What a host says comes between what its disk did before and after.
        self.open.remove(&Together::Disk(event.host));
        self.push(event, shown);
    }

    fn said(&mut self, host: HostId, text: &str) -> Shown {
        if let Some(call) = text.strip_suffix(" ...") {
            self.calls.insert(host, call.to_owned());
            return Shown::Called(call.to_owned());
        }
        let call = self.calls.get(&host);
        match call.and_then(|call| text.strip_prefix(call.as_str())?.strip_prefix(": ")) {
            Some(result) => Shown::Answered(text.to_owned(), outcome(result)),
            None => Shown::Said(text.to_owned()),
        }
    }

    fn push(&mut self, event: &Event, shown: Shown) -> usize {
        let at = event.at as i64 - self.base;
        self.rows.push(Row { at, until: at, host: event.host, shown, events: vec![event.to_string()] });
        self.rows.len() - 1
    }

    fn sent(&mut self, event: &Event, to: HostId, line: u64, header: &[u8; 24], about: &str) {
        let Ok(header) = Header::parse(header, HEAD_BYTES_MAX) else { return };
        let Some(kind) = FrameKind::from_number(header.kind) else { return };
        let stream = (line, header.stream);
        if kind == FrameKind::Request {
            let client = self.client_of(event.host, about);
            self.streams.insert(stream, Stream { label: about.to_owned(), client });
        }
        let Stream { label, client } = self.streams.get(&stream).cloned().unwrap_or_default();
        let client = client.or([event.host, to].into_iter().find(|host| host.is_client()));
        if !self.all && is_background(kind, &label) {
            return;
        }
        let (sort, label) = match kind {
            FrameKind::Data | FrameKind::End => {
                return self.data(event, to, (line, header), client);
            }
            FrameKind::Request => (Sort::Request, label),
            FrameKind::Response if about.is_empty() => (Sort::Answer, format!("{label}: ok")),
            FrameKind::Response => (Sort::Refusal, format!("{label}: {about}")),
            FrameKind::Hello => (Sort::Other, "hello".to_owned()),
            FrameKind::Error | FrameKind::Goaway => (Sort::Other, about.to_owned()),
            FrameKind::Reset | FrameKind::Reject => (Sort::Refusal, format!("{kind:?} {label}: {about}")),
            _ => (Sort::Other, format!("{kind:?}")),
        };
        self.push(event, Shown::Message(Message { to, label, sort, client }));
    }

    /// The client that asked for a chunk is the one for whom it goes on.
    fn client_of(&self, host: HostId, about: &str) -> Option<HostId> {
        let chunk = about.split_once(' ').map_or("", |(_, chunk)| chunk);
        let of_client = |stream: &&Stream| stream.client.is_some() && stream.label.ends_with(chunk);
        match host.is_client() {
            true => Some(host),
            false if chunk.is_empty() => None,
            false => self.streams.values().find(of_client).and_then(|stream| stream.client),
        }
    }

    fn data(&mut self, event: &Event, to: HostId, (line, header): (u64, Header), client: Option<HostId>) {
        let (at, key) = (event.at as i64 - self.base, Together::Data(event.host, line, header.stream));
        let (row, mut counts) = match self.open.remove(&key) {
            Some((row, counts)) if at - self.rows[row].until <= TOGETHER_US => (row, counts),
            _ => {
                let label = String::new();
                let shown = Shown::Message(Message { to, label, sort: Sort::Data, client });
                (self.push(event, shown), Counts::default())
            }
        };
        match FrameKind::from_number(header.kind) {
            Some(FrameKind::Data) => counts.add("data"),
            _ => counts.add("end"),
        }
        counts.bytes += u64::from(header.tail_len);
        if let Shown::Message(message) = &mut self.rows[row].shown {
            message.label = format!("{}, {} B", counts.text(), counts.bytes);
        }
        self.extend(row, at, event);
        self.open.insert(key, (row, counts));
    }

    fn disk(&mut self, event: &Event, operation: &'static str, path: &str) {
        let (at, key) = (event.at as i64 - self.base, Together::Disk(event.host));
        let (row, mut counts) = match self.open.remove(&key) {
            Some((row, counts)) if at - self.rows[row].until <= TOGETHER_US => (row, counts),
            _ => {
                let shown = Shown::Disk { label: String::new(), short: String::new(), durable: false };
                (self.push(event, shown), Counts::default())
            }
        };
        let operation = match operation {
            "sync names in" => "sync names",
            "set length of" => "set length",
            other => other,
        };
        counts.add(operation);
        counts.place = place(path, counts.place);
        let text = format!("{} {}", counts.text(), counts.place).trim_end().to_owned();
        if let Shown::Disk { label, short, durable } = &mut self.rows[row].shown {
            *label = text;
            *short = counts.short();
            *durable |= operation.starts_with("sync");
        }
        self.extend(row, at, event);
        self.open.insert(key, (row, counts));
    }

    fn extend(&mut self, row: usize, at: i64, event: &Event) {
        let row = &mut self.rows[row];
        row.until = at;
        let told = event.to_string();
        if row.events.last() != Some(&told) {
            row.events.push(told);
        }
    }
}

/// How often each operation was, in the order of their first.
#[derive(Default)]
struct Counts {
    counts: Vec<(&'static str, u32)>,
    bytes: u64,
    place: String,
}

impl Counts {
    fn add(&mut self, operation: &'static str) {
        match self.counts.iter_mut().find(|(name, _)| *name == operation) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((operation, 1)),
        }
    }

    fn text(&self) -> String {
        let parts = self.counts.iter().map(|(name, count)| match count {
            1 => (*name).to_owned(),
            _ => format!("{name} ×{count}"),
        });
        parts.collect::<Vec<_>>().join(", ")
    }

    /// The operations that count most, without numbers.
    fn short(&self) -> String {
        let has = |operation| self.counts.iter().any(|(name, _)| *name == operation);
        let first = self.counts.first().map_or("", |(name, _)| *name);
        let operation = ["rename", "sync", "write"].into_iter().find(|name| has(*name)).unwrap_or(first);
        format!("{operation} {}", self.place).trim_end().to_owned()
    }
}

/// What a path is for. A chunk's name says more than that of the file that it was before.
fn place(path: &str, before: String) -> String {
    match path.rsplit_once('/') {
        Some((dir, name)) if dir.contains("/chunks/") && name.contains('.') => {
            format!("chunk {}", short(name))
        }
        Some((_, name)) if name.ends_with(".redb") => "metadata".to_owned(),
        Some((_, name)) if name.starts_with("identity") && !before.starts_with("chunk") => {
            "identity".to_owned()
        }
        Some((dir, _)) if dir.contains("quarantine") => "quarantine".to_owned(),
        _ => before,
    }
}

fn is_background(kind: FrameKind, label: &str) -> bool {
    matches!(kind, FrameKind::Ping | FrameKind::Pong | FrameKind::Window | FrameKind::Welcome)
        || (label == "heartbeat" && matches!(kind, FrameKind::Request | FrameKind::Response))
}

fn outcome(result: &str) -> Outcome {
    match result {
        _ if result == "done" || result == "None" || result.starts_with(['S', '{']) => Outcome::Done,
        _ if result.starts_with("OutcomeUnknown") => Outcome::Unknown,
        _ => Outcome::Refused,
    }
}
