//! `dfsctl scrub`: how the reading of everything on the disks of datanodes does, and beginning it now.

use clap::Subcommand;
use dfs_client::Client;
use dfs_wire::message::admin::{ScrubPace, ScrubPhase, ScrubRound, ScrubStatus};
use serde::{Serialize, Serializer};

use crate::complete::nodes;
use crate::connect::invocation::Invocation;
use crate::connect::node::address_of;
use crate::output::View;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome, Tally};
use crate::output::object::object;
use crate::output::page::{Column, Field, Page, Tone};
use crate::output::text::{count, duration, exact_time, percent, plain, size, time};

/// Columns that are left out on a terminal without room for them, the first one first.
const SPARE: [&str; 6] = ["ROUND", "RATE", "BYTES", "CHUNKS", "LEFT", "BAD"];

/// Shows how the scrub does, or begins a round of it
///
/// Each datanode reads everything it has, and checks it, once in a period (storage.scrub_period), at a pace that ends in time and
/// within a budget (storage.scrub_bytes_per_second), and lets clients go first. Bad copies are made anew from good ones.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Shows how the scrub of each datanode does (the default)
    Status {
        /// Name or id of a datanode, or HOST:PORT; all of them if none is said
        #[arg(value_name = "NODE", add = nodes())]
        node: Option<String>,
    },
    /// Begins a round now, in place of one under way
    ///
    /// It reads as fast as the budget allows and lets clients go first. The next round is paced again.
    #[command(after_help = "Examples:\n  dfsctl scrub start\n  dfsctl scrub start dn2 --unpaced")]
    Start {
        /// Name or id of a datanode, or HOST:PORT; all of them if none is said
        #[arg(value_name = "NODE", add = nodes())]
        node: Option<String>,
        /// As fast as the disk reads, whoever else wants it
        #[arg(long)]
        unpaced: bool,
    },
}

/// What `scrub status` prints.
#[derive(Debug, Serialize)]
struct ScrubsView {
    nodes: Vec<ScrubView>,
}

/// The scrub of one datanode, as it is printed.
#[derive(Debug)]
struct ScrubView {
    node: String,
    address: String,
    status: ScrubStatus,
}

/// A round that has ended, as it is printed.
struct RoundView(ScrubRound);

impl Serialize for RoundView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let round = &self.0;
        object!(serializer, {
            "round": round.round,
            "began": exact_time(round.began_ms),
            "ended": exact_time(round.ended_ms),
            "chunks": round.chunks,
            "bytes": round.bytes,
            "bad": round.bad,
            "unreadable": round.unreadable,
        })
    }
}

impl Serialize for ScrubView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (status, round) = (&self.status, &self.status.round);
        object!(serializer, {
            "node": self.node,
            "address": self.address,
            "state": state(status.phase).0,
            "pace": pace(status.pace),
            "round": round.round,
            "began": (round.round > 0).then(|| exact_time(round.began_ms)),
            "chunks": round.chunks,
            "chunks_total": status.chunks_total,
            "bytes": round.bytes,
            "bytes_total": status.bytes_total,
            "bad": round.bad,
            "unreadable": round.unreadable,
            "doubted": status.doubted,
            "rate": status.rate,
            "left_ms": status.left_ms,
            "next_ms": status.next_ms,
            "period_ms": status.period_ms,
            "budget": status.budget,
            "since_ms": status.since_ms,
            "overdue": status.overdue,
            "last": status.last.map(RoundView),
        })
    }
}

fn state(phase: ScrubPhase) -> (&'static str, Tone) {
    match phase {
        ScrubPhase::Starting => ("starting", Tone::Plain),
        ScrubPhase::Reading => ("reading", Tone::Good),
        ScrubPhase::Yielding => ("yielding", Tone::Good),
        ScrubPhase::Halted => ("halted", Tone::Bad),
        ScrubPhase::Resting => ("resting", Tone::Plain),
    }
}

fn pace(pace: ScrubPace) -> &'static str {
    match pace {
        ScrubPace::Period => "period",
        ScrubPace::Budget => "budget",
        ScrubPace::Unpaced => "unpaced",
    }
}

impl ScrubView {
    fn row(&self) -> Vec<Field> {
        let (status, round) = (&self.status, &self.status.round);
        let (word, tone) = state(status.phase);
        let left = match (status.left_ms, status.next_ms) {
            (Some(left), _) => duration(left),
            (None, Some(next)) => format!("next in {}", duration(next)),
            (None, None) => "-".to_owned(),
        };
        let bad = round.bad + round.unreadable;
        vec![
            self.node.as_str().into(),
            Field::toned(word, tone),
            round.round.to_string().into(),
            percent(round.bytes, status.bytes_total).into(),
            format!("{}/{}", round.chunks, status.chunks_total).into(),
            format!("{}/{}", size(round.bytes), size(status.bytes_total)).into(),
            format!("{}/s", size(status.rate)).into(),
            left.into(),
            Field::toned(bad.to_string(), if bad == 0 { Tone::Plain } else { Tone::Bad }),
        ]
    }

    /// What is said below the table.
    fn notes(&self, page: &mut Page) {
        let (name, status) = (plain(&self.node), &self.status);
        if let Some(last) = &status.last {
            let (chunks, bytes) = (count(last.chunks, "chunk"), size(last.bytes));
            let ended = time(last.ended_ms);
            let found = match (last.bad, last.unreadable) {
                (0, 0) => "all good".to_owned(),
                (bad, 0) => format!("{bad} bad"),
                (bad, unreadable) => format!("{bad} bad, {unreadable} unreadable"),
            };
            page.line(format!("{name}: round {} ended {ended}: {chunks}, {bytes}, {found}", last.round));
        }
        if status.doubted > 0 {
            let copies = count(status.doubted, "copy");
            page.line(format!("{name}: {copies} found bad or unreadable and still there"));
        }
        if status.overdue {
            let (since, period) = (duration(status.since_ms), duration(status.period_ms));
            page.line(format!(
                "{name}: overdue: no round has ended for {since}, one is to end every {period}"
            ));
        }
    }
}

impl View for ScrubsView {
    fn page(&self, page: &mut Page) {
        let mut columns = ["NODE", "STATE"].map(Column::Text).to_vec();
        columns.extend(["ROUND", "DONE", "CHUNKS", "BYTES", "RATE"].map(Column::Number));
        columns.extend([Column::Text("LEFT"), Column::Number("BAD")]);
        page.table_that_fits(&columns, self.nodes.iter().map(ScrubView::row).collect(), &SPARE);
        self.nodes.iter().for_each(|node| node.notes(page));
    }

    fn lines(&self) -> serde_json::Result<Vec<String>> {
        self.nodes.iter().map(serde_json::to_string).collect()
    }
}

/// What `scrub start` prints.
#[derive(Debug, Serialize)]
struct StartedView {
    nodes: Vec<StartedNode>,
}

/// A round that begins.
#[derive(Debug, Serialize)]
struct StartedNode {
    node: String,
    round: u64,
}

impl View for StartedView {
    fn page(&self, page: &mut Page) {
        for StartedNode { node, round } in &self.nodes {
            page.line(format!("{}: round {round} begins", plain(node)));
        }
    }

    fn lines(&self) -> serde_json::Result<Vec<String>> {
        self.nodes.iter().map(serde_json::to_string).collect()
    }
}

/// The name and the address of each datanode that is meant: one, or all that answer.
async fn meant(client: &Client, node: Option<String>) -> Outcome<Vec<(String, String)>> {
    let Some(name) = node else {
        let nodes = client.nodes().await?.into_iter().filter(|node| node.state.answers());
        return Ok(nodes.map(|node| (node.name, node.address)).collect());
    };
    match address_of(client, &name).await? {
        Some(address) => Ok(vec![(name, address)]),
        None => Err(Failure::usage("a coordinator has no chunks: name a datanode, or none for all of them")),
    }
}

/// Runs `dfsctl scrub`.
///
/// # Errors
/// If a datanode is unknown or cannot be asked; those that can be are, before that.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let client = invocation.operator().await?;
    let (node, start) = match args.verb {
        None => (None, None),
        Some(Verb::Status { node }) => (node, None),
        Some(Verb::Start { node, unpaced: false }) => (node, Some(ScrubPace::Budget)),
        Some(Verb::Start { node, unpaced: true }) => (node, Some(ScrubPace::Unpaced)),
    };
    let meant = meant(&client, node).await?;
    let mut tally = Tally::of(invocation.output, meant.len());
    let (mut shown, mut started) = (Vec::new(), Vec::new());
    for (node, address) in meant {
        let about = |error| Failure::from(error).context(format_args!("scrub of {}", plain(&node)));
        match start {
            Some(pace) => {
                let round = tally.count(client.scrub_start(&address, pace).await.map_err(about));
                started.extend(round.map(|round| StartedNode { node, round }));
            }
            None => {
                let status = tally.count(client.scrub_status(&address).await.map_err(about));
                shown.extend(status.map(|status| ScrubView { node, address, status }));
            }
        }
    }
    match start {
        Some(_) => invocation.output.print(&StartedView { nodes: started })?,
        None => invocation.output.print(&ScrubsView { nodes: shown })?,
    }
    tally.finish("datanodes").map(|()| Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::page::Paint;

    fn view() -> ScrubView {
        let last = ScrubRound {
            round: 2,
            began_ms: 1_790_000_000_000,
            ended_ms: 1_790_000_100_000,
            chunks: 4,
            bytes: 4096,
            bad: 1,
            unreadable: 0,
        };
        let round = ScrubRound { round: 3, began_ms: 1_790_001_000_000, chunks: 1, bytes: 1024, ..last };
        let status = ScrubStatus {
            phase: ScrubPhase::Reading,
            round: ScrubRound { ended_ms: 0, ..round },
            chunks_total: 4,
            bytes_total: 4096,
            rate: 512,
            left_ms: Some(90_000),
            doubted: 1,
            period_ms: 1_000,
            budget: 2,
            since_ms: 2_001,
            overdue: true,
            last: Some(last),
            ..ScrubStatus::default()
        };
        ScrubView { node: "dn1".to_owned(), address: "h:1".to_owned(), status }
    }

    #[test]
    fn the_json_of_a_scrub_is_a_promise() {
        let expected = r#"{"node":"dn1","address":"h:1","state":"reading","pace":"period","round":3,"began":"2026-09-21T14:30:00.000Z","chunks":1,"chunks_total":4,"bytes":1024,"bytes_total":4096,"bad":1,"unreadable":0,"doubted":1,"rate":512,"left_ms":90000,"next_ms":null,"period_ms":1000,"budget":2,"since_ms":2001,"overdue":true,"last":{"round":2,"began":"2026-09-21T14:13:20.000Z","ended":"2026-09-21T14:15:00.000Z","chunks":4,"bytes":4096,"bad":1,"unreadable":0}}"#;
        assert_eq!(ScrubsView { nodes: vec![view()] }.lines().unwrap(), [expected]);
    }

    #[test]
    fn people_read_a_line_a_node_and_what_needs_attention_below() {
        let mut page = Page::new(Paint::new(false));
        ScrubsView { nodes: vec![view()] }.page(&mut page);
        let expected = "\
NODE  STATE    ROUND   DONE  CHUNKS              BYTES     RATE  LEFT    BAD
dn1   reading      3  25.0%     1/4  1.00 KiB/4.00 KiB  512 B/s  1m 30s    1
dn1: round 2 ended 2026-09-21T14:15:00Z: 4 chunks, 4.00 KiB, 1 bad
dn1: 1 copy found bad or unreadable and still there
dn1: overdue: no round has ended for 2s, one is to end every 1s
";
        assert_eq!(page.finish(), expected);
    }
}
