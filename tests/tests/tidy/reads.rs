//! Where the metadata may be read: its store blocks, so whoever serves or acts has none, and asks `MetadataReads`, which reads
//! on threads of its own.

use crate::circles::is_test;
use crate::source::Source;

/// Files and folders that may name the store: what it is made of, and where it is opened and handed on.
const HOLDERS: &[&str] = &[
    "actors/src/coordinator/metadata/migrate.rs",
    "actors/src/coordinator/metadata/mod.rs",
    "actors/src/coordinator/metadata/ops/cluster.rs",
    "actors/src/coordinator/metadata/reader.rs",
    "actors/src/coordinator/metadata/table/",
    "actors/src/coordinator/metadata/writer/committer.rs",
    "actors/src/coordinator/tree.rs",
    "node/src/metadata/",
    "node/src/roles/coordinator.rs",
];
/// Those that may open a snapshot of it: before anybody is served, on the writer's thread, and on those of reads.
const OPENERS: &[&str] = &[
    "actors/src/coordinator/metadata/migrate.rs",
    "actors/src/coordinator/metadata/ops/cluster.rs",
    "actors/src/coordinator/metadata/reader.rs",
    "actors/src/coordinator/metadata/writer/committer.rs",
    "node/src/metadata/",
];
/// Where actors and what they serve live.
const ROOMS: &[&str] = &["actors/src/", "node/src/"];

pub(crate) fn misplaced_reads(source: &Source) -> Vec<String> {
    let path = source.path.as_str();
    let is_in = |places: &[&str]| places.iter().any(|place| path.starts_with(place));
    if !is_in(ROOMS) || is_test(path) {
        return vec![];
    }
    let ask = "reads of the metadata block: ask `MetadataReads`";
    let mut complaints = Vec::new();
    if !is_in(HOLDERS) {
        let words = ["MetadataStore", "MetadataSnapshot", "RedbStore", "MemoryStore"];
        let named = words.iter().filter_map(|word| Some((word, source.word(word)?)));
        complaints.extend(named.map(|(word, line)| format!("{path}:{line}: `{word}`: {ask}")));
    }
    // Whoever does not hold the store has snapshots of other things.
    let opening = ["MetadataReader::new(", ".snapshot("].into_iter().take(1 + usize::from(is_in(HOLDERS)));
    for opens in opening.filter(|_| !is_in(OPENERS)) {
        let lines = source.code.lines().enumerate().filter(|(_, line)| line.contains(opens));
        complaints.extend(lines.map(|(number, _)| format!("{path}:{}: `{opens}`: {ask}", number + 1)));
    }
    complaints
}

#[cfg(test)]
mod bites {
    use super::*;

    #[test]
    fn nobody_who_serves_reads_the_metadata_himself() {
        let found = |path, text| !misplaced_reads(&Source::new(path, text)).is_empty();
        let service = "actors/src/coordinator/service/dispatch.rs";
        assert!(found(service, "pub struct Parts {\n    store: Arc<dyn MetadataStore>,\n}"));
        assert!(found(service, "let status = MetadataReader::new(store).totals();"));
        assert!(found(service, "fn rows(view: &dyn MetadataSnapshot) {}"));
        assert!(found("actors/src/coordinator/gc/actor.rs", "store: Arc<MemoryStore>,"));
        assert!(found(
            "actors/src/coordinator/metadata/writer/actor.rs",
            "pub struct Args {\n    store: Arc<dyn MetadataStore>,\n}"
        ));
        assert!(found("node/src/roles/observe.rs", "use crate::metadata::redb::RedbStore;"));
        assert!(found("node/src/roles/coordinator.rs", "let view = store.snapshot()?;"));
        assert!(found("actors/src/coordinator/tree.rs", "let nodes = MetadataReader::new(store).nodes();"));
        assert!(!found("actors/src/coordinator/tree.rs", "store: Arc<dyn MetadataStore>,"));
        assert!(!found("actors/src/coordinator/metadata/reader.rs", "let view = self.store.snapshot()?;"));
        assert!(!found("node/src/roles/mod.rs", "let rows = tree.snapshot();"));
        assert!(!found(
            service,
            "self.parts.reads.ask(what, left, |reader: &MetadataReader| reader.nodes())"
        ));
        assert!(!found("actors/src/coordinator/tests/mod.rs", "store: Arc<MemoryStore>,"));
    }
}
