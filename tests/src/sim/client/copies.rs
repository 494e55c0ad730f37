//! What the metadata say of copies, against what is read from each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dfs_client::metadata::{ChunkHealth, CopyState, ReplicaLocation};
use dfs_wire::id::{ChunkId, ChunkKey, NodeId};
use dfs_wire::message::admin::{ClusterStatus, NodeStatus};
use dfs_wire::message::health::HealthFinding;
use dfs_wire::message::membership::NodeState;
use tokio::time::{Instant, sleep};

use super::{LOOK, PATHS, Person, SETTLED_IN, TOLD_IN, path_of};
use crate::sim::host::Ending;
use crate::sim::id::HostId;
use crate::sim::proof::ENOUGH;

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
                Err(error) if error.code() == "NotFound" => continue,
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
            let explained = match self.client.explain(&path_of(at)).await {
                Ok(explained) => explained,
                Err(error) if error.code() == "NotFound" => continue,
                Err(error) => return Err(format!("p{at} is not explained: {error:?}")),
            };
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
        let status = self.status_within(TOLD_IN).await?;
        let answering = status.nodes_up.saturating_sub(status.nodes_silent) as usize;
        match answering + gone <= nodes {
            true => Ok(()),
            false => Err(format!("{answering} of {nodes} nodes are said to answer, and {gone} do nothing")),
        }
    }

    /// What is wrong for long is said, of each node, and of no other.
    pub(super) async fn told_of(&self, down: &[HostId], well: &[HostId]) -> Ending {
        let begun = Instant::now();
        loop {
            let findings = self.status_within(TOLD_IN).await?.findings;
            let names = |finding: &HealthFinding, host: &HostId| {
                finding.code == "NODE_DOWN" && finding.message.split(' ').any(|word| word == host.to_string())
            };
            let told = |host: &&HostId| findings.iter().any(|finding| names(finding, host));
            let Some(untold) = down.iter().find(|host| !told(host)) else {
                self.said_to_be_up(well).await?;
                return self.nothing_rests_on(down).await;
            };
            if begun.elapsed() > TOLD_IN {
                return Err(format!("health does not say that {untold} does nothing: {findings:?}"));
            }
            sleep(LOOK).await;
        }
    }

    /// Nodes with which nothing is wrong are up, whatever becomes of others.
    async fn said_to_be_up(&self, well: &[HostId]) -> Ending {
        let nodes = self.client.nodes().await.map_err(|error| format!("nodes are not told: {error:?}"))?;
        let is_up = |host: &HostId| {
            let answers = |state| matches!(state, NodeState::Up | NodeState::Draining);
            let up = |node: &NodeStatus| node.name == host.to_string() && answers(node.state);
            nodes.iter().any(up)
        };
        match well.iter().find(|host| !is_up(host)) {
            Some(host) => {
                Err(format!("nothing is wrong with {host}, and it is not said to be up: {nodes:?}"))
            }
            None => Ok(()),
        }
    }

    /// A coordinator that nothing is done to says how the cluster is.
    async fn status_within(&self, patience: Duration) -> Result<ClusterStatus, String> {
        let begun = Instant::now();
        loop {
            match self.client.status().await {
                Ok(status) => return Ok(status),
                Err(error) if begun.elapsed() > patience => {
                    return Err(format!("health is not told: {error:?}"));
                }
                Err(_) => sleep(LOOK).await,
            }
        }
    }

    /// Every copy that the metadata call good can be read, and is right; and there are as many as were acknowledged, but for
    /// those that were hurt. Of what was, they know soon after it was seen.
    pub(super) async fn every_copy(&self, at: usize) -> Ending {
        let good = self.called_good(at).await?;
        let report = self.client.verify(&path_of(at), None).await.map_err(|e| format!("p{at}: {e:?}"))?;
        let (mut read, mut bad) = (BTreeSet::new(), BTreeSet::new());
        for chunk in &report.chunks {
            for copy in &chunk.copies {
                let Err(error) = &copy.result else {
                    read.insert((chunk.chunk, copy.node));
                    continue;
                };
                self.say(format!("p{at}: copy of {} on {} is bad: {error:?}", chunk.chunk, copy.name));
                bad.insert((chunk.chunk, copy.node));
            }
            if chunk.good() == 0 {
                return Err(format!("p{at}: LOST: no copy of {} is good: {:?}", chunk.chunk, chunk.copies));
            }
        }
        // What has ceased to be called good meanwhile, or has never been of use, promises nothing.
        let still = self.called_good(at).await?;
        for (copy, (key, host)) in good.iter().filter(|(copy, _)| still.contains_key(*copy)) {
            if !read.contains(copy) && !self.ledger.disks.is_hurt(*host, &key.to_string()) {
                self.ledger.accuse(format!("p{at}: {key} on {host} is called good, and could not be read"));
            }
        }
        self.enough_are_left(at, &read).await?;
        self.known_to_be_bad(at, &bad).await
    }

    async fn enough_are_left(&self, at: usize, read: &BTreeSet<Copy>) -> Ending {
        let explained = self.client.explain(&path_of(at)).await.map_err(|e| format!("p{at}: {e:?}"))?;
        for chunk in &explained.chunks {
            let key = ChunkKey { chunk: chunk.chunk, generation: chunk.generation }.to_string();
            let (found, hurt) = (
                read.iter().filter(|(id, _)| *id == chunk.chunk).count(),
                self.ledger.disks.that_may_lack(&key),
            );
            if found + hurt < ENOUGH {
                let text = format!("p{at}: {found} copies of {key} are good, and {hurt} may be lost");
                return Err(format!("{text}: {:?}", chunk.replicas));
            }
        }
        Ok(())
    }

    /// The copies that the metadata call good, and where each is. All that they know of is taken down as not to be missed on
    /// any disk.
    async fn called_good(&self, at: usize) -> Result<BTreeMap<Copy, (ChunkKey, HostId)>, String> {
        let explained = self.client.explain(&path_of(at)).await.map_err(|e| format!("p{at}: {e:?}"))?;
        let (mut good, mut live) = (BTreeMap::new(), self.ledger.live());
        for chunk in &explained.chunks {
            let key = ChunkKey { chunk: chunk.chunk, generation: chunk.generation };
            for replica in &chunk.replicas {
                live.insert((key, replica.node));
                if replica.copy == CopyState::Good {
                    let host = HostId::named(&replica.name).ok_or("a node without a name")?;
                    good.insert((chunk.chunk, replica.node), (key, host));
                }
            }
        }
        let keys = good.iter().map(|((_, node), (key, _))| (*key, *node));
        self.ledger.good().insert(at, keys.collect());
        Ok(good)
    }

    /// What was lost or found to be bad is made up for: each chunk has as many copies as asked for, all of them good, and no
    /// others.
    pub(super) async fn whole_again(&self) -> Ending {
        self.ledger.live().clear();
        for at in 0..PATHS {
            let begun = Instant::now();
            while let Some(odd) = self.other_than_asked_for(at).await? {
                if begun.elapsed() > SETTLED_IN {
                    return Err(format!("not repaired in {} s: {odd}", SETTLED_IN.as_secs()));
                }
                sleep(LOOK).await;
            }
        }
        Ok(())
    }

    async fn other_than_asked_for(&self, at: usize) -> Result<Option<String>, String> {
        let explained = match self.client.explain(&path_of(at)).await {
            Ok(explained) => explained,
            Err(error) if error.code() == "NotFound" => return Ok(None),
            Err(error) => return Err(format!("p{at}: {error:?}")),
        };
        let wanted = usize::from(explained.stat.replication);
        let good = |replicas: &[ReplicaLocation]| {
            replicas.len() == wanted && replicas.iter().all(|replica| replica.copy == CopyState::Good)
        };
        if let Some(chunk) = explained.chunks.iter().find(|chunk| !good(&chunk.replicas)) {
            return Ok(Some(format!("p{at}: chunk {} is on {:?}", chunk.chunk, chunk.replicas)));
        }
        let called = self.called_good(at).await?;
        let report = self.client.verify(&path_of(at), None).await.map_err(|e| format!("p{at}: {e:?}"))?;
        let read = report.chunks.iter().map(|chunk| chunk.good()).sum::<usize>();
        Ok((read < called.len()).then(|| format!("p{at}: of {} copies {read} are good", called.len())))
    }

    async fn known_to_be_bad(&self, at: usize, bad: &BTreeSet<Copy>) -> Ending {
        let begun = Instant::now();
        loop {
            let good = self.called_good(at).await?;
            let Some((chunk, node)) = bad.iter().find(|copy| good.contains_key(*copy)) else { return Ok(()) };
            if begun.elapsed() > SETTLED_IN {
                let text =
                    format!("p{at}: the copy of {chunk} on {node} was seen to be bad and is called good");
                return Err(text);
            }
            sleep(LOOK).await;
        }
    }
}
