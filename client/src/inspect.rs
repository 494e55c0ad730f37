//! Looking at the cluster, at its nodes, and at why things are where they are.

use std::time::Duration;

use dfs_wire::message::admin::{
    ActorInfo, AdminRequest, AdminResponse, Chaos, ClusterStatus, ForgetNode, ForgottenNode, Garbage,
    GcBegun, MaintainNode, MaintainedNode, NodeInfo, NodeStatus, RunGc, ScrubPace, ScrubStatus,
};
use dfs_wire::message::metadata::{
    Explain, Explained, Fsck, FsckStep, MetadataRequest, MetadataResponse, OpenRead, PinnedVersion,
    ReadOpened,
};
use dfs_wire::path::DfsPath;

use crate::client::Client;
use crate::error::Error;
use crate::rpc::unexpected;

impl Client {
    /// The cluster as the coordinator sees it: health, what needs attention, sums.
    ///
    /// ```no_run
    /// # async fn example(client: dfs_client::Client) -> Result<(), dfs_client::Error> {
    /// let status = client.status().await?;
    /// println!("{:?}: {} of {} nodes up", status.health, status.nodes_up, status.nodes_total);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the coordinator cannot be asked.
    pub async fn status(&self) -> Result<ClusterStatus, Error> {
        match self.inner.rpc.admin(None, AdminRequest::ClusterStatus).await? {
            AdminResponse::ClusterStatus(status) => Ok(*status),
            other => Err(unexpected(&other)),
        }
    }

    /// Every datanode as the coordinator sees it.
    ///
    /// ```no_run
    /// # async fn example(client: dfs_client::Client) -> Result<(), dfs_client::Error> {
    /// for node in client.nodes().await? {
    ///     println!("{} {} {:?}", node.name, node.address, node.state);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the coordinator cannot be asked.
    pub async fn nodes(&self) -> Result<Vec<NodeStatus>, Error> {
        match self.inner.rpc.admin(None, AdminRequest::Nodes).await? {
            AdminResponse::Nodes(nodes) => Ok(nodes),
            other => Err(unexpected(&other)),
        }
    }

    /// Lets a datanode in that waits for an operator's yes, by its name or id. Returns its name; it is taken in when it asks
    /// again, within seconds.
    ///
    /// # Errors
    /// `NotFound` if no such datanode waits.
    pub async fn admit_node(&self, node: &str) -> Result<String, Error> {
        match self.inner.rpc.admin(None, AdminRequest::AdmitNode(node.to_owned())).await? {
            AdminResponse::NodeAdmitted(name) => Ok(name),
            other => Err(unexpected(&other)),
        }
    }

    /// Forgets a datanode that will not come back, by its name or id.
    ///
    /// # Errors
    /// `NotFound`; `PreconditionFailed` while it answers, or has the last known copy of anything and the loss is not
    /// accepted.
    pub async fn forget_node(&self, word: ForgetNode) -> Result<ForgottenNode, Error> {
        match self.inner.rpc.admin(None, AdminRequest::ForgetNode(word)).await? {
            AdminResponse::NodeForgotten(forgotten) => Ok(forgotten),
            other => Err(unexpected(&other)),
        }
    }

    /// Says for how long from now a datanode, by its name or id, may be away: its copies are not made elsewhere meanwhile, but for
    /// chunks with one good copy left. Zero ends that.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` of more than seven days; `PreconditionFailed` of a node that is lost.
    pub async fn maintain_node(&self, node: &str, lasts: Duration) -> Result<MaintainedNode, Error> {
        // Never shorter than asked, and nothing but zero is zero.
        let for_ms = u64::try_from(lasts.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        let word = MaintainNode { node: node.to_owned(), for_ms };
        match self.inner.rpc.admin(None, AdminRequest::MaintainNode(word)).await? {
            AdminResponse::NodeMaintained(maintained) => Ok(maintained),
            other => Err(unexpected(&other)),
        }
    }

    /// Has every datanode that answers tell the coordinator all it has, from the start. Returns at once;
    /// [`Self::nodes`] says how old each node's last whole inventory is.
    ///
    /// # Errors
    /// If the coordinator cannot be asked.
    pub async fn take_inventories(&self) -> Result<(), Error> {
        match self.inner.rpc.admin(None, AdminRequest::TakeInventories).await? {
            AdminResponse::InventoriesWanted => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// What waits to be freed: in the metadata, or in the quarantine of the datanode at `address`.
    ///
    /// # Errors
    /// If that node cannot be asked.
    pub async fn gc_status(&self, address: Option<&str>) -> Result<Vec<Garbage>, Error> {
        match self.inner.rpc.admin(address, AdminRequest::GcStatus).await? {
            AdminResponse::GcStatus(kinds) => Ok(kinds),
            other => Err(unexpected(&other)),
        }
    }

    /// Begins a round of garbage collection at once: of what is quarantined at the datanode at `address`, of everything else
    /// at the coordinator. Nothing goes before its time.
    ///
    /// # Errors
    /// `InvalidArgument` for a kind that the node does not collect.
    pub async fn run_gc(&self, address: Option<&str>, word: RunGc) -> Result<GcBegun, Error> {
        match self.inner.rpc.admin(address, AdminRequest::RunGc(word)).await? {
            AdminResponse::GcBegun(begun) => Ok(begun),
            other => Err(unexpected(&other)),
        }
    }

    /// About one node: the coordinator, or the one at `address`.
    ///
    /// ```no_run
    /// # async fn example(client: dfs_client::Client) -> Result<(), dfs_client::Error> {
    /// let info = client.node_info(Some("127.0.0.1:8081")).await?;
    /// println!("{} {} up {} ms", info.role, info.version, info.uptime_ms);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If that node cannot be asked.
    pub async fn node_info(&self, address: Option<&str>) -> Result<NodeInfo, Error> {
        match self.inner.rpc.admin(address, AdminRequest::NodeInfo).await? {
            AdminResponse::NodeInfo(info) => Ok(info),
            other => Err(unexpected(&other)),
        }
    }

    /// The actors of the coordinator, or of the node at `address`.
    ///
    /// ```no_run
    /// # async fn example(client: dfs_client::Client) -> Result<(), dfs_client::Error> {
    /// for actor in client.actors(None).await? {
    ///     println!("{} {} restarts", actor.path, actor.restarts);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If that node cannot be asked.
    pub async fn actors(&self, address: Option<&str>) -> Result<Vec<ActorInfo>, Error> {
        match self.inner.rpc.admin(address, AdminRequest::Actors).await? {
            AdminResponse::Actors(actors) => Ok(actors),
            other => Err(unexpected(&other)),
        }
    }

    /// How the scrub of the datanode at `address` does.
    ///
    /// ```no_run
    /// # async fn example(client: dfs_client::Client) -> Result<(), dfs_client::Error> {
    /// let scrub = client.scrub_status("127.0.0.1:8081").await?;
    /// println!("{} of {} chunks, {} bad", scrub.round.chunks, scrub.chunks_total, scrub.round.bad);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If that node cannot be asked, or is no datanode.
    pub async fn scrub_status(&self, address: &str) -> Result<ScrubStatus, Error> {
        match self.inner.rpc.admin(Some(address), AdminRequest::ScrubStatus).await? {
            AdminResponse::ScrubStatus(status) => Ok(*status),
            other => Err(unexpected(&other)),
        }
    }

    /// Has the datanode at `address` begin a round of its scrub now, in place of one under way. Returns the number of the round.
    ///
    /// # Errors
    /// If that node cannot be asked, or is no datanode.
    pub async fn scrub_start(&self, address: &str, pace: ScrubPace) -> Result<u64, Error> {
        match self.inner.rpc.admin(Some(address), AdminRequest::ScrubStart(pace)).await? {
            AdminResponse::ScrubStarted(round) => Ok(round),
            other => Err(unexpected(&other)),
        }
    }

    /// Kills, panics or pauses actors of a node that was built and configured for it. Returns how many were hit.
    ///
    /// # Errors
    /// `Unsupported` on a node without chaos, `PermissionDenied` without its token, `NotFound` if no actor matches.
    pub async fn chaos(&self, address: Option<&str>, what: Chaos) -> Result<u32, Error> {
        match self.inner.rpc.admin(address, AdminRequest::Chaos(what)).await? {
            AdminResponse::Chaos(hit) => Ok(hit),
            other => Err(unexpected(&other)),
        }
    }

    /// Where the chunks of a file are, a page from chunk `first` on; holds a read lease on the version.
    ///
    /// ```no_run
    /// # async fn example(client: dfs_client::Client) -> Result<(), dfs_client::Error> {
    /// let page = client.open_read(&"/a".parse()?, None, 0, 0).await?;
    /// for chunk in &page.chunks {
    ///     println!("{} on {} nodes", chunk.index, chunk.replicas.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `NotFound`, `IsADirectory`, `VersionGone`.
    pub async fn open_read(
        &self,
        path: &DfsPath,
        version: Option<PinnedVersion>,
        first: u32,
        count: u32,
    ) -> Result<ReadOpened, Error> {
        let request = OpenRead { path: path.clone(), version, first, count };
        match self.inner.rpc.ask(MetadataRequest::OpenRead(request)).await? {
            MetadataResponse::ReadOpened(opened) => Ok(opened),
            other => Err(unexpected(&other)),
        }
    }

    /// Why each chunk of a file is where it is: all chunks, in order.
    ///
    /// ```no_run
    /// # async fn example(client: dfs_client::Client) -> Result<(), dfs_client::Error> {
    /// for chunk in client.explain(&"/a".parse()?).await?.chunks {
    ///     for reason in &chunk.reasons {
    ///         println!("{} {} {}: {}", chunk.index, reason.name, reason.rule, reason.detail);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `NotFound`, `IsADirectory`.
    pub async fn explain(&self, path: &DfsPath) -> Result<Explained, Error> {
        let mut whole = self.explain_page(path, 0).await?;
        while let Some(first) = whole.next {
            let page = self.explain_page(path, first).await?;
            whole.chunks.extend(page.chunks);
            whole.next = page.next.filter(|&next| next > first);
        }
        Ok(whole)
    }

    /// One page of [`Self::explain`], from chunk `first` on.
    ///
    /// # Errors
    /// As [`Self::explain`].
    pub async fn explain_page(&self, path: &DfsPath, first: u32) -> Result<Explained, Error> {
        let request = MetadataRequest::Explain(Explain { path: path.clone(), first });
        match self.inner.rpc.ask(request).await.map_err(|e| e.context(format_args!("explain {path}")))? {
            MetadataResponse::Explained(page) => Ok(page),
            other => Err(unexpected(&other)),
        }
    }

    /// One bounded step of checking the metadata against the inventories. Begin with `None`, go on with the cursor of
    /// the step before until it is `None`.
    ///
    /// ```no_run
    /// # async fn example(client: dfs_client::Client) -> Result<(), dfs_client::Error> {
    /// let mut cursor = None;
    /// loop {
    ///     let step = client.fsck_step(cursor).await?;
    ///     for problem in &step.problems {
    ///         println!("{:?}: {}", problem.kind, problem.detail);
    ///     }
    ///     cursor = step.next;
    ///     if cursor.is_none() {
    ///         break;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the coordinator cannot be asked.
    pub async fn fsck_step(&self, cursor: Option<Vec<u8>>) -> Result<FsckStep, Error> {
        match self.inner.rpc.ask(MetadataRequest::Fsck(Fsck { cursor })).await? {
            MetadataResponse::Fsck(step) => Ok(step),
            other => Err(unexpected(&other)),
        }
    }
}
