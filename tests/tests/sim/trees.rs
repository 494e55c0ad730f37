//! The trees of actors that are drawn in documentation are the ones that run.

use std::collections::BTreeSet;

use dfs_actors::supervisor::ActorTree;
use dfs_tests::sim::with_trees;

const ALL: &str = include_str!("../../../actors/src/lib.rs");
const COORDINATOR: &str = include_str!("../../../actors/src/coordinator/tree.rs");
const DATANODE: &str = include_str!("../../../actors/src/datanode/tree.rs");
const TRANSPORT: &str = include_str!("../../../actors/src/peer/tree.rs");

type Paths = BTreeSet<String>;

/// One tree as it is drawn: paths of actors, and those whose children come and go.
#[derive(Clone, Debug, Default)]
struct Drawing {
    paths: Paths,
    nurseries: Paths,
}

impl Drawing {
    /// Every tree in the first picture of a file's documentation: a root at the margin, and below it `+- name  words`, three
    /// columns deeper at each floor.
    fn all_of(file: &str) -> Vec<Self> {
        let doc = file.lines().map_while(|line| line.strip_prefix("//!"));
        let picture = doc.skip_while(|line| line.trim() != "```text").skip(1);
        let mut trees: Vec<Self> = Vec::new();
        let mut above: Vec<String> = Vec::new();
        for line in picture.take_while(|line| line.trim() != "```").filter(|line| !line.trim().is_empty()) {
            let line = line.strip_prefix(' ').unwrap_or(line);
            let (depth, words) = match line.find("+- ") {
                Some(at) => (at / 3 + 1, &line[at + 3..]),
                None => (0, line),
            };
            let (name, words) = words.split_once(' ').unwrap_or((words, ""));
            above.truncate(depth);
            above.push(name.to_owned());
            if depth == 0 {
                trees.push(Self::default());
            }
            let tree = trees.last_mut().expect("a root comes first");
            tree.paths.insert(above.join("/"));
            if words.trim_start().starts_with("nursery") {
                tree.nurseries.insert(above.join("/"));
            }
        }
        trees
    }

    /// The only tree of a file.
    fn of(file: &str) -> Self {
        let mut trees = Self::all_of(file);
        assert_eq!(trees.len(), 1, "one tree is drawn");
        trees.remove(0)
    }

    /// With what is drawn in a file of its own below its root's name.
    fn with(mut self, part: &Self) -> Self {
        let below = |paths: &Paths| paths.iter().map(|path| format!("root/{path}")).collect::<Vec<_>>();
        self.paths.extend(below(&part.paths));
        self.nurseries.extend(below(&part.nurseries));
        self
    }

    /// What is drawn and does not run, or runs and is not drawn.
    fn differs_from(&self, running: &ActorTree) -> Vec<String> {
        let rows = running.snapshot();
        let lasting =
            rows.iter().filter(|row| !row.parent.as_ref().is_some_and(|p| self.nurseries.contains(p)));
        let running: Paths = lasting.map(|row| row.path.clone()).collect();
        self.paths.symmetric_difference(&running).cloned().collect()
    }
}

#[test]
fn the_trees_that_are_drawn_are_the_ones_that_run() {
    with_trees(compare);
}

fn compare(coordinator: &ActorTree, datanode: &ActorTree) {
    let transport = Drawing::of(TRANSPORT);
    assert_eq!(transport.paths.len(), 3, "{transport:?}");
    let [first, second] = Drawing::all_of(ALL).try_into().expect("two trees are drawn in lib.rs");
    for (file, drawing, running) in [
        ("coordinator/tree.rs", Drawing::of(COORDINATOR).with(&transport), coordinator),
        ("datanode/tree.rs", Drawing::of(DATANODE).with(&transport), datanode),
        ("lib.rs, a coordinator", first.clone(), coordinator),
        ("lib.rs, a datanode", second, datanode),
    ] {
        let wrong = drawing.differs_from(running);
        assert!(wrong.is_empty(), "{file} is not what runs: {wrong:?}");
    }
    // The comparison bites: another name, one actor too many, one too few, a child in the wrong place.
    for (from, to, wrong) in [
        ("membership", "members", 2),
        ("+- gc ", "+- scrub\n//! |  +- gc ", 1),
        ("|  +- placement        where new chunks go\n//! ", "", 1),
        ("|  +- events ", "+- events ", 2),
    ] {
        let changed = ALL.replacen(from, to, 1);
        assert_ne!(changed, ALL, "{from}");
        assert_eq!(Drawing::all_of(&changed)[0].differs_from(coordinator).len(), wrong, "{from}");
    }
    assert!(!first.differs_from(datanode).is_empty());
}
