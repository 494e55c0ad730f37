//! The node's identity, which is kept beside its chunks: what a run begins with, and what it learns by joining.
//!
//! Who asks for it is answered from memory. Storing it is work for the disk like any other: on an I/O thread, under the
//! watch that tells of a disk that does not answer, and given up by its caller after as long as that watch waits.

use std::sync::Arc;

use dfs_actors::datanode::authority::{Heard, IdentityStore, Joined};
use dfs_actors::datanode::chunk_store::StoreError;
use dfs_wire::auth::NodeKey;
use dfs_wire::id::NodeId;
use dfs_wire::status::{Status, StatusCode};
use futures_util::future::BoxFuture;

use super::core::Core;
use super::file_store::FileStore;
use super::identity::NodeIdentity;
use super::watch::STALLED_AFTER;

impl FileStore {
    /// Records the start of a run, and returns the identity: a new one around `fresh` the first time, the stored one with
    /// the next incarnation later. Blocks.
    ///
    /// A disk that takes no writes is no reason not to serve what is on it: then the incarnation is this run's only, and
    /// the next run may have it again. The coordinator takes that for the same run that has reconnected.
    ///
    /// # Errors
    /// If there is no identity yet, and none can be stored.
    pub fn begin_run(&self, fresh: NodeId) -> Result<NodeIdentity, StoreError> {
        let dir = &self.core.dir;
        let next = dir.next_run(fresh);
        match save(&self.core, next.clone()) {
            Err(error) if dir.identity().is_some() => {
                tracing::error!(disk = %self.core.disk.label, %error, "the incarnation could not be stored, going on with it");
                dir.remember(next.clone());
            }
            other => other?,
        }
        if self.core.disk.check_writable().is_ok()
            && let Err(error) = dir.keep_spare()
        {
            let error = self.core.identity_failed(error);
            tracing::warn!(disk = %self.core.disk.label, %error, "no room is kept for the identity on a full disk");
        }
        Ok(next)
    }

    /// Changes the identity, durably; `None` = it is to stay as it is. Of a read-only disk it is kept in memory: no order
    /// can do harm there. One change is made at a time, in the order of the calls.
    ///
    /// # Errors
    /// As the disk's; a failed sync fails the disk. `Busy` if the disk does not answer: then it is stored later or not.
    pub fn change_identity(
        &self,
        change: impl FnOnce(Option<NodeIdentity>) -> Option<NodeIdentity> + Send + 'static,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let core = self.core.clone();
        Box::pin(async move {
            let storing = store_in_turn(core.clone(), change);
            let silent = |_| StoreError::Busy {
                disk: core.disk.label.clone(),
                what: format!("the identity is not stored after {} s", STALLED_AFTER.as_secs()),
            };
            tokio::time::timeout(STALLED_AFTER, storing).await.map_err(silent)?
        })
    }
}

/// The one before may still be under way, long after its caller has given it up.
async fn store_in_turn(
    core: Arc<Core>,
    change: impl FnOnce(Option<NodeIdentity>) -> Option<NodeIdentity> + Send + 'static,
) -> Result<(), StoreError> {
    let turn = core.saving.clone().acquire_owned().await.map_err(|_| core.disk.closed())?;
    let inner = core.clone();
    let job = move || {
        let outcome = change(inner.dir.identity()).map_or(Ok(()), |next| save(&inner, next));
        drop(turn);
        outcome
    };
    core.writes.run(job).await.map_err(|none| core.no_answer(none))?
}

fn save(core: &Core, identity: NodeIdentity) -> Result<(), StoreError> {
    let (disk, dir) = (&core.disk, &core.dir);
    let written = disk
        .check_writable()
        .and_then(|()| dir.save(identity.clone()).map_err(|error| core.identity_failed(error)));
    if written.is_err() && dir.identity().is_some() && disk.is_read_only() {
        dir.remember(identity);
        return Ok(());
    }
    written
}

/// The membership of a datanode, kept in its data directory.
pub struct StoredIdentity(Arc<FileStore>);

impl IdentityStore for StoredIdentity {
    fn joined(&self) -> Option<Joined> {
        let NodeIdentity { cluster, node_key, epoch, position, .. } = self.0.data_dir().identity()?;
        Some(Joined { cluster: cluster?, key: NodeKey(node_key?), epoch, position })
    }

    fn save(&self, joined: Joined) -> BoxFuture<'static, Result<(), Status>> {
        let Joined { cluster, key, epoch, position } = joined;
        let (cluster, node_key) = (Some(cluster), Some(key.0));
        let change = move |known: NodeIdentity| NodeIdentity { cluster, node_key, epoch, position, ..known };
        if self.0.data_dir().identity().is_none() {
            let none = Status::new(StatusCode::DiskFailed, "the data directory has no identity");
            return Box::pin(async { Err(none) });
        }
        self.change(move |known| known.map(change))
    }

    fn keep(&self, heard: Heard) -> BoxFuture<'static, Result<(), Status>> {
        let Heard { epoch, position } = heard;
        match self.0.data_dir().identity() {
            Some(known) if known.epoch == epoch && known.position >= position => Box::pin(async { Ok(()) }),
            Some(known) if known.epoch == epoch => self.change(move |known| {
                let older = |known: &NodeIdentity| known.epoch == epoch && known.position < position;
                known.filter(older).map(|known| NodeIdentity { position, ..known })
            }),
            _ => {
                let text = format!("epoch {epoch} is not the one that took this node in last");
                Box::pin(async { Err(Status::new(StatusCode::StaleEpoch, text)) })
            }
        }
    }
}

impl StoredIdentity {
    /// The identity that stands beside the chunks of `store`.
    pub fn new(store: Arc<FileStore>) -> Self {
        Self(store)
    }

    fn change(
        &self,
        change: impl FnOnce(Option<NodeIdentity>) -> Option<NodeIdentity> + Send + 'static,
    ) -> BoxFuture<'static, Result<(), Status>> {
        let changing = self.0.change_identity(change);
        Box::pin(
            async move { changing.await.map_err(|e| Status::new(StatusCode::DiskFailed, e.to_string())) },
        )
    }
}
