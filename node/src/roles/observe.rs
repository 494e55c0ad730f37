//! What the roles show as metrics: requests, the metadata store of a coordinator, the disk and the memory of a
//! datanode, the cluster as the coordinator sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dfs_actors::coordinator::metadata::writer::StoreTrouble;
use dfs_actors::coordinator::{CoordinatorService, RepairTally};
use dfs_actors::datanode::DatanodeService;
use dfs_actors::datanode::chunk_store::{ChunkStore, DiskState};
use dfs_actors::peer::session::{Knocks, LATENCY_BOUNDS, Places, RequestStats, RequestTally};
use dfs_wire::limits::DATA_FRAME_BYTES;
use dfs_wire::message::admin::{ClusterStatus, HealthFinding, HealthLevel};
use dfs_wire::message::membership::NodeState;
use dfs_wire::slab::SlabBudget;

use crate::telemetry::{Labels, Metrics, Sample, SampleValue};

/// Samples of one node: each with its name as a label.
struct Samples {
    node: String,
    samples: Vec<Sample>,
}

impl Samples {
    fn of(node: &str) -> Self {
        Self { node: node.to_owned(), samples: Vec::new() }
    }

    fn push(&mut self, name: &'static str, help: &'static str, more: Labels, value: SampleValue) {
        let labels = [vec![("node", self.node.clone())], more].concat();
        self.samples.push(Sample { name, help, labels, value });
    }

    // Numbers of bytes and events stay far below 2^53, where f64 would begin to round.
    fn gauge(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.push(name, help, vec![], SampleValue::Gauge(value as f64));
    }

    fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.push(name, help, vec![], SampleValue::Counter(value as f64));
    }

    fn request(&mut self, kind: &str, tally: &RequestTally) {
        let label = || vec![("request", kind.to_owned())];
        let open = SampleValue::Gauge(tally.open as f64);
        self.push("requests_open", "Requests not yet answered", label(), open);
        for (code, count) in &tally.outcomes {
            let labels = [label(), vec![("code", (*code).to_owned())]].concat();
            self.push("requests", "Requests that ended", labels, SampleValue::Counter(*count as f64));
        }
        let bounds = LATENCY_BOUNDS.into_iter().chain([f64::INFINITY]);
        let buckets = bounds.zip(tally.buckets).collect();
        let spread = SampleValue::Histogram { sum: tally.duration.as_secs_f64(), buckets };
        self.push("request_duration_seconds", "Time from request to answer", label(), spread);
    }
}

/// Shows a node's requests at each scrape.
pub(super) fn requests(metrics: &Metrics, node: &str, stats: &RequestStats) {
    let (stats, node) = (stats.clone(), node.to_owned());
    metrics.sample(move || {
        let mut out = Samples::of(&node);
        stats.snapshot().iter().for_each(|(kind, tally)| out.request(kind, tally));
        out.samples
    });
}

/// Shows a node's connections at each scrape: of each class those there are, those there may be, and what became of
/// the others.
pub(super) fn connections(metrics: &Metrics, node: &str, places: &Places, knocks: &Knocks) {
    let (places, knocks, node) = (places.clone(), knocks.clone(), node.to_owned());
    metrics.sample(move || {
        let mut out = Samples::of(&node);
        for (class, tally) in places.tally() {
            let label = || vec![("class", class.name().to_owned())];
            let open = SampleValue::Gauge(tally.taken as f64);
            out.push("connections", "Connections that are open", label(), open);
            let max = SampleValue::Gauge(places.max().of(class) as f64);
            out.push("connections_max", "Connections that may be open", label(), max);
            let help = "Connections closed while they were idle, to make room for another";
            out.push("connections_evicted", help, label(), SampleValue::Counter(tally.evicted as f64));
            let help = "Connections refused because all others were busy";
            out.push("connections_refused", help, label(), SampleValue::Counter(tally.refused as f64));
        }
        let leaving = places.leaving() as u64;
        out.gauge("connections_leaving", "Connections told to go that are still open", leaving);
        let help = "Connections told to go that may still be open";
        out.gauge("connections_leaving_max", help, places.max().leaving() as u64);
        for (reason, count) in knocks.totals() {
            let (help, label) = ("Connections without a handshake", vec![("reason", reason.to_owned())]);
            out.push("handshakes_failed", help, label, SampleValue::Counter(count as f64));
        }
        out.samples
    });
}

/// Shows a disk at each scrape.
pub(super) fn disk(metrics: &Metrics, node: &str, store: &Arc<dyn ChunkStore>) {
    let (store, node) = (store.clone(), node.to_owned());
    metrics.sample(move || {
        let stats = store.stats();
        let mut out = Samples::of(&node);
        let writable = u64::from(stats.state == DiskState::Writable);
        out.gauge("disk_writable", "1 if the disk takes new chunks", writable);
        out.gauge("disk_capacity_bytes", "Size of the file system", stats.capacity_bytes);
        out.gauge("disk_available_bytes", "Free space, the reserve included", stats.available_bytes);
        out.gauge("disk_reserve_bytes", "Free space that new chunks may not take", stats.reserve_bytes);
        out.gauge("disk_queue_jobs", "Jobs waiting for an I/O thread or on one", stats.queue_depth);
        let silent = std::time::Duration::from_millis(stats.oldest_job_ms).as_secs_f64();
        let help = "Age of the oldest I/O operation under way";
        out.push("disk_oldest_job_seconds", help, vec![], SampleValue::Gauge(silent));
        out.gauge("chunks", "Committed chunks", stats.chunks);
        out.gauge("chunks_used_bytes", "Payload of committed chunks", stats.used_bytes);
        out.gauge("chunks_corrupt", "Committed chunks known to be corrupt", stats.corrupt);
        out.gauge("chunks_quarantined", "Files in quarantine", stats.quarantined);
        out.gauge("chunks_damaged", "Files in quarantine that were found damaged at a start", stats.damaged);
        out.counter("chunk_written_bytes", "Payload written to disk", stats.written_bytes);
        out.counter("chunk_read_bytes", "Payload read from disk", stats.read_bytes);
        out.counter("disk_read_errors", "Failed reads, checksum mismatches included", stats.read_errors);
        out.counter("disk_write_errors", "Failed writes and syncs", stats.write_errors);
        out.counter("disk_fsyncs", "Syncs of files and directories", stats.fsyncs);
        let seconds = std::time::Duration::from_micros(stats.fsync_micros).as_secs_f64();
        out.push("disk_fsync_seconds", "Time spent in syncs", vec![], SampleValue::Counter(seconds));
        out.samples
    });
}

/// Shows the places that requests share on a datanode at each scrape.
pub(super) fn places(metrics: &Metrics, node: &str, service: &Arc<DatanodeService>) {
    let (service, node) = (service.clone(), node.to_owned());
    metrics.sample(move || {
        let mut out = Samples::of(&node);
        for (kind, max, taken, waiting) in service.places() {
            for (name, help, value) in [
                ("places_max", "Requests of this kind that may be served at once", max),
                ("places_taken", "Requests of this kind that are being served", taken),
                ("places_waiting", "Requests of this kind that wait for a place", waiting),
            ] {
                let labels = vec![("kind", kind.to_owned())];
                out.push(name, help, labels, SampleValue::Gauge(value as f64));
            }
        }
        out.samples
    });
}

/// Shows how the scrub of a datanode does at each scrape.
pub(super) fn scrub(metrics: &Metrics, node: &str, service: &Arc<DatanodeService>) {
    let (service, node) = (service.clone(), node.to_owned());
    metrics.sample(move || {
        let (mut out, status) = (Samples::of(&node), service.scrub_status());
        let round = status.round;
        out.gauge(
            "scrub_round",
            "Number of the round of the scrub under way, or of the last one",
            round.round,
        );
        out.gauge("scrub_chunks", "Chunks read in that round", round.chunks);
        out.gauge("scrub_chunks_to_read", "Chunks there were when it began", status.chunks_total);
        out.gauge("scrub_bytes", "Bytes read in that round", round.bytes);
        out.gauge("scrub_bytes_to_read", "Bytes of the chunks there were when it began", status.bytes_total);
        out.gauge("scrub_bad", "Bad copies found in that round", round.bad);
        out.gauge("scrub_unreadable", "Copies that could not be read in that round", round.unreadable);
        let help = "Copies that were bad or unreadable and are still there";
        out.gauge("scrub_doubted", help, status.doubted);
        let since = Duration::from_millis(status.since_ms).as_secs_f64();
        let help = "Time that the node has run since a round last ended";
        out.push("scrub_since_seconds", help, vec![], SampleValue::Gauge(since));
        let help = "1 if no round has ended within twice the period";
        out.gauge("scrub_overdue", help, u64::from(status.overdue));
        out.samples
    });
}

/// Shows a budget of buffers at each scrape.
pub(super) fn memory(metrics: &Metrics, node: &str, purpose: &'static str, budget: &SlabBudget) {
    let (budget, node) = (budget.clone(), node.to_owned());
    metrics.sample(move || {
        let bytes = |slabs: usize| (slabs * DATA_FRAME_BYTES) as u64;
        let mut out = Samples::of(&node);
        out.gauge("memory_budget_bytes", "Buffers that may be granted as credit", bytes(budget.total()));
        out.gauge("memory_available_bytes", "Buffers that nobody holds", bytes(budget.available()));
        out.samples.iter_mut().for_each(|sample| sample.labels.push(("purpose", purpose.to_owned())));
        out.samples
    });
}

/// Shows the cluster at each scrape: what the coordinator knows by itself, and what it asks the metadata, without which there
/// is none of that.
pub(super) fn cluster(metrics: &Metrics, node: &str, service: &Arc<CoordinatorService>) {
    let (service, node) = (service.clone(), node.to_owned());
    metrics.sample({
        let (service, node) = (service.clone(), node.clone());
        move || known(&service, &node)
    });
    metrics.gather(move || {
        let (service, node) = (service.clone(), node.clone());
        async move {
            let status = service.cluster_status().await;
            let mut out = Samples::of(&node);
            let help = "1 if the cluster could not be looked at: then nothing else is said of it";
            out.gauge("cluster_look_failed", help, u64::from(status.is_err()));
            out.samples.extend(status.map(|status| counted(&status, &node)).unwrap_or_default());
            out.samples
        }
    });
}

fn known(service: &CoordinatorService, node: &str) -> Vec<Sample> {
    let mut out = Samples::of(node);
    let view = service.view();
    for state in NodeState::ALL {
        let count = view.nodes.iter().chain(&view.forgotten).filter(|n| n.entry.state == state).count();
        let labels = vec![("state", state.name().to_owned())];
        out.push("datanodes", "Datanodes in each state", labels, SampleValue::Gauge(count as f64));
    }
    let help = "Datanodes that answer and are read last, because their disks do not";
    out.gauge("datanodes_read_last", help, service.nodes_read_last() as u64);
    let help = "Pages of inventories that wait to be judged";
    out.gauge("inventory_pages_waiting", help, service.inventory_pages_waiting() as u64);
    let help = "Reads of the metadata that wait for a thread";
    out.gauge("metadata_reads_waiting", help, service.reads_waiting() as u64);
    repair(&mut out, &service.repair());
    out.samples
}

fn repair(out: &mut Samples, repair: &RepairTally) {
    let help = "Chunks that wait to be repaired, as far as they were looked for";
    out.gauge("repair_queued", help, repair.queued);
    out.gauge("repair_under_way", "Chunks that are being repaired", repair.under_way);
    out.counter("repair_copies", "Copies made up", repair.copied);
    out.counter("repair_copied_bytes", "Bytes of the copies made up", repair.copied_bytes);
    out.counter(
        "repair_verified",
        "Copies that came back or were doubted, and were read whole",
        repair.verified,
    );
    out.counter("repair_dropped", "Copies ordered away that were bad or too many", repair.dropped);
    out.counter("repair_failures", "Attempts to repair a chunk that failed", repair.failed);
}

fn counted(status: &ClusterStatus, node: &str) -> Vec<Sample> {
    let mut out = Samples::of(node);
    out.gauge("epoch", "Reign of this coordinator", status.epoch.0);
    out.gauge("datanodes_up", "Datanodes up", u64::from(status.nodes_up));
    out.gauge("datanodes_known", "Datanodes that belong to the cluster", u64::from(status.nodes_total));
    out.gauge("cluster_capacity_bytes", "Size of all disks", status.capacity);
    out.gauge("cluster_available_bytes", "Bytes that chunks may still take", status.available);
    out.gauge("cluster_used_bytes", "Bytes that chunks take", status.used);
    out.gauge("files", "Files", status.files);
    out.gauge("directories", "Directories", status.directories);
    out.gauge("chunks_known", "Chunks with a record", status.chunks);
    for (health, chunks) in &status.health_of_chunks {
        let (help, labels) =
            ("Live chunks by what they are worth", vec![("health", health.name().to_owned())]);
        out.push("cluster_chunks", help, labels, SampleValue::Gauge(*chunks as f64));
    }
    for (level, word) in [(HealthLevel::Warn, "warn"), (HealthLevel::Error, "error")] {
        for muted in [false, true] {
            let of = |f: &&HealthFinding| f.level == level && (f.muted_ms > 0) == muted;
            let count = SampleValue::Gauge(status.findings.iter().filter(of).count() as f64);
            let labels = vec![("level", word.to_owned()), ("muted", muted.to_string())];
            out.push("health_findings", "Things that need attention", labels, count);
        }
    }
    let help = "1 while the chunks are being counted since a node changed its state";
    out.gauge("cluster_chunks_counting", help, u64::from(status.counting));
    out.gauge("trash_entries", "Entries in the trash", status.trash_entries);
    out.gauge("trash_bytes", "Bytes of the files in the trash", status.trash_bytes);
    let help = "Bytes of the files in the trash with all copies they ask for, a part of cluster_used_bytes";
    out.gauge("trash_raw_bytes", help, status.trash_raw_bytes);
    let help = "1 while a large directory that was deleted is being counted";
    out.gauge("trash_counting", help, u64::from(status.trash_counting));
    out.gauge("tombstones", "Deletes that datanodes have not confirmed", status.tombstones);
    out.gauge("uploads_open", "Upload sessions open", status.uploads_open);
    out.gauge("outcomes_known", "Outcomes of operations that are remembered", status.outcomes);
    out.gauge("outcomes_bytes", "Bytes that remembered outcomes take", status.outcome_bytes);
    let bound = "Bytes that remembered outcomes may take before the oldest are forgotten early";
    out.gauge("outcomes_bytes_max", bound, status.outcome_bytes_max);
    out.samples
}

/// Shows the metadata store at each scrape.
pub(super) fn metadata(metrics: &Metrics, node: &str, service: &Arc<CoordinatorService>) {
    let (service, node) = (service.clone(), node.to_owned());
    metrics.sample(move || {
        let writer = service.writer_metrics();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut out = Samples::of(&node);
        // A full disk is told by the two below: what gives space back is committed on it.
        let trouble = service.store_trouble().filter(|trouble| !matches!(trouble, StoreTrouble::Tight(_)));
        let failing = u64::from(trouble.is_some());
        out.gauge("metadata_failing", "1 if the metadata store commits nothing", failing);
        if let Some(space) = writer.health.room() {
            let free = "Free space on the metadata disk, the reserve included";
            out.gauge("metadata_available_bytes", free, space.available);
            let reserve = "Free space on the metadata disk that nothing new may take";
            out.gauge("metadata_reserve_bytes", reserve, space.reserve);
        }
        out.counter("metadata_commits", "Groups of changes committed", count(&writer.groups));
        out.counter("metadata_applied", "Changes answered with success", count(&writer.applied));
        out.counter("metadata_refused", "Changes refused", count(&writer.refused));
        out.counter("metadata_failed", "Changes of unknown outcome", count(&writer.failed));
        out.counter("metadata_panics", "Changes that panicked", count(&writer.panicked));
        out.counter("metadata_reopens", "Times the store was opened again", count(&writer.reopened));
        let seconds = |counter| Duration::from_micros(count(counter)).as_secs_f64();
        let spent = SampleValue::Counter(seconds(&writer.commit_micros));
        out.push("metadata_commit_seconds", "Time spent in commits", vec![], spent);
        let longest = SampleValue::Gauge(seconds(&writer.commit_micros_max));
        out.push("metadata_commit_max_seconds", "The longest commit so far", vec![], longest);
        out.samples
    });
}
