//! A second short, fixed life of a cluster: of one that loses copies, and is changed by an operator. Crash points are enumerated over it for what
//! the first one ([`super::script`]) does not have.
//!
//! | from | what |
//! |---|---|
//! | 3 s | files of several chunks are put, with three copies on four datanodes |
//! | 6 s | a bit flips in a chunk of one datanode: its scrub finds it, and it is made anew |
//! | 8 s | another datanode is killed: once it counts as down, what it had is made elsewhere |
//! | 46 s | it comes back: what it has is verified, and what is then too much goes |
//! | 49 s | an operator has a file stored in two copies, and another one in four, and then in three again; he mutes a finding |
//! | 78 s | he empties a third datanode |
//! | 94 s | the datanode takes chunks again |
//! | 97 s | he has the cluster balanced: something goes back to it |

use std::collections::BTreeMap;
use std::time::Duration;

use dfs_client::Error;
use dfs_client::job::{DrainNode, SetReplication, StartBalance, WantedCopies};
use tokio::time::{Instant, sleep};

use super::client::{Person, path_of};
use super::faults::{Fault, Planned};
use super::host::Ending;
use super::id::HostId;
use super::script::BEGIN_MS;

/// Datanodes of this life's world.
pub(super) const NODES: u16 = 4;
/// Clients.
pub(super) const CLIENTS: u16 = 2;
/// Who puts and gets files.
pub(super) const ACTOR: HostId = HostId::client(1);
/// Who changes the cluster.
pub(super) const OPERATOR: HostId = HostId::client(2);
/// Where a bit flips.
const ROTTEN: HostId = HostId::datanode(1);
/// Who is away for a while.
const AWAY: HostId = HostId::datanode(2);
/// Who is emptied.
const EMPTIED: HostId = HostId::datanode(3);
/// The first value, and those after it, whose contents are two or three chunks long.
const VALUES: u32 = 40;
/// When which file is to have how many copies.
const WANTED: [(u64, usize, u8); 3] = [(49_000, 1, 2), (49_000, 2, 4), (66_000, 2, 3)];
const EMPTIES_MS: u64 = 78_000;
const OVER_MS: u64 = 94_000;
const BALANCES_MS: u64 = 97_000;
pub(super) const END_MS: u64 = 112_000;
/// The datanodes' disks are small, so that what little there is makes one fuller than another.
pub(super) const DISK_BYTES: u64 = 4 << 20;
/// Within so much time after all faults every job has ended.
const JOBS_END_WITHIN: Duration = Duration::from_secs(120);
/// How often an operator asks for the same until it is done.
const TRIES: usize = 10;

/// What happens in this life's world beside what its clients do.
pub(super) fn happens() -> Vec<Planned> {
    vec![
        Planned { at_ms: 6_000, fault: Fault::Rot(ROTTEN) },
        Planned { at_ms: 8_000, fault: Fault::Kill(AWAY) },
        Planned { at_ms: 46_000, fault: Fault::Start(AWAY) },
    ]
}

impl Person {
    /// The part of the one who puts and gets files.
    pub(super) async fn mend(&self) -> Ending {
        self.all_there(NODES.into(), BEGIN_MS * 1_000 + 60_000_000).await?;
        self.make_directory().await?;
        self.at(BEGIN_MS).await;
        self.ledger.go_on_from(VALUES);
        for path in 0..3 {
            self.put(path).await;
        }
        self.at(EMPTIES_MS - 4_000).await;
        self.get(0).await;
        self.at(EMPTIES_MS + 1_000).await;
        self.put(3).await;
        self.at(END_MS).await;
        for path in 0..4 {
            self.get(path).await;
        }
        Ok(())
    }

    /// The part of the operator.
    pub(super) async fn operate(&self) -> Ending {
        let mut promised = BTreeMap::new();
        for (at_ms, path, copies) in WANTED {
            self.at(at_ms).await;
            let wanted = WantedCopies { path: path_of(path), copies };
            let word = || SetReplication { wanted: wanted.clone(), recursive: false, dry_run: false };
            // Of what was refused nobody knows whether an earlier try was carried out.
            match self.until_done("another number of copies", || self.client.set_replication(word())).await {
                true => promised.insert(path, copies),
                false => promised.remove(&path),
            };
        }
        let lasts = Duration::from_secs(5);
        self.until_done("a mute", || self.client.mute_finding("NODE_SUSPECT", "", lasts)).await;
        self.at(EMPTIES_MS).await;
        let word = || DrainNode { node: EMPTIED.to_string(), successor: None, dry_run: false };
        self.until_done("a node is to be emptied", || self.client.drain_node(word())).await;
        self.at(OVER_MS).await;
        for (path, copies) in promised {
            if let Ok(stat) = self.client.stat(&path_of(path)).await
                && stat.replication != copies
            {
                let said = stat.replication;
                self.ledger.accuse(format!("p{path} was to have {copies} copies for long, and says {said}"));
            }
        }
        self.take_back().await;
        self.at(BALANCES_MS).await;
        let word = StartBalance { threshold_percent: 1, dry_run: false };
        self.until_done("balance", || self.client.balance(word)).await;
        Ok(())
    }

    /// Has the datanode take chunks again that was emptied, whoever had it emptied, and whether he lived to see the end.
    pub(super) async fn take_back(&self) {
        let name = EMPTIED.to_string();
        self.until_done("it takes chunks again", || self.client.undrain_node(&name)).await;
    }

    /// Waits until all that operators asked for has ended: whoever looks at the copies then sees none that is about to move.
    pub(super) async fn jobs_end(&self) {
        let began = Instant::now();
        let goes_on = loop {
            match self.client.jobs().await {
                Ok(jobs) => match jobs.into_iter().find(|job| !job.state.has_ended()) {
                    Some(job) if began.elapsed() > JOBS_END_WITHIN => break job,
                    Some(_) => {}
                    None => return,
                },
                Err(error) => self.say(format!("jobs: {error:?}")),
            }
            sleep(Duration::from_secs(1)).await;
        };
        self.ledger.accuse(format!("a job has not ended {JOBS_END_WITHIN:?} after all faults: {goes_on:?}"));
    }

    /// Asks until there is an answer that stays the same; says whether it was done.
    async fn until_done<T, F: Future<Output = Result<T, Error>>>(
        &self,
        what: &str,
        ask: impl Fn() -> F,
    ) -> bool {
        for _ in 0..TRIES {
            let asked = ask().await;
            let settled = asked.as_ref().map_or_else(
                |error| matches!(error.code(), "PreconditionFailed" | "NotFound" | "InvalidArgument"),
                |_| true,
            );
            let done = asked.is_ok();
            self.say(format!("{what}: {:?}", asked.map(drop)));
            if settled {
                return done;
            }
            sleep(Duration::from_secs(1)).await;
        }
        false
    }
}
