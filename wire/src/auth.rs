//! Grants (what a datanode may serve) and receipts (what a datanode has made durable).
//!
//! ```text
//! coordinator --grant + MAC under the key of each target--> client --shows it--> datanode, which checks and serves
//! coordinator <--receipt + MAC under the node's key-------- client <--after fsync-- datanode
//! ```
//!
//! Each node's key is derived from the cluster key and its id, so that a node can forge neither grants nor receipts
//! of another. MACs are HMAC-SHA256 cut to 16 bytes, over a domain word and the bincode encoding. Expiry is in the
//! coordinator's time, which datanodes learn from heartbeats: no two clocks are compared. The shape follows HDFS
//! block tokens, but is never off.

use hmac::{Hmac, KeyInit, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::codec;
use crate::id::{ChunkId, ChunkKey, Epoch, Generation, InodeId, NodeId};

/// The secret of a whole cluster. Only coordinators hold it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterKey(pub [u8; 32]);

/// The secret that a coordinator shares with one node.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeKey(pub [u8; 32]);

impl std::fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterKey(..)")
    }
}

impl std::fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeKey(..)")
    }
}

/// A message authentication code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mac(pub [u8; 16]);

fn hmac(key: &[u8; 32], domain: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    // Hmac takes keys of any length, so this never fails; the fallback keeps the function total.
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key)
        .unwrap_or_else(|_| <Hmac<Sha256> as KeyInit>::new(&Default::default()));
    mac.update(domain);
    for part in parts {
        mac.update(part);
    }
    mac
}

fn cut(mac: Hmac<Sha256>) -> Mac {
    let full = mac.finalize().into_bytes();
    let mut out = [0; 16];
    out.iter_mut().zip(full.iter()).for_each(|(o, b)| *o = *b);
    Mac(out)
}

impl ClusterKey {
    /// The key shared with `node`.
    pub fn node_key(&self, node: NodeId) -> NodeKey {
        let full = hmac(&self.0, b"dfs node key\0", &[&node.to_bytes()]).finalize().into_bytes();
        let mut out = [0; 32];
        out.iter_mut().zip(full.iter()).for_each(|(o, b)| *o = *b);
        NodeKey(out)
    }
}

/// What a grant allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GrantOp {
    /// Store the chunk (from a client or from a primary).
    Write,
    /// Read the chunk.
    Read,
    /// Fetch the chunk from another node and store it: the coordinator's order.
    Copy,
}

/// Leave to do one thing with one chunk, until a time. It is worth something only with a [`Mac`] for a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The reign it was given in.
    pub epoch: Epoch,
    /// What it is leave to do.
    pub op: GrantOp,
    /// The only chunk that it is good for.
    pub chunk: ChunkId,
    /// Which attempt at the chunk's bytes.
    pub generation: Generation,
    /// The file the chunk belongs to, written into the chunk itself.
    pub file: InodeId,
    /// The chunk's place in the file.
    pub index: u32,
    /// Most bytes that may be written.
    pub len_max: u32,
    /// When it ends, in milliseconds of the coordinator's clock.
    pub expires_ms: u64,
}

impl Grant {
    /// The bytes it is about.
    pub const fn chunk_key(&self) -> ChunkKey {
        ChunkKey { chunk: self.chunk, generation: self.generation }
    }

    /// Signs the grant for one node.
    pub fn sign(&self, key: &NodeKey) -> Mac {
        cut(self.mac(key))
    }

    /// Whether `mac` is this grant's for the holder of `key`; compares in constant time.
    pub fn verify(&self, key: &NodeKey, mac: &Mac) -> bool {
        self.mac(key).verify_truncated_left(&mac.0).is_ok()
    }

    fn mac(&self, key: &NodeKey) -> Hmac<Sha256> {
        let bytes = codec::encode(self).unwrap_or_default();
        hmac(&key.0, b"dfs grant\0", &[&bytes])
    }
}

/// A datanode's word that a chunk is durable on its disk and matched its checksum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The node that stored it.
    pub node: NodeId,
    /// The chunk that was stored.
    pub chunk: ChunkId,
    /// Which attempt at the chunk's bytes.
    pub generation: Generation,
    /// Bytes of the chunk.
    pub len: u32,
    /// The SHA-256 of its bytes.
    pub sha256: [u8; 32],
    /// The node's signature over the fields above.
    pub mac: Mac,
}

impl Receipt {
    /// Makes and signs a receipt.
    pub fn sign(
        node: NodeId,
        chunk: ChunkId,
        generation: Generation,
        len: u32,
        sha256: [u8; 32],
        key: &NodeKey,
    ) -> Self {
        let mut receipt = Self { node, chunk, generation, len, sha256, mac: Mac::default() };
        receipt.mac = cut(receipt.compute(key));
        receipt
    }

    /// Whether the signature is that of the holder of `key`; compares in constant time.
    pub fn verify(&self, key: &NodeKey) -> bool {
        self.compute(key).verify_truncated_left(&self.mac.0).is_ok()
    }

    fn compute(&self, key: &NodeKey) -> Hmac<Sha256> {
        hmac(
            &key.0,
            b"dfs receipt\0",
            &[
                &self.node.to_bytes(),
                &self.chunk.to_bytes(),
                &self.generation.0.to_le_bytes(),
                &self.len.to_le_bytes(),
                &self.sha256,
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant() -> Grant {
        Grant {
            epoch: Epoch(3),
            op: GrantOp::Write,
            chunk: ChunkId(7),
            generation: Generation(1),
            file: InodeId(9),
            index: 2,
            len_max: 100,
            expires_ms: 5_000,
        }
    }

    #[test]
    fn a_grant_is_good_for_its_node_and_its_words_only() {
        let cluster = ClusterKey([1; 32]);
        let (a, b) = (cluster.node_key(NodeId(1)), cluster.node_key(NodeId(2)));
        let mac = grant().sign(&a);
        assert!(grant().verify(&a, &mac));
        assert!(!grant().verify(&b, &mac), "another node's key");
        let forged: [fn(&mut Grant); 8] = [
            |g| g.epoch = Epoch(4),
            |g| g.op = GrantOp::Read,
            |g| g.chunk = ChunkId(8),
            |g| g.generation = Generation(2),
            |g| g.file = InodeId(1),
            |g| g.index = 3,
            |g| g.len_max = 101,
            |g| g.expires_ms = 5_001,
        ];
        for change in forged {
            let mut g = grant();
            change(&mut g);
            assert!(!g.verify(&a, &mac), "{g:?}");
        }
    }

    #[test]
    fn a_receipt_is_good_for_its_bytes_only() {
        let key = ClusterKey([1; 32]).node_key(NodeId(1));
        let receipt = Receipt::sign(NodeId(1), ChunkId(7), Generation(1), 10, [4; 32], &key);
        assert!(receipt.verify(&key));
        assert!(!Receipt { len: 11, ..receipt.clone() }.verify(&key));
        assert!(!Receipt { sha256: [5; 32], ..receipt.clone() }.verify(&key));
        assert!(!Receipt { node: NodeId(2), ..receipt }.verify(&key));
    }
}
