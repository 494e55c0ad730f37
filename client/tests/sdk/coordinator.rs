//! The scripted coordinator.

use dfs_client::metadata::{
    AllocateChunks, Allocated, Allocation, ChunkLocation, CommitUpload, CommittedFile, CopyState,
    MetadataRequest, MetadataResponse, OpenRead, OpenUpload, ReadOpened, ReplicaLocation, UploadOpened,
};
use dfs_client::{ChunkId, InodeId, NodeId, StatusCode};
use dfs_wire::Bytes;
use dfs_wire::auth::Mac;
use dfs_wire::id::{Epoch, Generation, SessionId};
use dfs_wire::link::{Incoming, Link};
use dfs_wire::message::chunk::Target;
use dfs_wire::message::membership::NodeState;
use dfs_wire::message::{Request, Response};
use dfs_wire::status::Status;

use crate::cluster::{Cluster, Lost, State, StoredFile, Upload, address, grant, node_id, stat};

pub(crate) async fn serve(cluster: &Cluster, link: &Link, incoming: Incoming) {
    let Request::Metadata(request) = incoming.head.body else {
        let status = Status::new(StatusCode::Unsupported, "only metadata");
        return incoming.stream.respond(Err(status), Bytes::new()).await.unwrap_or(());
    };
    let (op, name) = (incoming.head.op, request.name());
    if cluster.lock().mute {
        return tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    }
    let (answer, lost) = {
        let mut state = cluster.lock();
        state.log.push((name, op));
        let known = state.outcomes.get(&op).cloned();
        let stale = request.is_mutation() && state.low_water_ms.is_some_and(|mark| op.stamp_ms() <= mark);
        let answer = known.unwrap_or_else(|| {
            if stale {
                return Err(Status::new(StatusCode::StaleOperation, "forgotten"));
            }
            let mutation = request.is_mutation();
            let outcome = state.answer(request);
            if mutation {
                state.outcomes.insert(op, outcome.clone());
            }
            outcome
        });
        let lost = state.lost_answers.get_mut(name).is_some_and(|left| {
            let lose = *left > 0;
            *left = left.saturating_sub(1);
            lose
        });
        if lost && state.forgetful {
            state.outcomes.clear();
            state.low_water_ms = Some(op.stamp_ms());
        }
        (answer, lost.then(|| state.lost_by.clone()))
    };
    match lost {
        Some(Lost::Closed(reason)) => link.close(reason),
        Some(Lost::Reset) => drop(incoming.stream),
        Some(Lost::Moved) => {
            cluster.lock().cluster += 1;
            link.close(Status::new(StatusCode::Unavailable, "moved"));
        }
        Some(Lost::Unsaid) => {
            let status = Status::new(StatusCode::OutcomeUnknown, "the actor ended before it answered");
            incoming.stream.respond(Err(status), Bytes::new()).await.unwrap_or(());
        }
        None => incoming.stream.respond(answer.map(Response::Metadata), Bytes::new()).await.unwrap_or(()),
    }
}

impl State {
    fn answer(&mut self, request: MetadataRequest) -> Result<MetadataResponse, Status> {
        let closed = || Status::new(StatusCode::SessionClosed, "not open");
        match request {
            MetadataRequest::OpenUpload(request) => Ok(self.open_upload(request)),
            MetadataRequest::AllocateChunks(request) => self.allocate(&request),
            MetadataRequest::RecordChunks(request) => {
                let upload = self.uploads.get_mut(&request.session).ok_or_else(closed)?;
                upload.recorded.extend(request.chunks.into_iter().map(|c| (c.index, c)));
                Ok(MetadataResponse::Recorded)
            }
            MetadataRequest::CommitUpload(request) => self.commit(request),
            MetadataRequest::AbortUpload(request) => {
                self.uploads.remove(&request.session).map(|_| MetadataResponse::Done).ok_or_else(closed)
            }
            MetadataRequest::OpenRead(request) => self.open_read(&request),
            other => Err(Status::new(StatusCode::Unsupported, other.name())),
        }
    }

    fn open_upload(&mut self, request: OpenUpload) -> MetadataResponse {
        let session = SessionId(self.new_id());
        let chunk_size = if request.chunk_size == 0 { 1 << 20 } else { request.chunk_size };
        let upload = Upload {
            path: request.path,
            chunk_size,
            allocated: Default::default(),
            recorded: Default::default(),
        };
        self.uploads.insert(session, upload);
        let ask = AllocateChunks {
            session,
            first: 0,
            count: request.allocate,
            above: Generation(0),
            exclude: Vec::new(),
        };
        let allocations = match self.allocate(&ask) {
            Ok(MetadataResponse::Allocated(allocated)) => allocated.allocations,
            _ => Vec::new(),
        };
        MetadataResponse::UploadOpened(UploadOpened {
            session,
            inode: InodeId(2),
            lease_ms: 60_000,
            chunk_size,
            replication: 3,
            min_ack: 2,
            epoch: Epoch(1),
            allocations,
        })
    }

    fn allocate(&mut self, request: &AllocateChunks) -> Result<MetadataResponse, Status> {
        self.excluded.extend(&request.exclude);
        let usable: Vec<usize> =
            (0..self.nodes.len()).filter(|&n| !request.exclude.contains(&node_id(n))).collect();
        if usable.len() < 2 {
            return Err(Status::new(StatusCode::NoWriteQuorum, "too few nodes"));
        }
        let mut allocations = Vec::new();
        for index in request.first..request.first + request.count {
            let fresh = ChunkId(self.new_id());
            let upload = self.uploads.get_mut(&request.session);
            let upload = upload.ok_or_else(|| Status::new(StatusCode::SessionClosed, "not open"))?;
            if let Some(kept) = upload.allocated.get(&index).filter(|a| a.grant.generation > request.above) {
                allocations.push(kept.clone());
                continue;
            }
            let old = upload.allocated.get(&index).map(|a| (a.grant.chunk, a.grant.generation.0));
            let (chunk, generation) = old.unwrap_or((fresh, 0));
            let targets = (0..usable.len().min(3)).map(|i| usable[(i + index as usize) % usable.len()]);
            let allocation = Allocation {
                index,
                grant: grant(chunk, Generation(generation + 1), index),
                targets: targets.map(target).collect(),
            };
            upload.allocated.insert(index, allocation.clone());
            allocations.push(allocation);
        }
        Ok(MetadataResponse::Allocated(Allocated { allocations }))
    }

    fn commit(&mut self, request: CommitUpload) -> Result<MetadataResponse, Status> {
        let closed = || Status::new(StatusCode::SessionClosed, "not open");
        let mut upload = self.uploads.remove(&request.session).ok_or_else(closed)?;
        upload.recorded.extend(request.chunks.into_iter().map(|c| (c.index, c)));
        let count = u32::try_from(upload.recorded.len()).unwrap();
        let size: u64 = upload.recorded.values().map(|c| u64::from(c.receipts[0].len)).sum();
        let fits = upload.recorded.iter().all(|(index, chunk)| {
            let place = &upload.allocated[index];
            chunk.receipts.len() >= 2
                && chunk.receipts.iter().all(|r| {
                    (r.chunk, r.generation) == (place.grant.chunk, place.grant.generation)
                        && place.targets.iter().any(|t| t.node == r.node)
                })
        });
        if !fits || (count, size) != (request.chunk_count, request.size) {
            return Err(Status::new(StatusCode::InvalidArgument, "the records do not add up"));
        }
        let stat = stat(&upload.path, self.new_id(), size, upload.chunk_size, count);
        let committed = CommittedFile {
            inode: stat.inode,
            size,
            mtime_ns: stat.mtime_ns,
            created_ms: stat.created_ms,
            version: stat.version,
            chunk_size: upload.chunk_size,
            chunk_count: count,
            replication: stat.replication,
        };
        self.files.insert(upload.path, StoredFile { stat, chunks: upload.recorded });
        Ok(MetadataResponse::Committed(committed))
    }

    fn open_read(&self, request: &OpenRead) -> Result<MetadataResponse, Status> {
        let file = self.files.get(&request.path);
        let file = file.ok_or_else(|| Status::new(StatusCode::NotFound, "no such file"))?;
        if request.version.is_some_and(|v| v.version != file.stat.version) {
            return Err(Status::new(StatusCode::VersionGone, "replaced"));
        }
        let chunks = file.chunks.values().skip(request.first as usize).take(request.count as usize);
        let chunks = chunks.map(|chunk| {
            let receipt = &chunk.receipts[0];
            ChunkLocation {
                index: chunk.index,
                grant: grant(receipt.chunk, receipt.generation, chunk.index),
                len: receipt.len,
                sha256: receipt.sha256,
                replicas: chunk.receipts.iter().map(|r| self.replica(r.node)).collect(),
            }
        });
        let opened =
            ReadOpened { stat: file.stat.clone(), lease_ms: 600_000, chunks: chunks.collect(), sha256: None };
        Ok(MetadataResponse::ReadOpened(opened))
    }

    fn replica(&self, node: NodeId) -> ReplicaLocation {
        let index = node.0 as usize - 1;
        ReplicaLocation {
            node,
            name: format!("n{index}"),
            address: address(index),
            mac: Mac::default(),
            // It mostly does not know yet who is down: clients find out.
            node_state: self.nodes[index].known.unwrap_or(NodeState::Up),
            copy: CopyState::Good,
        }
    }
}

fn target(index: usize) -> Target {
    Target { node: node_id(index), address: address(index), mac: Mac::default() }
}
