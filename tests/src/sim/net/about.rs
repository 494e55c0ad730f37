//! What a frame is about, in a few words for people.

use dfs_wire::auth::Grant;
use dfs_wire::codec::decode;
use dfs_wire::frame::FrameKind;
use dfs_wire::message::chunk::ChunkRequest;
use dfs_wire::message::metadata::MetadataRequest;
use dfs_wire::message::replication::ReplicationRequest;
use dfs_wire::message::{Request, RequestHead, ResponseHead};
use dfs_wire::status::Status;

/// In words: the request and what it is about, or what was refused. Nothing where the kind of the frame says it all.
pub(super) fn about(kind: u8, head: &[u8]) -> String {
    let status = || decode::<Status>(head).map(|status| said(&status));
    match FrameKind::from_number(kind) {
        Some(FrameKind::Request) => decode::<RequestHead>(head).map(|head| request(&head.body)),
        Some(FrameKind::Response) => decode::<ResponseHead>(head).map(|head| match head {
            Ok(_) => String::new(),
            Err(status) => said(&status),
        }),
        Some(FrameKind::Reject | FrameKind::Reset | FrameKind::Goaway | FrameKind::Error) => status(),
        _ => Ok(String::new()),
    }
    .unwrap_or_default()
}

fn request(request: &Request) -> String {
    let name = request.name();
    let name = name.split_once('.').map_or(name, |(_, name)| name);
    match object(request) {
        Some(object) => format!("{name} {object}"),
        None => name.to_owned(),
    }
}

fn object(request: &Request) -> Option<String> {
    match request {
        Request::Chunk(ChunkRequest::Write(write)) => Some(chunk(&write.grant)),
        Request::Chunk(ChunkRequest::Read(read)) => Some(chunk(&read.grant)),
        Request::Chunk(ChunkRequest::Verify(verify)) => Some(chunk(&verify.grant)),
        Request::Replication(ReplicationRequest::Replicate(replicate)) => Some(chunk(&replicate.grant)),
        Request::Replication(ReplicationRequest::Copy(copy)) => Some(chunk(&copy.grant)),
        Request::Metadata(MetadataRequest::OpenUpload(open)) => Some(open.path.to_string()),
        Request::Metadata(MetadataRequest::OpenRead(open)) => Some(open.path.to_string()),
        Request::Metadata(MetadataRequest::Stat(path)) => Some(path.path.to_string()),
        Request::Metadata(MetadataRequest::Delete(delete)) => Some(delete.path.to_string()),
        _ => None,
    }
}

fn chunk(grant: &Grant) -> String {
    crate::sim::trace::short(&grant.chunk_key().to_string())
}

fn said(status: &Status) -> String {
    format!("{:?}: {}", status.code, status.message)
}
