//! The scripted datanodes.

use std::time::Duration;

use dfs_client::StatusCode;
use dfs_wire::Bytes;
use dfs_wire::auth::{Mac, Receipt};
use dfs_wire::limits::DATA_FRAME_BYTES;
use dfs_wire::link::{DataFrame, Event, Incoming, Link, Stream};
use dfs_wire::message::chunk::{
    ChunkRead, ChunkRequest, ChunkResponse, ChunkStored, ReadChunk, ReplicaFailure, WriteChunk,
};
use dfs_wire::message::{EndHead, Request, Response};
use dfs_wire::slab::{SlabBudget, SlabPool};
use dfs_wire::status::Status;
use sha2::{Digest, Sha256};

use crate::cluster::{Cluster, Fault, node_id};

pub(crate) async fn serve(cluster: &Cluster, node: usize, link: &Link, incoming: Incoming) {
    let fault = cluster.lock().nodes[node].fault.clone();
    if matches!(fault, Some(Fault::Mute)) {
        // Keeps the stream open, answers never.
        return tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let answer = match incoming.head.body {
        Request::Chunk(ChunkRequest::Read(read)) => {
            cluster.lock().nodes[node].reads += 1;
            send(cluster, node, link, &incoming.stream, &read, fault).await.map(ChunkResponse::Read)
        }
        Request::Chunk(ChunkRequest::Write(write)) => {
            cluster.lock().nodes[node].writes += 1;
            store(cluster, node, link, &incoming.stream, &write, fault).await.map(ChunkResponse::Stored)
        }
        _ => Err(Status::new(StatusCode::Unsupported, "only chunks")),
    };
    let answer = answer.map(Response::Chunk).map_err(|s| s.at_node(node_id(node)));
    incoming.stream.respond(answer, Bytes::new()).await.ok();
}

async fn send(
    cluster: &Cluster,
    node: usize,
    link: &Link,
    stream: &Stream,
    read: &ReadChunk,
    fault: Option<Fault>,
) -> Result<ChunkRead, Status> {
    let key = (read.grant.chunk, read.grant.generation);
    let stored = cluster.lock().nodes[node].chunks.get(&key).cloned();
    let stored = stored.ok_or_else(|| Status::new(StatusCode::NotFound, "no such chunk"))?;
    let end = stored.len().min((read.offset + read.len) as usize);
    let mut bytes = stored[read.offset as usize..end].to_vec();
    match &fault {
        Some(Fault::RefuseReads(status)) => return Err(status.clone()),
        Some(Fault::HangReads) => tokio::time::sleep(Duration::from_secs(60)).await,
        Some(Fault::SlowToBegin(time)) => tokio::time::sleep(*time).await,
        Some(Fault::LieOnReads) => bytes[0] ^= 1,
        _ => {}
    }
    let mut sent = 0;
    for frame in bytes.chunks(DATA_FRAME_BYTES) {
        if matches!(fault, Some(Fault::CutReadsAfter(limit)) if sent >= limit) {
            // Let what was sent arrive first: the cut is in the middle, not before the beginning.
            tokio::time::sleep(Duration::from_millis(20)).await;
            link.close(Status::new(StatusCode::ConnectionLost, "told to break"));
            return Err(Status::new(StatusCode::ConnectionLost, "told to break"));
        }
        stream.send(DataFrame::new(Bytes::copy_from_slice(frame))).await?;
        sent += frame.len();
    }
    let chunk_sha256 = Sha256::digest(&stored).into();
    Ok(ChunkRead { len: bytes.len() as u32, chunk_len: stored.len() as u32, chunk_sha256, facts: None })
}

async fn store(
    cluster: &Cluster,
    node: usize,
    link: &Link,
    stream: &Stream,
    write: &WriteChunk,
    fault: Option<Fault>,
) -> Result<ChunkStored, Status> {
    match fault {
        Some(Fault::RefuseWrites(status)) => return Err(status),
        Some(Fault::RefuseFirstWrites(left, status)) if left > 0 => {
            cluster.lock().nodes[node].fault = Some(Fault::RefuseFirstWrites(left - 1, status.clone()));
            return Err(status);
        }
        _ => {}
    }
    stream.grant(SlabBudget::new(SlabPool::new(4), 16).reserve(2).await);
    let mut bytes = Vec::new();
    let end: EndHead = loop {
        match stream.recv().await? {
            Event::Data(frame) => bytes.extend_from_slice(&frame.bytes),
            Event::End(end) => break end,
            Event::Response(..) => return Err(Status::new(StatusCode::Internal, "a response to nothing")),
        }
        if matches!(fault, Some(Fault::CutWritesAfter(limit)) if bytes.len() >= limit) {
            link.close(Status::new(StatusCode::ConnectionLost, "told to break"));
            return Err(Status::new(StatusCode::ConnectionLost, "told to break"));
        }
    };
    let sha256: [u8; 32] = Sha256::digest(&bytes).into();
    if (end.len, end.sha256) != (bytes.len() as u64, sha256) {
        return Err(Status::new(StatusCode::ChecksumMismatch, "other bytes than announced"));
    }
    let (chunk, generation) = (write.grant.chunk, write.grant.generation);
    let mut stored = ChunkStored { receipts: Vec::new(), failed: Vec::new() };
    let mut state = cluster.lock();
    let replicas = write.replicas.iter().map(|t| t.node.0 as usize - 1);
    for (place, target) in std::iter::once(node).chain(replicas).enumerate() {
        let broken = matches!(state.nodes[target].fault, Some(Fault::Down | Fault::FailAsReplica));
        if place > 0 && broken {
            let status = Status::new(StatusCode::Straggler, "told to fail");
            stored.failed.push(ReplicaFailure { node: node_id(target), status });
            continue;
        }
        state.nodes[target].chunks.insert((chunk, generation), bytes.clone());
        let len = bytes.len() as u32;
        stored.receipts.push(Receipt {
            node: node_id(target),
            chunk,
            generation,
            len,
            sha256,
            mac: Mac::default(),
        });
    }
    Ok(stored)
}
