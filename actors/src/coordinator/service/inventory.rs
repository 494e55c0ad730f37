//! What a page of a datanode's inventory means.

use std::sync::Arc;

use dfs_wire::id::{Incarnation, NodeId, OpId};
use dfs_wire::limits::INVENTORY_PAGE_MAX;
use dfs_wire::message::inventory::{
    InventoryAccepted, InventoryConfirm, InventoryEntry, InventoryReport, InventoryResponse,
};
use dfs_wire::status::{Status, StatusCode};

use super::dispatch::{Asked, CoordinatorService, not_registered};
use crate::coordinator::census::{heard_of, reaches};
use crate::coordinator::membership::{ClusterView, MembershipMsg};
use crate::coordinator::metadata::model::time::Moment;
use crate::coordinator::metadata::ops::OpContext;
use crate::coordinator::metadata::ops::inventory::{Judged, Sight};
use crate::coordinator::metadata::ops::mutation::Mutation;
use crate::coordinator::metadata::reader::{MetadataReader, ReadFor};

/// Findings handed to the writer at once: one place in a group, some tens of batches.
const FINDINGS_PER_CHANGE: usize = 1024;

/// Checks that the copies are in order, within the page's bounds, and not too many: a gap would be taken for a loss.
fn check(report: &InventoryReport) -> Result<(), Status> {
    let invalid = |text: &str| Err(Status::new(StatusCode::InvalidArgument, text).at_node(report.node));
    if report.copies.len() > INVENTORY_PAGE_MAX {
        return invalid("too many copies in one page of an inventory");
    }
    let mut last = report.after;
    for here in report.copies.iter().map(InventoryEntry::key) {
        if last.is_some_and(|last| here <= last) {
            return invalid("the copies of an inventory are not in order");
        }
        last = Some(here);
    }
    if report.upto.is_some_and(|upto| last.is_some_and(|last| last > upto)) {
        return invalid("an inventory page holds more than it says");
    }
    Ok(())
}

impl CoordinatorService {
    /// Pages of inventories that wait to be judged.
    pub fn inventory_pages_waiting(&self) -> usize {
        self.turns.waiting()
    }

    /// The picture in which this run of the node is the registered one.
    fn current(&self, node: NodeId, incarnation: Incarnation) -> Result<Arc<ClusterView>, Status> {
        let view = self.view();
        match view.node(node) {
            Some(known) if known.heard.is_some() && known.incarnation == incarnation => Ok(view),
            _ => Err(not_registered(node)),
        }
    }

    fn judging(&self) -> OpContext {
        let Moment { now_ms, wall_ms } = self.parts.time.moment();
        let op = OpId(self.parts.env.rng.u128());
        OpContext { now_ms, wall_ms, op, entropy: 0, policy: self.parts.config.policy }
    }

    /// Judges once more what a node is about to put into quarantine.
    pub(super) fn confirm(
        &self,
        reader: &MetadataReader,
        word: &InventoryConfirm,
    ) -> Result<InventoryResponse, Status> {
        if word.copies.len() > INVENTORY_PAGE_MAX {
            let text = "too many copies to confirm at once";
            return Err(Status::new(StatusCode::InvalidArgument, text).at_node(word.node));
        }
        let view = self.current(word.node, word.incarnation)?;
        let ctx = self.judging();
        let (reach, heard) = (reaches(&view, ctx.now_ms), heard_of(&view, ctx.now_ms));
        let sight = Sight { reach: &reach, heard: &heard };
        let quarantine = reader.confirm(&ctx, word.node, &word.copies, sight)?;
        Ok(InventoryResponse::Confirmed(InventoryAccepted {
            epoch: self.parts.reign.epoch,
            position: reader.position()?,
            quarantine,
        }))
    }

    /// Judges a page by the picture of now, in which this run of the node must be the registered one.
    fn judge(&self, reader: &MetadataReader, report: &InventoryReport) -> Result<Judged, Status> {
        let view = self.current(report.node, report.incarnation)?;
        let ctx = self.judging();
        let (reach, heard) = (reaches(&view, ctx.now_ms), heard_of(&view, ctx.now_ms));
        let sight = Sight { reach: &reach, heard: &heard };
        Ok(reader.judge(&ctx, report, sight)?)
    }

    pub(super) async fn inventory(
        self: &Arc<Self>,
        asked: &Asked,
        report: InventoryReport,
    ) -> Result<InventoryResponse, Status> {
        check(&report)?;
        let _turn = self.turns.enter(self.left(asked)).await.map_err(|busy| busy.at_node(report.node))?;
        let report = Arc::new(report);
        let page = Arc::clone(&report);
        let judge = move |service: &Self, reader: &MetadataReader| service.judge(reader, &page);
        let mut judged = self.apart(ReadFor::Requests, asked, judge).await?;
        let mut findings = std::mem::take(&mut judged.findings);
        let mut from = None;
        loop {
            let page = Arc::clone(&report);
            let step = move |_: &Self, reader: &MetadataReader| reader.missing(&page, from);
            let (missing, next) = self.apart(ReadFor::Requests, asked, step).await?;
            findings.extend(missing);
            while findings.len() >= FINDINGS_PER_CHANGE {
                let rest = findings.split_off(FINDINGS_PER_CHANGE);
                let page = std::mem::replace(&mut findings, rest);
                self.note(asked, Mutation::ApplyFindings(report.node, page)).await?;
            }
            if next.is_none() {
                break;
            }
            if self.left(asked).is_zero() {
                return Err(Status::new(
                    StatusCode::DeadlineExceeded,
                    "the inventory page took too long to judge",
                )
                .at_node(report.node));
            }
            from = next;
        }
        if !findings.is_empty() {
            tracing::info!(node = %report.node, findings = findings.len(), "an inventory corrects the metadata");
            self.note(asked, Mutation::ApplyFindings(report.node, findings)).await?;
        }
        self.parts.examiner.reports.page(&report, &judged.quarantine, self.parts.time.now_ms());
        if report.upto.is_none() && self.parts.examiner.reports.is_fresh(report.node) {
            let done = MembershipMsg::InventoryDone(report.node, report.incarnation);
            // If it is lost, the node is asked for one more inventory.
            let _asked_again = self.parts.membership.try_send(done);
        }
        Ok(InventoryResponse::Accepted(InventoryAccepted {
            epoch: self.parts.reign.epoch,
            position: self.position(ReadFor::Requests, asked).await?,
            quarantine: judged.quarantine,
        }))
    }
}
