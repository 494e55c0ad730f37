//! What the metadata say of copies, against what is read from each.

use std::collections::BTreeSet;

use dfs_client::metadata::{ChunkHealth, CopyState, ReplicaLocation};
use dfs_client::{Error, ErrorKind};
use dfs_wire::id::{ChunkId, ChunkKey, NodeId};
use tokio::time::{Instant, sleep};

use super::{LOOK, PATHS, Person, SETTLED_IN, path_of};
use crate::sim::host::Ending;
use crate::sim::id::HostId;

type Copy = (ChunkId, NodeId);

impl Person {
    /// What a disk does not have is not called good for longer than it takes to look, whether anybody reads it or not.
    pub(super) async fn what_is_called_good_is_there(&self) -> Ending {
        let begun = Instant::now();
        loop {
            let Some(missing) = self.called_good_and_not_there().await? else { return Ok(()) };
            if begun.elapsed() > SETTLED_IN {
                return Err(format!("called good for {} s and not there: {missing}", SETTLED_IN.as_secs()));
            }
            sleep(LOOK).await;
        }
    }

    async fn called_good_and_not_there(&self) -> Result<Option<String>, String> {
        for at in 0..PATHS {
            let explained = match self.client.explain(&path_of(at)).await {
                Ok(explained) => explained,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(format!("p{at}: {error:?}")),
            };
            for chunk in &explained.chunks {
                let key = ChunkKey { chunk: chunk.chunk, generation: chunk.generation };
                let good = chunk.replicas.iter().filter(|replica| replica.copy == CopyState::Good);
                for replica in good {
                    let host = HostId::named(&replica.name).ok_or("a node without a name")?;
                    if !self.ledger.disks.holds(host, &key.to_string()) {
                        return Ok(Some(format!("{key} of p{at} on {host}")));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Copies on nodes that do nothing make nothing safe.
    pub(super) async fn nothing_rests_on(&self, gone: &[HostId]) -> Ending {
        for at in 0..PATHS {
            let Ok(explained) = self.client.explain(&path_of(at)).await else { continue };
            for chunk in &explained.chunks {
                let counts = |replica: &&ReplicaLocation| {
                    replica.copy == CopyState::Good
                        && HostId::named(&replica.name).is_some_and(|host| !gone.contains(&host))
                };
                let good = chunk.replicas.iter().filter(counts).count();
                if chunk.health == ChunkHealth::Safe && good < usize::from(explained.stat.replication) {
                    let text = format!("p{at}: chunk {} is called safe with {good} copies", chunk.index);
                    return Err(format!("{text} on nodes that do something: {:?}", chunk.replicas));
                }
            }
        }
        Ok(())
    }

    /// Nodes that do nothing are not said to be up, even before they count as down.
    pub(super) async fn silence_is_told(&self, gone: usize, nodes: usize) -> Ending {
        let Ok(status) = self.client.status().await else { return Ok(()) };
        let answering = status.nodes_up.saturating_sub(status.nodes_silent) as usize;
        match answering + gone <= nodes {
            true => Ok(()),
            false => Err(format!("{answering} of {nodes} nodes are said to answer, and {gone} do nothing")),
        }
    }

    /// Every copy that the metadata call good can be read, and is right. Where a disk did not do what it should, they know
    /// soon after it was seen.
    pub(super) async fn every_copy(&self, at: usize) -> Ending {
        let said = |error: Error| format!("p{at}: {error:?}");
        let good = self.called_good(at).await?;
        let report = self.client.verify(&path_of(at), None).await.map_err(said)?;
        let mut bad = BTreeSet::new();
        for chunk in &report.chunks {
            if chunk.good() == 0 {
                return Err(format!("p{at}: LOST: no copy of {} is good: {:?}", chunk.chunk, chunk.copies));
            }
            for copy in &chunk.copies {
                let Err(error) = &copy.result else { continue };
                let text = format!("p{at}: copy of {} on {} is bad: {error:?}", chunk.chunk, copy.name);
                let excused = HostId::named(&copy.name).is_none_or(|host| self.ledger.disks.is_excused(host));
                if good.contains(&(chunk.chunk, copy.node)) && !excused {
                    self.ledger.accuse(format!("called good, {text}"));
                }
                self.say(text);
                bad.insert((chunk.chunk, copy.node));
            }
        }
        self.known_to_be_bad(at, &bad).await
    }

    /// The copies that the metadata call good. All that they know of is taken down as not to be missed on any disk.
    async fn called_good(&self, at: usize) -> Result<BTreeSet<Copy>, String> {
        let explained = self.client.explain(&path_of(at)).await.map_err(|e| format!("p{at}: {e:?}"))?;
        let (mut good, mut live) = (BTreeSet::new(), self.ledger.live());
        for chunk in &explained.chunks {
            let key = ChunkKey { chunk: chunk.chunk, generation: chunk.generation };
            for replica in &chunk.replicas {
                live.insert((key, replica.node));
                if replica.copy == CopyState::Good {
                    good.insert((chunk.chunk, replica.node));
                }
            }
        }
        Ok(good)
    }

    async fn known_to_be_bad(&self, at: usize, bad: &BTreeSet<Copy>) -> Ending {
        let begun = Instant::now();
        loop {
            let good = self.called_good(at).await?;
            let Some((chunk, node)) = good.intersection(bad).next() else { return Ok(()) };
            if begun.elapsed() > SETTLED_IN {
                let text =
                    format!("p{at}: the copy of {chunk} on {node} was seen to be bad and is called good");
                return Err(text);
            }
            sleep(LOOK).await;
        }
    }
}
