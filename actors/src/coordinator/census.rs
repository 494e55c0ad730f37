//! The census as the service has it: counted at once where there is little to count, else by an actor, again and again.
//!
//! A cluster of some nodes has some hundred groups of chunks (see [`crate::coordinator::metadata::model::copies`]): whoever asks counts them
//! himself, and the answer is of that instant. A cluster of hundreds of nodes may have millions; there the actor counts in
//! bounded steps and publishes what it has, with the version of the cluster state that it was counted by. Until that is
//! the current one, the answer says that it is being counted.

use std::sync::Arc;
use std::time::Duration;

use crate::watch;
use dfs_wire::id::NodeId;
use dfs_wire::message::membership::NodeState;
use dfs_wire::status::Status;

use crate::coordinator::membership::{ClusterView, ViewReceiver};
use crate::coordinator::metadata::model::census::{Census, Counting};
use crate::coordinator::metadata::model::time::ReignClock;
use crate::coordinator::metadata::model::worth::Reach;
use crate::coordinator::metadata::reader::{MetadataReader, MetadataReads, ReadFor};
use crate::coordinator::metadata::table::error::MetaError;
use crate::supervisor::{ActorError, Behaviour, Ctx};

/// Groups that whoever asks counts himself: a millisecond or two.
const AT_ONCE: usize = 4096;
/// Groups that the actor looks at in one go.
const STEP: usize = 4096;
/// Patience with one step.
const STEP_WITHIN: Duration = Duration::from_secs(20);
/// From the end of one count to the next.
const PAUSE: Duration = Duration::from_secs(5);

/// A count of all chunks.
#[derive(Debug, Clone, Default)]
pub(super) struct Counted {
    pub(super) census: Arc<Census>,
    /// The version of the cluster state by which the nodes were judged.
    pub(super) version: u64,
}

/// A channel of counts that outlives each life of the actor.
pub(super) fn census_channel() -> (Arc<watch::Sender<Counted>>, watch::Receiver<Counted>) {
    let (tx, rx) = watch::channel(Counted::default());
    (Arc::new(tx), rx)
}

/// How far each node's copies can be counted on now.
pub(super) fn reaches(view: &ClusterView, now_ms: u64) -> impl Fn(NodeId) -> Reach + '_ {
    move |node| view.reach(node, now_ms)
}

/// As [`reaches`], but a node that is silent just now is away: at the start of a coordinator that is every node.
pub(super) fn heard_of(view: &ClusterView, now_ms: u64) -> impl Fn(NodeId) -> Reach + '_ {
    move |node| match view.state(node) {
        NodeState::Suspect => Reach::Away { announced: false },
        _ => view.reach(node, now_ms),
    }
}

/// Counts all groups if they are few.
///
/// # Errors
/// Of the store, or a damaged row.
pub(super) fn count_at_once(
    reader: &MetadataReader,
    view: &ClusterView,
    now_ms: u64,
) -> Result<Option<Census>, MetaError> {
    let mut counting = Counting::default();
    let all = reader.read(|rows| counting.step(rows, &reaches(view, now_ms), AT_ONCE))?;
    Ok(all.then(|| counting.finish()))
}

/// What the actor is built from.
#[derive(Clone)]
pub(super) struct CensusArgs {
    pub(super) reads: MetadataReads,
    pub(super) view: ViewReceiver,
    pub(super) time: ReignClock,
    pub(super) publish: Arc<watch::Sender<Counted>>,
}

/// Its own words.
pub(super) enum CensusMsg {
    /// Look at some more groups.
    Step,
    /// So far it has come.
    Stepped(Result<Stepped, Status>),
}

/// A count that has gone a step further.
pub(super) struct Stepped {
    open: OpenCount,
    /// Whether that was all.
    all: bool,
}

/// A count under way, and the picture it is by.
struct OpenCount {
    view: Arc<ClusterView>,
    counting: Counting,
}

pub(super) struct CensusTaker {
    args: CensusArgs,
    /// What goes on with the next step.
    open: Option<OpenCount>,
}

impl CensusTaker {
    /// Looks at some groups.
    fn step(&mut self, ctx: &mut Ctx<CensusMsg>) {
        let fresh =
            || OpenCount { view: Arc::clone(&self.args.view.borrow()), counting: Counting::default() };
        let mut open = self.open.take().unwrap_or_else(fresh);
        let (reads, now_ms) = (self.args.reads.clone(), self.args.time.now_ms());
        let step = move |reader: &MetadataReader| {
            let reach = reaches(&open.view, now_ms);
            let all = reader.read(|rows| open.counting.step(rows, &reach, STEP));
            drop(reach);
            all.map(|all| Stepped { open, all })
        };
        let task = async move { reads.ask(ReadFor::Health, STEP_WITHIN, step).await };
        ctx.spawn_then(task, CensusMsg::Stepped);
    }

    /// Publishes a count that is done. Returns how long to wait before the next step.
    fn stepped(&mut self, Stepped { open, all }: Stepped) -> Duration {
        if !all {
            self.open = Some(open);
            return Duration::ZERO;
        }
        let OpenCount { view, counting } = open;
        let counted = Counted { census: Arc::new(counting.finish()), version: view.version };
        self.args.publish.send_replace(counted);
        // A node that changed its state meanwhile is what somebody waits for.
        let current = self.args.view.borrow().version == view.version;
        if current { PAUSE } else { Duration::ZERO }
    }
}

impl Behaviour for CensusTaker {
    type Msg = CensusMsg;
    type Args = CensusArgs;
    const KIND: &'static str = "census";

    async fn start(args: CensusArgs, ctx: &mut Ctx<CensusMsg>) -> Result<Self, ActorError> {
        ctx.send_after(Duration::ZERO, CensusMsg::Step);
        Ok(Self { args, open: None })
    }

    async fn handle(&mut self, msg: CensusMsg, ctx: &mut Ctx<CensusMsg>) -> Result<(), ActorError> {
        let pause = match msg {
            CensusMsg::Step => {
                self.step(ctx);
                return Ok(());
            }
            CensusMsg::Stepped(Ok(stepped)) => self.stepped(stepped),
            CensusMsg::Stepped(Err(status)) => {
                tracing::warn!(%status, "the chunks could not be counted");
                PAUSE
            }
        };
        ctx.send_after(pause, CensusMsg::Step);
        Ok(())
    }
}
