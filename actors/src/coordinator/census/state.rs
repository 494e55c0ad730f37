//! A count under way: by which picture of the cluster, how far, and when it goes on.

use std::sync::Arc;
use std::time::Duration;

use dfs_wire::id::NodeId;
use dfs_wire::message::membership::NodeState;

use crate::coordinator::membership::ClusterView;
use crate::coordinator::metadata::model::census::{Census, Counting};
use crate::coordinator::metadata::model::worth::Reach;
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::view::View;

/// Groups that whoever asks counts himself: a millisecond or two.
const AT_ONCE: usize = 4096;
/// Groups that the actor looks at in one go.
const STEP: usize = 4096;
/// From the end of one count to the next.
const PAUSE: Duration = Duration::from_secs(5);

/// A count of all chunks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counted {
    pub(crate) census: Arc<Census>,
    /// The version of the cluster state by which the nodes were judged.
    pub(crate) version: u64,
}

/// How far each node's copies can be counted on now.
pub(crate) fn reaches(view: &ClusterView, now_ms: u64) -> impl Fn(NodeId) -> Reach + '_ {
    move |node| view.reach(node, now_ms)
}

/// Whether a node was heard of since the coordinator started; `None` of those that may be away, have left, are being emptied or are no
/// part of the cluster.
pub(crate) fn expected(view: &ClusterView, now_ms: u64) -> impl Fn(NodeId) -> Option<bool> + '_ {
    move |node| {
        let known = view.node(node)?;
        let stays = known.entry.state.belongs() && known.entry.state != NodeState::Left && !known.draining;
        (stays && !known.may_be_away(now_ms)).then_some(known.heard.is_some())
    }
}

/// As [`reaches`], but a node that is silent just now is away: at the start of a coordinator that is every node.
pub(crate) fn heard_of(view: &ClusterView, now_ms: u64) -> impl Fn(NodeId) -> Reach + '_ {
    move |node| match view.state(node) {
        NodeState::Suspect => Reach::Away { announced: false },
        _ => view.reach(node, now_ms),
    }
}

/// As [`heard_of`], but a node that has not told all it has since it registered is away: what it is said to have may be gone.
pub(crate) fn compared(view: &ClusterView, now_ms: u64) -> impl Fn(NodeId) -> Reach + '_ {
    let heard = heard_of(view, now_ms);
    move |node| match view.node(node).is_some_and(|known| known.told) {
        true => heard(node),
        false => Reach::Away { announced: false },
    }
}

/// Counts all groups if they are few.
///
/// # Errors
/// Of the store, or a damaged row.
pub(crate) fn count_at_once(
    rows: &impl View,
    view: &ClusterView,
    now_ms: u64,
) -> Result<Option<Census>, MetaError> {
    let mut counting = Counting::default();
    let all = counting.step(rows, (&reaches(view, now_ms), &expected(view, now_ms)), AT_ONCE)?;
    Ok(all.then(|| counting.finish()))
}

/// A count under way, and the picture it is by.
pub(crate) struct OpenCount {
    view: Arc<ClusterView>,
    counting: Counting,
}

impl OpenCount {
    fn new(view: Arc<ClusterView>) -> Self {
        Self { view, counting: Counting::default() }
    }

    /// Looks at some groups.
    ///
    /// # Errors
    /// Of the store, or a damaged row.
    pub(crate) fn step(mut self, rows: &impl View, now_ms: u64) -> Result<Stepped, MetaError> {
        let view = Arc::clone(&self.view);
        let all = self.counting.step(rows, (&reaches(&view, now_ms), &expected(&view, now_ms)), STEP)?;
        Ok(Stepped { open: self, all })
    }
}

/// A count that has gone a step further.
pub(crate) struct Stepped {
    open: OpenCount,
    /// Whether that was all.
    all: bool,
}

/// What goes on with the next step, if one has begun.
#[derive(Default)]
pub(crate) struct CensusState {
    open: Option<OpenCount>,
}

impl CensusState {
    /// What the next step goes on with; a count that begins is by this picture.
    pub(crate) fn take(&mut self, view: &Arc<ClusterView>) -> OpenCount {
        self.open.take().unwrap_or_else(|| OpenCount::new(Arc::clone(view)))
    }

    /// What is to be published after a step, and how long to wait before the next one, while the cluster state is of
    /// version `current`.
    pub(crate) fn stepped(
        &mut self,
        Stepped { open, all }: Stepped,
        current: u64,
    ) -> (Option<Counted>, Duration) {
        if !all {
            self.open = Some(open);
            return (None, Duration::ZERO);
        }
        let OpenCount { view, counting } = open;
        // A node that changed its state meanwhile is what somebody waits for.
        let pause = if current == view.version { PAUSE } else { Duration::ZERO };
        (Some(Counted { census: Arc::new(counting.finish()), version: view.version }), pause)
    }

    /// How long to wait after a step that failed. The count begins anew.
    pub(crate) fn failed(&self) -> Duration {
        PAUSE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(version: u64) -> Arc<ClusterView> {
        Arc::new(ClusterView { version, ..ClusterView::default() })
    }

    #[test]
    fn a_count_goes_on_until_it_is_whole_and_begins_anew_at_once_if_a_node_changed_its_state() {
        let mut state = CensusState::default();
        let open = state.take(&view(7));
        let (counted, pause) = state.stepped(Stepped { open, all: false }, 8);
        assert!(counted.is_none() && pause.is_zero());
        let open = state.take(&view(8));
        let (counted, pause) = state.stepped(Stepped { open, all: true }, 8);
        assert_eq!(counted.map(|counted| counted.version), Some(7), "by the picture it began with");
        assert!(pause.is_zero(), "what was counted is of before");
        let open = state.take(&view(8));
        let (counted, pause) = state.stepped(Stepped { open, all: true }, 8);
        assert_eq!((counted.map(|counted| counted.version), pause), (Some(8), PAUSE));
    }
}
