//! The namespace on redb under power cuts, files with their chunks and copies included: what was acknowledged is there, what
//! was not is there whole or not at all, and repeating the operation in doubt tells which.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use dfs_actors::coordinator::Unwrapped;
use dfs_actors::coordinator::metadata::model::outcome::{OpenedUpload, Outcome};
use dfs_actors::coordinator::metadata::model::records::StoredReason;
use dfs_actors::coordinator::metadata::model::time::Moment;
use dfs_actors::coordinator::metadata::ops::mutation::Mutation;
use dfs_actors::coordinator::metadata::ops::transfer::ChunkPlacement;
use dfs_actors::coordinator::metadata::ops::{Policy, cluster};
use dfs_actors::coordinator::metadata::reader::MetadataReader;
use dfs_actors::coordinator::metadata::table::store::MetadataStore;
use dfs_actors::coordinator::metadata::writer::StoreTrouble;
use dfs_actors::coordinator::metadata::writer::{
    Committer, GroupEnd, MutationResult, QueuedMutation, WriterMetrics,
};
use dfs_actors::supervisor::Reply;
use dfs_wire::auth::{ClusterKey, Receipt};
use dfs_wire::id::{ClusterId, NodeId, OpId};
use dfs_wire::message::metadata::{
    CommitUpload, Delete, EntryKind, FileStat, Fsck, List, Mkdir, OpenRead, OpenUpload, Precondition, Rename,
    StoredChunk,
};
use dfs_wire::path::DfsPath;
use dfs_wire::status::StatusCode;

use super::power_cut::{SmallRng, TornDisk, open};

/// Bytes of a chunk, and the nodes that hold it.
const CHUNK: u32 = 65_536;
const HOLDERS: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
const KEY: ClusterKey = ClusterKey([1; 32]);

/// What is seen of one path: its size, and how many copies each of its chunks has.
type Seen = (String, EntryKind, u64, Vec<usize>);

fn path(text: &str) -> DfsPath {
    text.parse().unwrap()
}

/// A coordinator's metadata between two power cuts.
struct Life {
    store: Arc<dyn MetadataStore>,
    committer: Committer,
    metrics: Arc<WriterMetrics>,
}

impl Life {
    fn start(disk: &TornDisk) -> Self {
        let store: Arc<dyn MetadataStore> = Arc::new(open(disk).unwrap());
        let reign = cluster::open(store.as_ref(), ClusterId(1), &KEY, &Unwrapped, 1).unwrap();
        let metrics = Arc::new(WriterMetrics::default());
        let committer = Committer::new(store.clone(), &reign, Policy::default(), metrics.clone()).unwrap();
        Self { store, committer, metrics }
    }

    /// Commits mutations as one group, as operations from `op` on.
    fn group(&mut self, op: u128, mutations: &[Mutation]) -> (GroupEnd, Vec<MutationResult>) {
        let (mut jobs, mut answers) = (Vec::new(), Vec::new());
        for (i, mutation) in mutations.iter().enumerate() {
            let (reply, answer) = Reply::channel();
            let op = op + i as u128;
            jobs.push(QueuedMutation { op: OpId(op), entropy: op << 8, mutation: mutation.clone(), reply });
            answers.push(answer);
        }
        let end = self.committer.run(jobs, Moment { now_ms: 1_000 + op as u64, wall_ms: 1_000 }, &|| 0);
        (end, answers.into_iter().map(|mut a| a.try_recv().expect("every job is answered")).collect())
    }

    fn tree(&self) -> Vec<Seen> {
        let request = List { path: DfsPath::root(), recursive: true, after: None, limit: 0 };
        let reader = MetadataReader::new(self.store.clone());
        let listed = reader.list(&request).unwrap();
        assert_eq!(listed.next, None, "the test's trees fit into a page");
        let seen = |e: FileStat| {
            let copies = match e.kind {
                EntryKind::Directory => Vec::new(),
                EntryKind::File => copies_of(&reader, &e.path),
            };
            (e.path.to_string(), e.kind, e.size, copies)
        };
        listed.entries.into_iter().map(seen).collect()
    }

    /// Returns the chunks that were looked at.
    fn assert_clean(&self, seed: u64) -> u64 {
        let (mut cursor, mut chunks) = (None, 0);
        loop {
            let step = MetadataReader::new(self.store.clone())
                .fsck(&Fsck { cursor }, &|_| dfs_actors::coordinator::metadata::model::worth::Reach::Here)
                .unwrap();
            chunks += step.chunks;
            assert!(step.problems.is_empty(), "seed {seed}: {:#?}", step.problems);
            match step.next {
                Some(next) => cursor = Some(next),
                None => return chunks,
            }
        }
    }
}

fn copies_of(reader: &MetadataReader, path: &DfsPath) -> Vec<usize> {
    let request = OpenRead { path: path.clone(), version: None, first: 0, count: 0 };
    let page = reader.open_read(&request).unwrap();
    page.chunks.into_iter().map(|chunk| chunk.copies.len()).collect()
}

/// As chosen for one chunk.
fn placement() -> ChunkPlacement {
    let chosen =
        |node| StoredReason { node, chosen: true, rule: "chosen".into(), detail: "all there are".into() };
    ChunkPlacement { nodes: HOLDERS.to_vec(), reasons: HOLDERS.map(chosen).to_vec() }
}

/// What the nodes say after they stored the chunks of an upload, and what makes it a file.
fn commit_of(opened: &OpenedUpload) -> Mutation {
    let stored = opened.allocations.iter().map(|chunk| {
        let sign = |node: NodeId| {
            Receipt::sign(node, chunk.chunk, chunk.generation, CHUNK, [7; 32], &KEY.node_key(node))
        };
        StoredChunk { index: chunk.index, receipts: HOLDERS.map(sign).to_vec() }
    });
    let chunks: Vec<StoredChunk> = stored.collect();
    let count = chunks.len() as u32;
    let size = u64::from(count) * u64::from(CHUNK);
    Mutation::Commit(CommitUpload { session: opened.session, chunks, size, chunk_count: count, sha256: None })
}

fn random_mutation(rng: &mut SmallRng) -> Mutation {
    let mut name = || path(["/a", "/b", "/a/c", "/b/c", "/a/c/d"][(rng.next() % 5) as usize]);
    let (one, other) = (name(), name());
    match rng.next() % 5 {
        0 | 1 => Mutation::Mkdir(Mkdir { path: one, parents: true }),
        2 => Mutation::Rename(Rename { from: one, to: other, replace: true }),
        3 => Mutation::Delete(Delete { path: one, recursive: true, skip_trash: false, if_match: None }),
        _ => Mutation::OpenUpload(
            OpenUpload {
                path: one,
                chunk_size: CHUNK,
                replication: 0,
                precondition: Precondition::Any,
                parents: true,
                size_hint: None,
                allocate: 0,
                mtime_ns: None,
                resume: None,
            },
            (0..rng.next() % 3).map(|_| placement()).collect(),
        ),
    }
}

#[test]
fn acknowledged_changes_survive_power_cuts_and_doubtful_ones_are_resolved_by_repeating() {
    let (mut in_doubt, mut happened, mut chunks) = (0, 0, 0);
    for seed in 1..=60u64 {
        let mut rng = SmallRng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut disk = TornDisk::default();
        drop(Life::start(&disk));
        let (mut op, mut known) = (1u128, Vec::new());
        for _life in 0..3 {
            let mut life = Life::start(&disk);
            assert_eq!(life.tree(), known, "seed {seed}: what was acknowledged is what is there");
            chunks += life.assert_clean(seed);
            disk.fail_after((rng.next() % 120) as u32);
            let doubtful = loop {
                let mut group: Vec<_> = (0..rng.next() % 3 + 1).map(|_| random_mutation(&mut rng)).collect();
                let (end, results) = life.group(op, &group);
                if end == GroupEnd::StoreFailed {
                    break (op, group);
                }
                op += group.len() as u128;
                // Files appear by a commit in the next group.
                group.clear();
                for result in results.into_iter().flatten() {
                    if let Outcome::Opened(opened) = result {
                        group.push(commit_of(&opened));
                    }
                }
                known = life.tree();
                let (end, _) = life.group(op, &group);
                if end == GroupEnd::StoreFailed {
                    break (op, group);
                }
                op += group.len() as u128;
                known = life.tree();
            };
            assert!(life.metrics.failed.load(Ordering::Relaxed) > 0);
            let after = disk.after_power_cut(&mut rng);
            drop(life);
            disk = after;
            let mut life = Life::start(&disk);
            let found = life.tree();
            let (end, again) = life.group(doubtful.0, &doubtful.1);
            assert_eq!(end, GroupEnd::Committed);
            let resolved = life.tree();
            assert!(found == known || found == resolved, "seed {seed}: a part of a group: {found:?}");
            in_doubt += 1;
            happened += u32::from(found == resolved && found != known);
            let (_, third) = life.group(doubtful.0, &doubtful.1);
            for ((mutation, first), third) in doubtful.1.iter().zip(&again).zip(&third) {
                // A refused upload may be opened by a repeat: nobody sees it before its commit.
                let opens = matches!(mutation, Mutation::OpenUpload(..)) && first.is_err();
                assert!(
                    opens || third == first,
                    "seed {seed}: one outcome for ever: {first:?}, then {third:?}"
                );
            }
            assert_eq!(life.tree(), resolved);
            op = doubtful.0 + doubtful.1.len() as u128;
            known = resolved;
        }
    }
    assert!(in_doubt == 180 && happened > 2, "both ends were met: {happened} of {in_doubt}");
    assert!(chunks > 100, "files of {chunks} chunks went through it");
}

fn mkdir(p: &str) -> [Mutation; 1] {
    [Mutation::Mkdir(Mkdir { path: path(p), parents: false })]
}

fn code(results: &[MutationResult]) -> StatusCode {
    results[0].as_ref().map_or_else(|status| status.code, |outcome| panic!("{outcome:?}"))
}

#[test]
fn an_operation_repeated_after_a_failed_sync_is_acknowledged_only_if_it_is_durable() {
    let mut failures = 0;
    for syncs in 0..6 {
        let disk = TornDisk::default();
        let mut life = Life::start(&disk);
        disk.fail_sync_after(syncs);
        let doubtful = loop {
            failures += 1;
            let (end, results) = life.group(failures, &mkdir(&format!("/{failures}")));
            if end == GroupEnd::StoreFailed {
                assert_eq!(code(&results), StatusCode::OutcomeUnknown);
                break failures;
            }
        };
        let name = format!("/{doubtful}");
        for _ in 0..3 {
            let (end, results) = life.group(doubtful, &mkdir(&name));
            assert_eq!((end, code(&results)), (GroupEnd::StoreFailed, StatusCode::Unavailable));
        }
        drop(life);
        // Started anew on the same disk, then the power goes: whatever was acknowledged has to be there.
        let mut life = Life::start(&disk);
        let (end, results) = life.group(doubtful, &mkdir(&name));
        assert_eq!((end, results), (GroupEnd::Committed, vec![Ok(Outcome::Done)]));
        let left = disk.after_power_cut(&mut SmallRng(u64::from(syncs) + 1));
        assert!(
            Life::start(&left).tree().contains(&(name, EntryKind::Directory, 0, vec![])),
            "{syncs} syncs"
        );
    }
}

#[test]
fn a_full_disk_refuses_changes_and_nothing_else_and_comes_back_by_itself() {
    let disk = TornDisk::default();
    let mut life = Life::start(&disk);
    let (_, first) = life.group(1, &mkdir("/a"));
    assert_eq!(first, [Ok(Outcome::Done)]);
    let before = disk.opened();
    disk.full_after(0);
    for op in 2..5 {
        let (end, results) = life.group(op, &mkdir("/b"));
        assert_eq!(
            (end, code(&results)),
            (GroupEnd::StoreFailed, StatusCode::NoSpace),
            "definite: {results:?}"
        );
        assert!(matches!(life.metrics.health.trouble(0), Some(StoreTrouble::Failing(_))));
    }
    assert!(disk.opened() > before, "the engine has to be opened anew");
    disk.heal();
    let (_, again) = life.group(2, &mkdir("/b"));
    assert_eq!(again, [Ok(Outcome::Done)], "a refusal for want of space is no outcome to keep");
    assert_eq!(life.metrics.health.trouble(0), None);
    assert_eq!(life.tree().len(), 2);
}
