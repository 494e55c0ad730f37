//! What waits to be freed, and a round of collecting it that somebody asks for.

use std::sync::Arc;

use dfs_wire::id::OpId;
use dfs_wire::message::admin::{AdminResponse, Garbage, GarbageKind, GcBegun, RunGc};
use dfs_wire::status::{Status, StatusCode};

use super::dispatch::{Asked, CoordinatorService, refused};
use crate::coordinator::gc::GcMsg;
use crate::coordinator::metadata::ops::{OpContext, waiting};
use crate::coordinator::metadata::reader::{MetadataReader, ReadFor};
use crate::coordinator::metadata::table::error::MetaError;

impl CoordinatorService {
    /// What waits to be freed, each kind once.
    pub(super) async fn gc_status(self: &Arc<Self>, asked: &Asked) -> Result<AdminResponse, Status> {
        let look = |service: &Self, reader: &MetadataReader| {
            let kinds = GarbageKind::ALL.into_iter().map(|kind| service.garbage(reader, kind));
            kinds.collect::<Result<Vec<_>, _>>()
        };
        self.apart(ReadFor::Health, asked, look).await.map(AdminResponse::GcStatus)
    }

    fn garbage(&self, reader: &MetadataReader, kind: GarbageKind) -> Result<Garbage, MetaError> {
        let ctx = OpContext {
            now_ms: self.parts.time.now_ms(),
            wall_ms: 0,
            op: OpId(0),
            entropy: 0,
            policy: self.parts.config.policy,
        };
        match kind {
            GarbageKind::Live => self.live(reader),
            GarbageKind::Trash => reader.read(|view| waiting::trash(view, &ctx)),
            GarbageKind::Pending => reader.read(|view| waiting::pending(view, &ctx)),
            GarbageKind::Orphan => reader.read(|view| waiting::orphan(view)),
            GarbageKind::Quarantined => {
                let view = self.view();
                let loads = view.nodes.iter().filter(|node| node.counts_as_up()).map(|node| &node.load);
                Ok(loads.fold(waiting::none(kind), |sum, load| Garbage {
                    count: sum.count.saturating_add(load.quarantined),
                    bytes: sum.bytes.saturating_add(load.quarantine),
                    ..sum
                }))
            }
        }
    }

    /// All that versions refer to, and the copies of it that are there.
    fn live(&self, reader: &MetadataReader) -> Result<Garbage, MetaError> {
        let (view, (totals, _)) = (self.view(), reader.signs()?);
        let counted = self.parts.examiner.counted(reader, &view)?;
        let copies = view.nodes.iter().map(|node| counted.census.expected_bytes(node.entry.node));
        let bytes = copies.fold(0, u64::saturating_add);
        Ok(Garbage { count: totals.files, bytes, ..waiting::none(GarbageKind::Live) })
    }

    /// Lets the collector begin at once, unless it is at work. What it finds is what is due: nothing goes before its time.
    pub(super) async fn run_gc(
        self: &Arc<Self>,
        asked: &Asked,
        word: RunGc,
    ) -> Result<AdminResponse, Status> {
        if matches!(word.kind, GarbageKind::Live | GarbageKind::Quarantined) {
            let text = format!("what is {} is not the coordinator's to collect", word.kind.name());
            return Err(Status::new(StatusCode::InvalidArgument, text)
                .hint("the kinds are trash, pending and orphan; datanodes purge what is quarantined"));
        }
        let look = move |service: &Self, reader: &MetadataReader| service.garbage(reader, word.kind);
        let found = self.apart(ReadFor::Health, asked, look).await?;
        if !word.dry_run {
            let begun = self.parts.collector.ask(GcMsg::Begin, self.left(asked)).await;
            begun.map_err(|error| refused("the garbage collector", error))?;
            tracing::info!(
                kind = word.kind.name(),
                due = found.due,
                "an operator begins a round of garbage collection"
            );
            self.happened(asked, &format!("began a round of garbage collection ({})", word.kind.name()), "");
        }
        Ok(AdminResponse::GcBegun(GcBegun { due: Some(found.due), more: found.more }))
    }
}
