//! A look at everything at once: what is wrong now, and the counts by which it was seen.

use std::sync::Arc;

use dfs_wire::id::NodeId;
use dfs_wire::message::admin::HealthFinding;

use super::findings::findings;
use super::reports::NodeReports;
use super::signs::Signs;
use crate::coordinator::census::{Counted, count_at_once};
use crate::coordinator::gc::GcHealth;
use crate::coordinator::membership::{ClusterView, ViewReceiver};
use crate::coordinator::metadata::model::time::ReignClock;
use crate::coordinator::metadata::ops::Policy;
use crate::coordinator::metadata::reader::MetadataReader;
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::totals::Totals;
use crate::coordinator::metadata::writer::{StoreTrouble, WriterMetrics};
use crate::coordinator::repair::RepairHealth;
use crate::env::Clock;
use crate::watch;

/// All that says whether something needs attention.
pub(in crate::coordinator) struct Examiner {
    pub(in crate::coordinator) clock: Arc<dyn Clock>,
    pub(in crate::coordinator) time: ReignClock,
    pub(in crate::coordinator) view: ViewReceiver,
    pub(in crate::coordinator) census: watch::Receiver<Counted>,
    pub(in crate::coordinator) writer: Arc<WriterMetrics>,
    pub(in crate::coordinator) gc: Arc<GcHealth>,
    pub(in crate::coordinator) repair: Arc<RepairHealth>,
    /// What datanodes have said of their copies.
    pub(in crate::coordinator) reports: NodeReports,
    pub(in crate::coordinator) policy: Policy,
    pub(in crate::coordinator) unsafe_modes: Vec<String>,
}

/// What was seen.
pub(in crate::coordinator) struct Examined {
    /// What needs attention, the worst first.
    pub(in crate::coordinator) findings: Vec<HealthFinding>,
    /// The picture that it was seen by.
    pub(in crate::coordinator) view: Arc<ClusterView>,
    pub(in crate::coordinator) totals: Totals,
    pub(in crate::coordinator) counted: Counted,
}

impl Examined {
    /// The count of chunks is of before a node changed its state.
    pub(in crate::coordinator) fn is_counting(&self) -> bool {
        self.counted.version != self.view.version
    }
}

/// Deletions that a node has not confirmed, up to `most`.
///
/// # Errors
/// Of the store.
pub(in crate::coordinator) fn deletions(
    reader: &MetadataReader,
    node: NodeId,
    most: usize,
) -> Result<u64, MetaError> {
    reader.tombstones(node, most).map(|found| found.len() as u64)
}

impl Examiner {
    /// What is wrong with the metadata store.
    pub(in crate::coordinator) fn store_trouble(&self) -> Option<StoreTrouble> {
        self.writer.health.trouble(self.clock.now().as_micros())
    }

    /// Looks, and counts so many of the deletions that wait for each node at most. Without the metadata its counts are 0, and a
    /// finding says why.
    ///
    /// # Errors
    /// If a record is damaged.
    pub(in crate::coordinator) fn examine(
        &self,
        reader: &MetadataReader,
        deletions_max: usize,
    ) -> Result<Examined, MetaError> {
        let mut store = self.store_trouble();
        let view = Arc::clone(&self.view.borrow());
        let signs = reader.signs().and_then(|signs| Ok((signs, self.counted(reader, &view)?)));
        let ((totals, unknown_reign), counted) = match signs {
            Ok(signs) => signs,
            Err(MetaError::Store(error)) => {
                store = Some(StoreTrouble::Failing(error.to_string()));
                Default::default()
            }
            Err(error) => return Err(error),
        };
        let findings = findings(&Signs {
            view: &view,
            census: &counted.census,
            counting: counted.version != view.version,
            now_ms: self.time.now_ms(),
            unknown_reign: unknown_reign.as_ref(),
            policy: &self.policy,
            unsafe_modes: &self.unsafe_modes,
            store,
            stuck: &self.gc.stuck(),
            repair: &self.repair.look(),
            corrupt: &|node| self.reports.corrupt_count(node.entry.node),
            // Without the metadata there is nothing to count; that has a finding of its own.
            deletions: &|node| deletions(reader, node, deletions_max).unwrap_or_default(),
        });
        Ok(Examined { findings, view, totals, counted })
    }

    /// What all chunks are worth; of an earlier version of the cluster state if the count of this one is not done.
    ///
    /// # Errors
    /// Of the store.
    pub(in crate::coordinator) fn counted(
        &self,
        reader: &MetadataReader,
        view: &ClusterView,
    ) -> Result<Counted, MetaError> {
        let now = reader.read(|rows| count_at_once(rows, view, self.time.now_ms()))?;
        Ok(match now {
            Some(census) => Counted { census: Arc::new(census), version: view.version },
            None => self.census.borrow().clone(),
        })
    }
}
