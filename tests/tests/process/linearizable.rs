//! Operations on one path are linearizable across clients, renames and listings included.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use dfs_client::{Client, DeleteOptions, ErrorKind, PutOptions, PutSource, RenameOptions, RetryPolicy};
use dfs_tests::{
    Cluster, Content, Options, Rng,
    history::{Event, Recorder, check},
    path,
};
use tokio::task::JoinSet;

const PATHS: usize = 4;

fn name(at: usize) -> dfs_client::DfsPath {
    path(&format!("/h/p{at}"))
}

/// The contents of a value: its length says which value it is, its bytes prove it.
fn content(value: u32) -> Content {
    Content::new("history", value.into(), 1_000 + u64::from(value) * 331)
}

fn value_of(size: u64) -> u32 {
    let value = u32::try_from((size - 1_000) / 331).expect("a value");
    assert_eq!(content(value).len(), size, "a file of a size that nobody wrote");
    value
}

/// Writes down what came of a change, as `event` has it for success and for "was not there".
fn note<E: std::fmt::Debug>(
    recorder: &Recorder,
    client: usize,
    called: u64,
    result: Result<(), (ErrorKind, E)>,
    event: impl Fn(bool) -> Option<Event>,
) {
    let success = || event(true).expect("it can succeed");
    match result {
        Ok(()) => recorder.returned(client, called, success()),
        // Whoever could not be reached any more may have done it before.
        Err((ErrorKind::OutcomeUnknown | ErrorKind::Unavailable, _)) => {
            recorder.unknown(client, called, success());
        }
        Err((ErrorKind::NotFound, error)) => match event(false) {
            Some(event) => recorder.returned(client, called, event),
            None => panic!("{error:?}"),
        },
        Err((_, error)) => panic!("{error:?}"),
    }
}

#[test]
fn a_change_whose_node_became_unavailable_may_have_happened_and_may_not() {
    for (seen, kind) in [Some(7), None]
        .into_iter()
        .flat_map(|seen| [ErrorKind::Unavailable, ErrorKind::OutcomeUnknown].map(|kind| (seen, kind)))
    {
        let recorder = Recorder::default();
        let called = recorder.now();
        note(&recorder, 0, called, Err((kind, "gone")), |done| done.then_some(Event::Put(0, 7)));
        let called = recorder.now();
        recorder.returned(1, called, Event::Get(0, seen));
        assert_eq!(check(1, recorder.history()), Ok(()), "{kind:?} {seen:?}");
    }
}

struct Actor {
    client: Client,
    number: usize,
    recorder: Arc<Recorder>,
}

impl Actor {
    /// One change; `done` says what to record for success, and for "was not there".
    fn record(
        &self,
        called: u64,
        result: Result<(), dfs_client::Error>,
        event: impl Fn(bool) -> Option<Event>,
    ) {
        note(&self.recorder, self.number, called, result.map_err(|error| (error.kind(), error)), event);
    }

    async fn put(&self, at: usize, value: u32) {
        let called = self.recorder.now();
        let source = PutSource::from(content(value).bytes());
        let result = self.client.put(source, &name(at), PutOptions::default()).await;
        self.record(called, result.map(drop), |done| done.then_some(Event::Put(at, value)));
    }

    async fn remove(&self, at: usize) {
        let called = self.recorder.now();
        let result = self.client.delete(&name(at), DeleteOptions::default()).await;
        self.record(called, result.map(drop), |done| Some(Event::Remove(at, done)));
    }

    async fn rename(&self, from: usize, to: usize) {
        let called = self.recorder.now();
        let options = RenameOptions::new().replace(true);
        let result = self.client.rename(&name(from), &name(to), options).await;
        self.record(called, result, |done| Some(Event::Rename(from, to, done)));
    }

    async fn get(&self, at: usize) {
        let called = self.recorder.now();
        let mut bytes = vec![];
        match self.client.get_to_writer(&name(at), &mut bytes, Default::default()).await {
            Ok(got) => {
                let value = value_of(got.stat.size);
                content(value).expect("a whole version", &bytes);
                self.recorder.returned(self.number, called, Event::Get(at, Some(value)));
            }
            Err(error) if error.kind() == ErrorKind::NotFound && error.code() == "NotFound" => {
                self.recorder.returned(self.number, called, Event::Get(at, None));
            }
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::NotFound) => {}
            Err(error) => panic!("{error:?}"),
        }
    }

    async fn list(&self) {
        let called = self.recorder.now();
        match self.client.list_all(&path("/h"), false).await {
            Ok(entries) => {
                let at = |entry: &dfs_client::metadata::FileStat| {
                    (0..PATHS).find(|at| name(*at) == entry.path).expect("a known path")
                };
                let seen: BTreeMap<_, _> =
                    entries.iter().map(|entry| (at(entry), value_of(entry.size))).collect();
                assert_eq!(seen.len(), entries.len(), "an entry came twice");
                self.recorder.returned(self.number, called, Event::List(seen));
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}"),
        }
    }

    async fn live(self, mut rng: Rng, operations: u32) {
        for turn in 0..operations {
            let at = usize::try_from(rng.below(PATHS as u64)).expect("a path");
            match rng.below(10) {
                0..3 => self.put(at, u32::try_from(self.number).expect("small") * 1_000 + turn).await,
                3..5 => self.remove(at).await,
                5 => self.rename(at, (at + 1) % PATHS).await,
                6..9 => self.get(at).await,
                _ => self.list().await,
            }
        }
    }
}

async fn actors(cluster: &Cluster, rng: &mut Rng, recorder: &Arc<Recorder>, operations: u32) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for number in 0..5 {
        let mut config = cluster.config();
        config.retry = RetryPolicy { budget: Duration::from_secs(2), ..RetryPolicy::default() };
        config.timeouts.request = Duration::from_secs(2);
        let actor = Actor { client: cluster.client_with(config).await, number, recorder: recorder.clone() };
        tasks.spawn(actor.live(rng.fork(), operations));
    }
    tasks
}

#[tokio::test(flavor = "multi_thread")]
async fn what_five_clients_see_on_four_paths_happened_in_one_order() {
    let mut rng = Rng::for_test("linearizable");
    let cluster = Cluster::start(3, Options::default());
    cluster.ok(&["mkdir", "/h"]);
    let recorder = Arc::new(Recorder::default());
    let mut tasks = actors(&cluster, &mut rng, &recorder, 60).await;
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no panic");
    }
    let history = recorder.history();
    assert_eq!(history.len(), 300, "nothing failed, nothing is unknown");
    check(PATHS, history).unwrap_or_else(|reason| panic!("{reason}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_see_while_coordinator_and_datanodes_die_happened_in_one_order() {
    let mut rng = Rng::for_test("linearizable under fire");
    let cluster = Cluster::start(4, Options::default());
    cluster.ok(&["mkdir", "/h"]);
    let recorder = Arc::new(Recorder::default());
    let mut tasks = actors(&cluster, &mut rng, &recorder, 60).await;
    for round in 0..3 {
        tokio::time::sleep(rng.up_to(Duration::from_secs(1))).await;
        let victim = if round == 1 { cluster.datanode(round) } else { cluster.coordinator() };
        victim.kill();
        tokio::time::sleep(rng.up_to(Duration::from_millis(800))).await;
        victim.start();
        cluster.wait_for_nodes();
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no panic");
    }
    let history = recorder.history();
    let known = history.iter().filter(|op| op.returned.is_some()).count();
    assert!(known > 100, "only {known} operations have an outcome");
    check(PATHS, history).unwrap_or_else(|reason| panic!("{reason}"));
}
