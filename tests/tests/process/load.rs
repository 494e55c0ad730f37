//! Writers that keep a cluster busy and an honest account of what they were told, and the audit of that account after a
//! disaster: what was acknowledged is there, what was refused is not, what is in doubt is whole or absent.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dfs_client::{
    Client, DeleteOptions, DfsPath, ErrorKind, PutOptions, PutSource, RenameOptions, RetryPolicy,
};
use dfs_tests::{Cluster, Content, Rng, path};
use tokio::task::JoinSet;

/// What a path may hold, as far as its only writer was told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expected {
    /// This version, or nothing.
    Exactly(Option<Content>),
    /// One of these: an outcome was not learned.
    OneOf(Vec<Option<Content>>),
}

impl Expected {
    fn may_be(&self) -> Vec<Option<Content>> {
        match self {
            Self::Exactly(one) => vec![*one],
            Self::OneOf(many) => many.clone(),
        }
    }

    /// In doubt between what was and what was to be.
    fn or(&self, other: Option<Content>) -> Self {
        let mut many = self.may_be();
        many.push(other);
        many.dedup();
        Self::OneOf(many)
    }
}

/// The account of one path.
#[derive(Debug)]
struct Entry {
    path: DfsPath,
    expected: Expected,
}

/// Operations that were acknowledged, by kind: an audit of nothing proves nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Acknowledged {
    pub(crate) puts: u64,
    pub(crate) deletes: u64,
    pub(crate) renames: u64,
    pub(crate) unknown: u64,
}

/// Writers at work. Each has paths of its own, so that each knows what its paths must hold.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    writers: JoinSet<(Vec<Entry>, Acknowledged)>,
}

/// What the writers were told.
pub(crate) struct Account {
    entries: Vec<Entry>,
    pub(crate) acknowledged: Acknowledged,
}

impl Load {
    /// Starts `writers` writers. Their clients give up early, so that a disaster leaves doubts to audit.
    pub(crate) async fn start(cluster: &Cluster, writers: usize, rng: &mut Rng) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for writer in 0..writers {
            let mut config = cluster.config();
            config.retry = RetryPolicy { budget: Duration::from_millis(300), ..RetryPolicy::default() };
            config.timeouts.request = Duration::from_secs(2);
            config.timeouts.write_stall = Duration::from_secs(5);
            let client = cluster.client_with(config).await;
            tasks.spawn(write(client, writer, rng.fork(), stop.clone()));
        }
        Self { stop, writers: tasks }
    }

    /// Ends the writers after their operation in progress.
    pub(crate) async fn end(mut self) -> Account {
        self.stop.store(true, Ordering::Relaxed);
        let mut account = Account { entries: vec![], acknowledged: Acknowledged::default() };
        while let Some(ended) = self.writers.join_next().await {
            let (entries, acknowledged) = ended.expect("a writer does not panic");
            account.entries.extend(entries);
            account.acknowledged.puts += acknowledged.puts;
            account.acknowledged.deletes += acknowledged.deletes;
            account.acknowledged.renames += acknowledged.renames;
            account.acknowledged.unknown += acknowledged.unknown;
        }
        account
    }
}

async fn write(
    client: Client,
    writer: usize,
    mut rng: Rng,
    stop: Arc<AtomicBool>,
) -> (Vec<Entry>, Acknowledged) {
    let (mut entries, mut acknowledged): (Vec<Entry>, _) = (vec![], Acknowledged::default());
    let mut version = 0;
    while !stop.load(Ordering::Relaxed) {
        version += 1;
        let certain: Vec<usize> = (0..entries.len())
            .filter(|at| matches!(entries[*at].expected, Expected::Exactly(Some(_))))
            .collect();
        // Mostly new files and replacements; now and then one goes or moves.
        match rng.below(10) {
            0..2 if !certain.is_empty() => {
                delete(&client, &mut entries[*rng.pick(&certain)], &mut acknowledged).await;
            }
            2..4 if !certain.is_empty() => {
                let new = path(&format!("/w{writer}-moved-{version}"));
                let from = *rng.pick(&certain);
                let moved = rename(&client, &mut entries[from], new, &mut acknowledged).await;
                entries.push(moved);
            }
            _ => {
                let at = match certain.first() {
                    Some(_) if rng.below(3) == 0 => *rng.pick(&certain),
                    _ => {
                        let path = path(&format!("/w{writer}-{version}"));
                        entries.push(Entry { path, expected: Expected::Exactly(None) });
                        entries.len() - 1
                    }
                };
                let content = Content::new("load", rng.draw(), rng.below(700_000));
                put(&client, &mut entries[at], content, &mut acknowledged).await;
            }
        }
    }
    (entries, acknowledged)
}

async fn put(client: &Client, entry: &mut Entry, content: Content, acknowledged: &mut Acknowledged) {
    match client.put(PutSource::from(content.bytes()), &entry.path, PutOptions::default()).await {
        Ok(_) => {
            acknowledged.puts += 1;
            entry.expected = Expected::Exactly(Some(content));
        }
        Err(error) if error.kind() == ErrorKind::OutcomeUnknown => {
            acknowledged.unknown += 1;
            entry.expected = entry.expected.or(Some(content));
        }
        // Any other failure is definite: nothing happened, ever.
        Err(_) => {}
    }
}

async fn delete(client: &Client, entry: &mut Entry, acknowledged: &mut Acknowledged) {
    match client.delete(&entry.path, DeleteOptions::default()).await {
        Ok(_) => {
            acknowledged.deletes += 1;
            entry.expected = Expected::Exactly(None);
        }
        Err(error) if error.kind() == ErrorKind::OutcomeUnknown => {
            acknowledged.unknown += 1;
            entry.expected = entry.expected.or(None);
        }
        Err(_) => {}
    }
}

async fn rename(client: &Client, from: &mut Entry, to: DfsPath, acknowledged: &mut Acknowledged) -> Entry {
    let content = from.expected.may_be().first().copied().flatten();
    let result = client.rename(&from.path, &to, RenameOptions::default()).await;
    let expected = match result {
        Ok(()) => {
            acknowledged.renames += 1;
            from.expected = Expected::Exactly(None);
            Expected::Exactly(content)
        }
        Err(error) if error.kind() == ErrorKind::OutcomeUnknown => {
            acknowledged.unknown += 1;
            from.expected = from.expected.or(None);
            Expected::OneOf(vec![None, content])
        }
        Err(_) => Expected::Exactly(None),
    };
    Entry { path: to, expected }
}

impl Account {
    /// Reads every path, and fails unless each holds what its writer was told. Whole versions only; the listing agrees.
    pub(crate) async fn audit(&self, cluster: &Cluster, client: &Client) {
        let listed = client.list_all(&path("/"), true).await.expect("a listing");
        let mut wrong = vec![];
        for Entry { path, expected } in &self.entries {
            let found = match cluster.read(client, path).await {
                Ok(bytes) => Some(bytes),
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(error) => {
                    wrong.push(format!("{path}: {error:?}"));
                    continue;
                }
            };
            let fits = expected.may_be().iter().any(|content| match (content, &found) {
                (None, None) => true,
                (Some(content), Some(bytes)) => {
                    content.len() == bytes.len() as u64 && content.first_difference(0, bytes).is_none()
                }
                _ => false,
            });
            if !fits {
                wrong.push(format!("{path}: {:?} bytes found, {expected:?}", found.as_ref().map(Vec::len)));
            }
            if listed.iter().any(|entry| entry.path == *path) != found.is_some() {
                wrong.push(format!("{path}: the listing says otherwise"));
            }
        }
        assert!(wrong.is_empty(), "{} of {} paths:\n{}", wrong.len(), self.entries.len(), wrong.join("\n"));
    }
}
