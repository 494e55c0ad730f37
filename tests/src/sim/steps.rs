//! The steps of a run, each with the names of what it is: stable under small changes, so that they can be listed.
//!
//! | step | names |
//! |---|---|
//! | a change of a datanode's disk | `datanode: rename chunks/*/*/*` |
//! | a change of the metadata | `coordinator: sync metadata: commit_upload`, one name for each change in the commit |
//! | a frame | `client -> coordinator: metadata.open_upload`, `datanode -> client: answer to chunk.write` |

use std::collections::BTreeMap;
use std::path::{Component, Path};

use dfs_wire::codec::decode;
use dfs_wire::frame::{FrameKind, Header};
use dfs_wire::message::inventory::InventoryResponse;
use dfs_wire::message::membership::MembershipResponse;
use dfs_wire::message::{RequestHead, Response, ResponseHead};

use super::fate::Place;
use super::id::HostId;

/// One step that a host made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Virtual microseconds since the world began.
    pub at: u64,
    /// Who made it.
    pub host: HostId,
    /// What it changed.
    pub place: Place,
    /// Which of the host's steps of that kind it is.
    pub number: u64,
    /// What it is called.
    pub names: Vec<String>,
}

/// What has to be remembered to name steps.
#[derive(Default)]
pub(super) struct Namer {
    /// What each stream of a connection was opened for.
    streams: BTreeMap<(u64, u32), &'static str>,
    /// Changes of the metadata that were applied to the next commit.
    applied: Vec<String>,
    /// Those of the commit that is under way, or was the last one.
    committing: Vec<String>,
}

/// What a host is in names.
fn role(host: HostId) -> &'static str {
    match host {
        HostId::COORDINATOR => "coordinator",
        host if host.is_client() => "client",
        _ => "datanode",
    }
}

impl Namer {
    /// The coordinator has started: nothing is being committed.
    pub(super) fn restarted(&mut self) {
        self.applied.clear();
        self.committing = vec!["opening".to_owned()];
    }

    /// The metadata writer said something.
    pub(super) fn committer_said(&mut self, words: &str) {
        match words.strip_prefix("applied mutation=") {
            Some(mutation) => self.applied.push(mutation.trim().trim_matches('"').to_owned()),
            None => {
                self.committing = std::mem::take(&mut self.applied);
                self.committing.sort();
                self.committing.dedup();
                if self.committing.is_empty() {
                    self.committing.push("nothing but the time".to_owned());
                }
            }
        }
    }

    /// The names of a change of a disk.
    pub(super) fn disk(&self, host: HostId, what: &str, path: &Path) -> Vec<String> {
        if host != HostId::COORDINATOR {
            return vec![format!("{}: {what} {}", role(host), class(path))];
        }
        if path == Path::new("/") || what == "set length of" {
            return vec![format!("coordinator: {what} metadata")];
        }
        self.committing.iter().map(|change| format!("coordinator: {what} metadata: {change}")).collect()
    }

    /// The name of a frame with this header and head.
    pub(super) fn frame(
        &mut self,
        (from, to): (HostId, HostId),
        line: u64,
        header: &Header,
        head: &[u8],
    ) -> String {
        let way = format!("{} -> {}", role(from), role(to));
        let stream = (line, header.stream);
        let of =
            |streams: &BTreeMap<_, &'static str>| streams.get(&stream).copied().unwrap_or("nothing known");
        match FrameKind::from_number(header.kind) {
            Some(FrameKind::Request) => {
                let name =
                    decode::<RequestHead>(head).map_or("unknown request", |request| request.body.name());
                self.streams.insert(stream, name);
                format!("{way}: {name}")
            }
            Some(FrameKind::Response) => match decode::<ResponseHead>(head) {
                Ok(Err(status)) => format!("{way}: {:?} to {}", status.code, of(&self.streams)),
                Ok(Ok(response)) if orders(&response) => {
                    format!("{way}: orders in answer to {}", of(&self.streams))
                }
                _ => format!("{way}: answer to {}", of(&self.streams)),
            },
            Some(kind) if header.stream != 0 => {
                format!("{way}: {} of {}", format!("{kind:?}").to_lowercase(), of(&self.streams))
            }
            Some(kind) => format!("{way}: {}", format!("{kind:?}").to_lowercase()),
            None => format!("{way}: frame of kind {}", header.kind),
        }
    }
}

/// Whether a node is told to get rid of something.
fn orders(response: &Response) -> bool {
    match response {
        Response::Membership(MembershipResponse::Heartbeat(reply)) => !reply.tombstones.is_empty(),
        Response::Inventory(InventoryResponse::Accepted(said) | InventoryResponse::Confirmed(said)) => {
            !said.quarantine.is_empty()
        }
        _ => false,
    }
}

/// A path with stars for the names that differ from run to run.
fn class(path: &Path) -> String {
    let mut parts = path.components().skip(2).filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    });
    let top = parts.next().unwrap_or_else(|| "its data directory".to_owned());
    std::iter::once(top).chain(parts.map(|_| "*".to_owned())).collect::<Vec<_>>().join("/")
}
