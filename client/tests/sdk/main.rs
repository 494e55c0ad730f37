//! The SDK against a scripted cluster: what it promises when everything works, and when nothing does.

mod cluster;
mod coordinator;
mod datanode;
mod get;
mod put;

use dfs_client::DfsPath;
use rand::RngExt;

fn path(text: &str) -> DfsPath {
    text.parse().unwrap()
}

/// Bytes that nothing else looks like.
fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rand::rng().fill(&mut bytes[..]);
    bytes
}
