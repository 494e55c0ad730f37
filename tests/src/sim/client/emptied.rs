//! What an operator does at the end of some runs: a datanode is emptied, and takes chunks again.

use dfs_client::job::{DrainNode, JobState};
use dfs_client::metadata::ReplicaLocation;
use tokio::time::{Instant, sleep};

use super::{LOOK, PATHS, Person, SETTLED_IN, path_of};
use crate::sim::host::Ending;
use crate::sim::id::HostId;

/// Datanodes without which none can be done without.
const NODES_MIN: usize = 4;
/// One run of so many ends so.
const ONE_OF: u64 = 4;

impl Person {
    /// Has one of so many datanodes emptied, and sees that it is, and that each chunk has all its copies all the same.
    pub(super) async fn empty_one(&self, nodes: usize) -> Ending {
        if nodes < NODES_MIN || self.below(ONE_OF) != 0 {
            return Ok(());
        }
        let host = HostId::datanode(1 + self.below(nodes as u64) as u16);
        let word = DrainNode { node: host.to_string(), successor: None, dry_run: false };
        let plan = self.client.drain_node(word).await.map_err(|e| format!("{host} is not emptied: {e:?}"))?;
        let job = plan.job.ok_or_else(|| format!("nothing empties {host}"))?.id;
        self.say(format!("{host} is emptied of {:?}", plan.amount));
        let begun = Instant::now();
        loop {
            let jobs = self.client.jobs().await.map_err(|e| format!("jobs are not told: {e:?}"))?;
            let found = jobs.into_iter().find(|found| found.id == job);
            let found = found.ok_or_else(|| format!("job {job} is forgotten"))?;
            match found.state {
                JobState::Done => break,
                JobState::Running if begun.elapsed() <= SETTLED_IN => sleep(LOOK).await,
                _ => return Err(format!("{host} is not empty in {} s: {found:?}", SETTLED_IN.as_secs())),
            }
        }
        for at in 0..PATHS {
            let explained = match self.client.explain(&path_of(at)).await {
                Ok(explained) => explained,
                Err(error) if error.code() == "NotFound" => continue,
                Err(error) => return Err(format!("p{at}: {error:?}")),
            };
            let is_there = |replica: &ReplicaLocation| replica.name == host.to_string();
            if let Some(chunk) = explained.chunks.iter().find(|chunk| chunk.replicas.iter().any(is_there)) {
                return Err(format!("{host} is called empty and has a copy of p{at}: {:?}", chunk.replicas));
            }
        }
        self.whole_again().await?;
        let job = self.client.undrain_node(&host.to_string()).await;
        job.map_err(|e| format!("{host} does not take chunks again: {e:?}")).map(drop)
    }
}
