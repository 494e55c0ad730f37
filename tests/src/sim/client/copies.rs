//! What the metadata say of copies, against what is read from each.

use std::collections::BTreeSet;

use dfs_client::Error;
use dfs_client::metadata::CopyState;
use dfs_wire::id::{ChunkId, ChunkKey, NodeId};
use tokio::time::{Instant, sleep};

use super::{LOOK, Person, SETTLED_IN, path_of};
use crate::sim::host::Ending;
use crate::sim::id::HostId;

type Copy = (ChunkId, NodeId);

impl Person {
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
