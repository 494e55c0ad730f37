//! One chunk on its way from a primary to one replica, while the primary receives it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use dfs_wire::Bytes;
use dfs_wire::auth::Receipt;
use dfs_wire::id::OpId;
use dfs_wire::link::{DataFrame, Event, Link, Stream};
use dfs_wire::message::chunk::Target;
use dfs_wire::message::replication::{Replicate, ReplicationRequest, ReplicationResponse};
use dfs_wire::message::{EndHead, Request, RequestHead, Response};
use dfs_wire::status::{Status, StatusCode};
use tokio::sync::mpsc;

use crate::datanode::authority::Authority;
use crate::env::Clock;
use crate::peer::links::{LinksMsg, link};
use crate::supervisor::Addr;

/// How long news of a node is waited for: a heartbeat brings it.
const NEWS_TIMEOUT: Duration = Duration::from_secs(3);
/// How often it is looked for.
const NEWS_LOOK: Duration = Duration::from_millis(50);

/// What the primary passes on.
#[derive(Debug)]
pub enum ForwardItem {
    /// A frame, as received.
    Frame(DataFrame),
    /// All was received and matched its SHA-256.
    End(EndHead),
}

/// How far a replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Frames that have left this node's queue for it.
    pub frames: u64,
    /// Bytes that its connection has taken in all, if it is the line that is waited for and not the replica.
    pub line: Option<u64>,
}

/// How far a replica is, for whoever decides whether it is stuck.
#[derive(Debug, Default)]
pub struct Gauge {
    handed: AtomicU64,
    /// Weak: aborting the transfer must drop the stream, and with it the frames in its queue.
    stream: OnceLock<Weak<Stream>>,
}

impl Gauge {
    /// How far it is now.
    pub fn now(&self) -> Sent {
        let stream = self.stream.get().and_then(Weak::upgrade);
        let queued = stream.as_ref().map_or(0, |s| s.queued() as u64);
        let frames = self.handed.load(Ordering::Relaxed).saturating_sub(queued);
        Sent { frames, line: stream.and_then(|s| s.line()) }
    }
}

/// One chunk on its way to one replica.
pub struct Forward {
    /// The operation it belongs to.
    pub op: OpId,
    /// The replica that the bytes go to.
    pub target: Target,
    /// What it is asked.
    pub request: Replicate,
    /// What it is sent; the end of the channel without an [`ForwardItem::End`] cancels.
    pub items: mpsc::Receiver<ForwardItem>,
    /// Where the link comes from.
    pub links: Addr<LinksMsg>,
    /// Who knows where the replica is.
    pub authority: Arc<dyn Authority>,
    /// What is waited by.
    pub clock: Arc<dyn Clock>,
    /// Where progress is shown.
    pub gauge: Arc<Gauge>,
}

impl Forward {
    /// Runs the transfer to the replica's receipt.
    ///
    /// Cancel safety: dropping the future resets the stream; the replica forgets what it received.
    ///
    /// # Errors
    /// Why the replica has no durable copy, naming it.
    pub async fn run(mut self) -> Result<Receipt, Status> {
        let node = self.target.node;
        let outcome = self.transfer().await;
        outcome.map_err(|status| status.at_node(node).about_chunk(self.request.grant.chunk))
    }

    async fn transfer(&mut self) -> Result<Receipt, Status> {
        let stream = self.begin().await?;
        self.gauge.stream.set(Arc::downgrade(&stream)).ok();
        while let Some(item) = self.items.recv().await {
            let (sent, last) = match item {
                ForwardItem::Frame(frame) => (stream.send(frame).await, false),
                ForwardItem::End(end) => (stream.end(end).await, true),
            };
            self.gauge.handed.fetch_add(1, Ordering::Relaxed);
            if sent.is_err() || last {
                // Either all is sent, or the replica has answered already: its answer says which.
                self.items.close();
                while self.items.try_recv().is_ok() {}
                return receipt(&stream, &self.request, &self.target).await;
            }
        }
        Err(Status::new(StatusCode::Cancelled, "the primary gave the upload up"))
    }

    /// Opens a stream and waits until the replica takes bytes. Till then none is given up, so a link that turns out to be
    /// closed (its other end may have found it idle just now) costs no copy: another one is taken, once.
    async fn begin(&self) -> Result<Arc<Stream>, Status> {
        let mut tried = false;
        loop {
            let link = link_to(&self.links, self.authority.as_ref(), &self.clock, &self.target).await?;
            let body = Request::Replication(ReplicationRequest::Replicate(self.request.clone()));
            let head = RequestHead { op: self.op, deadline_ms: 0, trace: None, body };
            let failed = match link.open(&head, Bytes::new()) {
                Err(status) => status,
                Ok(stream) => match stream.credited().await {
                    Ok(()) => return Ok(Arc::new(stream)),
                    Err(ended) => stream.recv().await.err().unwrap_or(ended),
                },
            };
            if std::mem::replace(&mut tried, true) || !link.is_draining() {
                return Err(failed);
            }
        }
    }
}

/// A link to the node of `target`, where the coordinator says that it is: an address that a client names is not dialled.
///
/// # Errors
/// `NotRegistered` if the coordinator has told of no such node; `Unavailable` and what the dial failed with.
pub(super) async fn link_to(
    links: &Addr<LinksMsg>,
    authority: &dyn Authority,
    clock: &Arc<dyn Clock>,
    target: &Target,
) -> Result<Link, Status> {
    let node = target.node;
    let address = address_of(authority, clock, target).await?;
    link(links, node, address).await
}

/// What the client names is fresh from the coordinator, if it is honest; what this node was told may be a heartbeat old,
/// and the target may have just joined or moved. So where they differ, news is asked for and waited for a little.
async fn address_of(
    authority: &dyn Authority,
    clock: &Arc<dyn Clock>,
    target: &Target,
) -> Result<String, Status> {
    let told = async {
        while authority.address_of(target.node).as_ref() != Some(&target.address) {
            authority.want_news();
            clock.sleep(NEWS_LOOK).await;
        }
    };
    // Whether it came or not, what is known now counts.
    clock.timeout(NEWS_TIMEOUT, told).await.ok();
    authority.address_of(target.node).ok_or_else(|| {
        let text = format!("the coordinator has told this node of no node {}", target.node);
        Status::new(StatusCode::NotRegistered, text)
    })
}

async fn receipt(stream: &Stream, request: &Replicate, target: &Target) -> Result<Receipt, Status> {
    loop {
        match stream.recv().await? {
            Event::Response(Response::Replication(ReplicationResponse::Stored(receipt)), _) => {
                let grant = &request.grant;
                let fits = receipt.node == target.node
                    && (receipt.chunk, receipt.generation) == (grant.chunk, grant.generation);
                let wrong =
                    || Status::new(StatusCode::ProtocolViolation, "the receipt is for something else");
                return if fits { Ok(receipt) } else { Err(wrong()) };
            }
            Event::Response(..) => {
                return Err(Status::new(StatusCode::ProtocolViolation, "unexpected answer"));
            }
            Event::Data(_) | Event::End(_) => {}
        }
    }
}
