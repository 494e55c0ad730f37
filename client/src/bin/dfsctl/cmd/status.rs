//! `dfsctl status`: is all well, and what needs attention?

use std::collections::BTreeMap;
use std::time::Duration;

use dfs_wire::message::admin::{ClusterStatus, HealthLevel};
use dfs_wire::message::metadata::ChunkHealth;
use serde::{Serialize, Serializer};

use crate::connect::invocation::Invocation;
use crate::output::View;
use crate::output::exit::Exit;
use crate::output::failure::Outcome;
use crate::output::findings::{exit_of, line, toned, word};
use crate::output::object::object;
use crate::output::page::{Page, Paint};
use crate::output::text::{count, duration, plain, present, size};
use crate::output::used::{Trash, all_used};
use crate::watch::{self, watch};

/// Findings that the first screen shows; the whole stays under 24 lines.
const FINDINGS_SHOWN: usize = 5;
/// Silent datanodes that the first screen names: they share its line with others.
const SILENT_SHOWN: usize = 2;

/// Says whether all is well, and what needs attention
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Exit with 10 if something needs attention, 11 if data is lost or cannot be reached
    #[arg(long)]
    check: bool,
    /// Everything, also when all is well
    #[arg(short, long)]
    all: bool,
    /// Again and again, every so many seconds [default: 2]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = watch::interval, conflicts_with = "check")]
    watch: Option<Duration>,
}

/// What `status` prints: the cluster, with the worst findings first. `used` is what all of it takes, `used_chunks` the
/// contents of chunks alone.
#[derive(Debug)]
pub(crate) struct StatusView {
    status: ClusterStatus,
    /// Everything is shown to people, whether all is well or not.
    all: bool,
}

impl Serialize for StatusView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { status, .. } = self;
        let chunk_health = status.health_of_chunks.iter().map(|(word, chunks)| (word.name(), *chunks));
        object!(serializer, {
            "health": status.health,
            "findings": status.findings,
            "unsafe_modes": status.unsafe_modes,
            "cluster": status.cluster.to_string(),
            "epoch": status.epoch.0,
            "version": status.version,
            "uptime_ms": status.uptime_ms,
            "nodes_up": status.nodes_up,
            "nodes_silent": status.nodes_silent,
            "silent": status.silent,
            "nodes_total": status.nodes_total,
            "capacity": status.capacity,
            "used": all_used(status),
            "available": status.available,
            "usable": status.usable,
            "replication": status.replication,
            "used_chunks": status.used,
            "used_footers": status.footers,
            "used_quarantine": status.quarantine,
            "used_metadata": status.metadata,
            "files": status.files,
            "directories": status.directories,
            "chunks": status.chunks,
            "chunk_health": chunk_health.collect::<BTreeMap<_, _>>(),
            "counting": status.counting,
            "trash_entries": status.trash_entries,
            "trash_bytes": status.trash_bytes,
            "trash_raw_bytes": status.trash_raw_bytes,
            "trash_counting": status.trash_counting,
            "tombstones": status.tombstones,
            "uploads_open": status.uploads_open,
            "outcomes": status.outcomes,
            "outcome_bytes": status.outcome_bytes,
            "outcome_bytes_max": status.outcome_bytes_max,
            "outcomes_reach_ms": status.outcomes_reach_ms,
        })
    }
}

impl StatusView {
    fn new(mut status: ClusterStatus, all: bool) -> Self {
        // The worst first; the screen is small.
        status.findings.sort_by_key(|finding| (finding.muted_ms > 0, std::cmp::Reverse(finding.level)));
        Self { status, all }
    }

    /// All is well, in three lines.
    fn short(&self, page: &mut Page) {
        const WIDTH: usize = 6;
        let (paint, status) = (page.paint, &self.status);
        page.field(WIDTH, "health", toned(paint, status.health, "OK"));
        let space = [all_used(status), status.available].map(size);
        let [used, available] = &space;
        page.field(WIDTH, "nodes", format!("{}; {used} used, {available} available", self.nodes(paint)));
        let files = [count(status.files, "file"), count(status.chunks, "chunk")];
        page.field(WIDTH, "files", format!("{}, {}", files.join(", "), self.copies(paint)));
    }
}

impl View for StatusView {
    fn page(&self, page: &mut Page) {
        const WIDTH: usize = 8;
        let (paint, Self { status, all }) = (page.paint, self);
        if !all && status.findings.is_empty() && status.unsafe_modes.is_empty() {
            return self.short(page);
        }
        let verdict = match status.health {
            HealthLevel::Ok => "OK",
            HealthLevel::Warn => "WARN: data is safe, something needs attention",
            HealthLevel::Error => "ERROR: data cannot be written or read",
        };
        page.field(WIDTH, "health", toned(paint, status.health, verdict));
        if !status.unsafe_modes.is_empty() {
            let modes = status.unsafe_modes.iter().map(|mode| plain(mode)).collect::<Vec<_>>().join(", ");
            page.field(WIDTH, "UNSAFE", paint.red(&modes));
        }
        page.field(WIDTH, "nodes", self.nodes(paint));
        let space = [all_used(status), status.available, status.capacity, status.usable].map(size);
        let [used, available, capacity, usable] = &space;
        page.field(WIDTH, "space", format!("{used} used, {available} available, disks of {capacity}"));
        let copies = count(u64::from(status.replication), "copy");
        page.field(WIDTH, "usable", format!("{usable} of files, in {copies}"));
        let files = [
            count(status.files, "file"),
            count(status.directories, "directory"),
            count(status.chunks, "chunk"),
        ];
        page.field(WIDTH, "files", files.join(", "));
        page.field(WIDTH, "copies", self.copies(paint));
        page.field(WIDTH, "trash", Trash::of(status).phrase(size));
        let [uploads, deletions] =
            [count(status.uploads_open, "upload"), count(status.tombstones, "deletion")];
        page.field(WIDTH, "pending", format!("{uploads} open, {deletions} unconfirmed"));
        let [took, bound] = [status.outcome_bytes, status.outcome_bytes_max].map(size);
        let reach = duration(status.outcomes_reach_ms);
        let kept = count(status.outcomes, "outcome");
        page.field(WIDTH, "repeats", format!("known for {reach}: {kept} in {took} of {bound}"));
        let up = duration(status.uptime_ms);
        page.field(
            WIDTH,
            "cluster",
            format!("{}, epoch {}, dfs {}, up {up}", status.cluster, status.epoch, status.version),
        );
        self.findings_page(page);
    }
}

impl StatusView {
    /// How many nodes are up, and of which it is not known: they counted as up when they were last heard of.
    fn nodes(&self, paint: Paint) -> String {
        let Self { status, .. } = self;
        let heard = status.nodes_up.saturating_sub(status.nodes_silent);
        let mut said = vec![format!("{heard} of {} up", count(u64::from(status.nodes_total), "datanode"))];
        for node in status.silent.iter().take(SILENT_SHOWN) {
            let silent = format!("{} silent for {}", plain(&node.name), duration(node.silent_ms));
            said.push(paint.yellow(&silent));
        }
        let named = status.silent.len().min(SILENT_SHOWN);
        let more = usize::try_from(status.nodes_silent).unwrap_or(usize::MAX).saturating_sub(named);
        if more > 0 {
            said.push(paint.yellow(&format!("{more} more silent")));
        }
        said.join(", ")
    }

    /// What the copies of the chunks are like, the worst first: never "all there" for what cannot be read or was not counted.
    fn copies(&self, paint: Paint) -> String {
        let Self { status, .. } = self;
        let some = |health: ChunkHealth| match status.chunks_that_are(health) {
            0 => None,
            chunks => Some(count(chunks, "chunk")),
        };
        let mut said = Vec::new();
        if let Some(some) = some(ChunkHealth::Lost) {
            said.push(paint.red(&format!("{some} lost")));
        }
        if let Some(some) = some(ChunkHealth::Unreachable) {
            said.push(paint.red(&format!("{some} that cannot be read now")));
        }
        if let Some(some) = some(ChunkHealth::UnderReplicated) {
            said.push(paint.yellow(&format!("{some} with fewer good copies than asked for")));
        }
        if let Some(some) = some(ChunkHealth::Maintenance) {
            said.push(format!("{some} with copies on datanodes that stopped for a while"));
        }
        if status.counting {
            said.push(paint.yellow("counting"));
        }
        match said.is_empty() {
            true if status.nodes_silent > 0 => "all there when all were last heard of".to_owned(),
            true => "all there".to_owned(),
            false => said.join(", "),
        }
    }

    fn findings_page(&self, page: &mut Page) {
        let (paint, Self { status, .. }) = (page.paint, self);
        if !status.findings.is_empty() {
            page.line("");
        }
        for finding in status.findings.iter().take(FINDINGS_SHOWN) {
            let muted = match finding.muted_ms {
                0 => String::new(),
                left => format!(" (muted for {})", duration(left)),
            };
            let text = format!("{}{muted}", plain(&finding.message));
            page.line(line(paint, finding.level, word(finding.level), &finding.code, &text));
            if let Some(hint) = present(&finding.hint) {
                page.line(format!("      {}", plain(hint)));
            }
        }
        if let Some(more) = status.findings.len().checked_sub(FINDINGS_SHOWN).filter(|more| *more > 0) {
            page.line(format!("and {more} more: dfsctl health"));
        }
    }
}

/// Runs `dfsctl status`.
///
/// # Errors
/// If the cluster cannot be asked.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let client = invocation.operator().await?;
    if let Some(interval) = args.watch {
        let client = &client;
        return watch(invocation, interval, || async move {
            Ok(StatusView::new(client.status().await?, args.all))
        })
        .await;
    }
    let status = client.status().await?;
    let exit = if args.check { exit_of(status.health) } else { Exit::Ok };
    invocation.output.print(&StatusView::new(status, args.all))?;
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use dfs_wire::id::{ClusterId, Epoch};
    use dfs_wire::message::admin::{HealthFinding, SilentNode};

    use super::*;

    fn sample(findings: usize) -> StatusView {
        let finding = |index: usize| {
            let level = if index == 1 { HealthLevel::Error } else { HealthLevel::Warn };
            let message = format!("datanode-{index} was not heard of for 35 s");
            HealthFinding::new("NODE_DOWN", level, message, "start it, or look at its log")
        };
        let status = ClusterStatus {
            cluster: ClusterId(0xc),
            epoch: Epoch(2),
            version: "0.1.0".into(),
            health: if findings == 0 { HealthLevel::Ok } else { HealthLevel::Error },
            findings: (0..findings).map(finding).collect(),
            nodes_up: 3,
            nodes_silent: 0,
            silent: Vec::new(),
            nodes_total: 3,
            capacity: 3 << 30,
            available: 2 << 30,
            usable: (2 << 30) / 3,
            replication: 3,
            used: 1 << 20,
            footers: 5 << 12,
            quarantine: 3 << 20,
            metadata: 1 << 20,
            files: 1,
            directories: 2,
            chunks: 5,
            health_of_chunks: vec![(ChunkHealth::Safe, 5)],
            counting: false,
            trash_entries: 2,
            trash_bytes: 1 << 20,
            trash_raw_bytes: 3 << 20,
            trash_counting: false,
            tombstones: 0,
            uploads_open: 1,
            outcomes: 1200,
            outcome_bytes: 96 << 10,
            outcome_bytes_max: 256 << 20,
            outcomes_reach_ms: 86_400_000,
            unsafe_modes: vec!["min_ack=1".into()],
            uptime_ms: 61_000,
        };
        StatusView::new(status, true)
    }

    fn text(view: &StatusView) -> String {
        let mut page = Page::new(Paint::new(false));
        view.page(&mut page);
        page.finish()
    }

    #[test]
    fn the_json_of_a_status_is_a_promise() {
        let mut status = sample(1);
        status.status.silent = vec![SilentNode { name: "datanode-2".into(), silent_ms: 7 }];
        let expected = r#"{
  "health": "error",
  "findings": [
    {
      "code": "NODE_DOWN",
      "level": "warn",
      "message": "datanode-0 was not heard of for 35 s",
      "hint": "start it, or look at its log",
      "subject": null,
      "age_ms": 0,
      "muted_ms": 0
    }
  ],
  "unsafe_modes": [
    "min_ack=1"
  ],
  "cluster": "0000000000000000000000000000000c",
  "epoch": 2,
  "version": "0.1.0",
  "uptime_ms": 61000,
  "nodes_up": 3,
  "nodes_silent": 0,
  "silent": [
    {
      "name": "datanode-2",
      "silent_ms": 7
    }
  ],
  "nodes_total": 3,
  "capacity": 3221225472,
  "used": 5263360,
  "available": 2147483648,
  "usable": 715827882,
  "replication": 3,
  "used_chunks": 1048576,
  "used_footers": 20480,
  "used_quarantine": 3145728,
  "used_metadata": 1048576,
  "files": 1,
  "directories": 2,
  "chunks": 5,
  "chunk_health": {
    "safe": 5
  },
  "counting": false,
  "trash_entries": 2,
  "trash_bytes": 1048576,
  "trash_raw_bytes": 3145728,
  "trash_counting": false,
  "tombstones": 0,
  "uploads_open": 1,
  "outcomes": 1200,
  "outcome_bytes": 98304,
  "outcome_bytes_max": 268435456,
  "outcomes_reach_ms": 86400000
}"#;
        assert_eq!(serde_json::to_string_pretty(&status).unwrap(), expected);
    }

    #[test]
    fn the_first_screen_says_what_matters() {
        let expected = "\
health    OK
UNSAFE    min_ack=1
nodes     3 of 3 datanodes up
space     5.02 MiB used, 2.00 GiB available, disks of 3.00 GiB
usable    683 MiB of files, in 3 copies
files     1 file, 2 directories, 5 chunks
copies    all there
trash     3.00 MiB of what is used, for files of 1.00 MiB in 2 entries
pending   1 upload open, 0 deletions unconfirmed
repeats   known for 1d 0h: 1200 outcomes in 96.0 KiB of 256 MiB
cluster   0000000000000000000000000000000c, epoch 2, dfs 0.1.0, up 1m 1s
";
        assert_eq!(text(&sample(0)), expected);
    }

    #[test]
    fn where_all_is_well_three_lines_say_so() {
        let mut view = sample(0);
        (view.all, view.status.unsafe_modes) = (false, Vec::new());
        let expected = "\
health  OK
nodes   3 of 3 datanodes up; 5.02 MiB used, 2.00 GiB available
files   1 file, 5 chunks, all there
";
        assert_eq!(text(&view), expected);
        let mut bad = sample(1);
        bad.all = false;
        assert!(text(&bad).contains("NODE_DOWN") && text(&bad).contains("pending"), "else all of it");
    }

    #[test]
    fn the_trash_is_told_in_numbers() {
        let json = serde_json::to_value(sample(0)).unwrap();
        assert_eq!((&json["trash_entries"], &json["trash_bytes"]), (&2.into(), &(1 << 20).into()));
        assert_eq!((&json["trash_raw_bytes"], &json["trash_counting"]), (&(3 << 20).into(), &false.into()));
    }

    #[test]
    fn the_first_screen_fits_a_terminal_and_shows_the_worst_first() {
        let screen = text(&sample(20));
        assert!(screen.lines().count() <= 24, "{screen}");
        assert!(screen.contains("\nERROR NODE_DOWN  datanode-1 was"), "{screen}");
        assert!(screen.ends_with("and 15 more: dfsctl health\n"), "{screen}");
    }

    #[test]
    fn nothing_wraps_at_forty_columns_and_nothing_is_lost_but_ids() {
        let mut page = Page::within(Paint::new(false), Some(40));
        sample(2).page(&mut page);
        let screen = page.finish();
        assert!(screen.lines().all(|line| line.chars().count() <= 40), "{screen}");
        let expected = "\
space     5.02 MiB used, 2.00 GiB
          available, disks of 3.00 GiB
";
        assert!(screen.contains(expected), "{screen}");
        assert!(screen.ends_with("      start it, or look at its log\n"), "{screen}");
    }

    #[test]
    fn a_datanode_that_is_silent_is_named_and_not_said_to_be_up() {
        let lines = |silent: &[(&str, u64)], total| {
            let mut view = sample(0);
            let node = |&(name, silent_ms): &(&str, u64)| SilentNode { name: name.to_owned(), silent_ms };
            (view.status.silent, view.status.nodes_silent) = (silent.iter().map(node).collect(), total);
            let kept = |line: &&str| line.starts_with("nodes") || line.starts_with("copies");
            text(&view).lines().filter(kept).collect::<Vec<_>>().join("\n")
        };
        let expected = "\
nodes     2 of 3 datanodes up, datanode-2 silent for 4s
copies    all there when all were last heard of";
        assert_eq!(lines(&[("datanode-2", 4_300)], 1), expected);
        let all = lines(&[("a", 9_000), ("b", 8_000), ("c", 7_000)], 3);
        assert!(
            all.contains("0 of 3 datanodes up, a silent for 9s, b silent for 8s, 1 more silent"),
            "{all}"
        );
        let mut view = sample(0);
        (view.status.silent, view.status.nodes_silent) =
            (vec![SilentNode { name: "datanode-2".to_owned(), silent_ms: 4_300 }], 1);
        let json = serde_json::to_value(&view).unwrap();
        assert_eq!((&json["nodes_up"], &json["nodes_silent"]), (&3.into(), &1.into()));
        assert_eq!(json["silent"], serde_json::json!([{ "name": "datanode-2", "silent_ms": 4_300 }]));
    }

    #[test]
    fn copies_are_all_there_only_if_all_were_counted_and_can_be_read() {
        let said = |counts: &[(ChunkHealth, u64)], counting| {
            let mut view = sample(0);
            view.status.health_of_chunks = counts.to_vec();
            view.status.counting = counting;
            view.copies(Paint::new(false))
        };
        use ChunkHealth::{Lost, Maintenance, Safe, UnderReplicated, Unreachable};
        assert_eq!(said(&[(Safe, 5)], false), "all there");
        assert_eq!(said(&[(Safe, 5)], true), "counting");
        assert_eq!(
            said(&[(Unreachable, 1), (Lost, 2)], false),
            "2 chunks lost, 1 chunk that cannot be read now"
        );
        let short = said(&[(UnderReplicated, 3), (Maintenance, 4)], false);
        let expected = "3 chunks with fewer good copies than asked for, 4 chunks with copies on datanodes that stopped for a while";
        assert_eq!(short, expected);
    }
}
