//! Who a data directory belongs to: a small text that checks itself. Pure; the file is handled by `data_dir.rs`.
//!
//! ```text
//! dfs data directory
//! format 2
//! node 0123456789abcdef0123456789abcdef
//! incarnation 7
//! cluster 0123456789abcdef0123456789abcdef      or "-" until the node has joined one
//! key 64 hexadecimal digits                     or "-" until the coordinator has given one
//! epoch 3                                       the highest reign of a coordinator that the node has obeyed
//! position 40                                   how far it has heard that its metadata had come; only if it has
//! crc 1a2b3c4d                                  CRC32 of all the lines above
//! ```
//! Text, because an operator will look at it when something is wrong. Exactly this form is accepted. A directory of format 1, which
//! differs in nothing but the chunk files that it may hold, is one of format 2 from the first start on: an older program would
//! not know some of its chunks.

use std::fmt;

use dfs_wire::id::{ClusterId, Epoch, Incarnation, NodeId};

/// Version of everything in a data directory: raised when an older program must not touch it any more.
pub const DIRECTORY_FORMAT: u32 = 2;
/// The oldest version that is read.
const OLDEST_FORMAT: u32 = 1;
/// Longest identity file that is read.
pub const IDENTITY_BYTES_MAX: usize = 1024;

const TITLE: &str = "dfs data directory";

/// The identity of a data directory, and so of the node that owns it.
#[derive(Clone, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The node, for the life of the directory.
    pub node: NodeId,
    /// The current run of the node.
    pub incarnation: Incarnation,
    /// The cluster that the node has joined.
    pub cluster: Option<ClusterId>,
    /// The key under which the cluster signs grants for this node, and this node its receipts.
    pub node_key: Option<[u8; 32]>,
    /// The highest reign of a coordinator that it has obeyed: it obeys no lower one, in no later run either.
    pub epoch: Epoch,
    /// The highest commit position that it has heard of in that reign and had to keep.
    pub position: u64,
}

impl NodeIdentity {
    /// A node that has not joined a cluster.
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            incarnation: Incarnation(1),
            cluster: None,
            node_key: None,
            epoch: Epoch(0),
            position: 0,
        }
    }
}

// By hand: a key is not to be printed by an accidental {:?}.
impl fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeIdentity")
            .field("node", &self.node)
            .field("incarnation", &self.incarnation)
            .field("cluster", &self.cluster)
            .field("node_key", &self.node_key.map(|_| "elided"))
            .field("epoch", &self.epoch)
            .field("position", &self.position)
            .finish()
    }
}

/// Why a text is not an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The checksum does not match, or the form is another.
    #[error("the identity file is damaged (its checksum or its form is wrong)")]
    Damaged,
    /// Another version of the program wrote it.
    #[error(
        "the directory has format {0}, this program knows those up to {DIRECTORY_FORMAT}; use the program that wrote it"
    )]
    Format(u32),
}

/// The text of an identity.
pub fn encode(identity: &NodeIdentity) -> String {
    encode_as(DIRECTORY_FORMAT, identity)
}

fn encode_as(format: u32, identity: &NodeIdentity) -> String {
    let cluster = identity.cluster.map_or_else(|| "-".to_owned(), |c| c.to_string());
    let key = identity.node_key.map_or_else(|| "-".to_owned(), |key| to_hex(&key));
    let NodeIdentity { node, incarnation, epoch, .. } = identity;
    let position = match identity.position {
        0 => String::new(),
        position => format!("position {position}\n"),
    };
    let body = format!(
        "{TITLE}\nformat {format}\nnode {node}\nincarnation {incarnation}\ncluster {cluster}\nkey {key}\nepoch {epoch}\n{position}"
    );
    let crc = crc32fast::hash(body.as_bytes());
    format!("{body}crc {crc:08x}\n")
}

/// The identity in a text.
///
/// # Errors
/// [`IdentityError`]; every changed byte is one.
pub fn decode(text: &[u8]) -> Result<NodeIdentity, IdentityError> {
    let text = std::str::from_utf8(text).map_err(|_| IdentityError::Damaged)?;
    let (body, crc) = split_crc(text).ok_or(IdentityError::Damaged)?;
    if crc != format!("{:08x}", crc32fast::hash(body.as_bytes())) {
        return Err(IdentityError::Damaged);
    }
    // The checksum holds: whatever differs from here on was written so by another version.
    let mut lines = body.lines();
    let title = lines.next();
    let format = field(lines.next(), "format").and_then(|v| v.parse().ok()).ok_or(IdentityError::Damaged)?;
    if title != Some(TITLE) || !(OLDEST_FORMAT..=DIRECTORY_FORMAT).contains(&format) {
        return Err(IdentityError::Format(format));
    }
    let identity = fields(lines).ok_or(IdentityError::Damaged)?;
    if encode_as(format, &identity) == text { Ok(identity) } else { Err(IdentityError::Damaged) }
}

/// Splits the text before its last line, "crc ...".
fn split_crc(text: &str) -> Option<(&str, &str)> {
    let at = text.strip_suffix('\n')?.rfind('\n')? + 1;
    let (body, last) = text.split_at_checked(at)?;
    Some((body, last.strip_suffix('\n')?.strip_prefix("crc ")?))
}

fn fields<'a>(mut lines: impl Iterator<Item = &'a str>) -> Option<NodeIdentity> {
    let node = field(lines.next(), "node")?.parse().ok()?;
    let incarnation = Incarnation(field(lines.next(), "incarnation")?.parse().ok()?);
    let cluster = match field(lines.next(), "cluster")? {
        "-" => None,
        id => Some(id.parse().ok()?),
    };
    let node_key = match field(lines.next(), "key")? {
        "-" => None,
        hex => Some(from_hex(hex)?),
    };
    let epoch = Epoch(field(lines.next(), "epoch")?.parse().ok()?);
    let position = match lines.next() {
        None => 0,
        line => field(line, "position")?.parse().ok()?,
    };
    let identity = NodeIdentity { node, incarnation, cluster, node_key, epoch, position };
    lines.next().is_none().then_some(identity)
}

fn field<'a>(line: Option<&'a str>, name: &str) -> Option<&'a str> {
    line?.strip_prefix(name)?.strip_prefix(' ')
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != 32 || !rest.is_empty() {
        return None;
    }
    let mut key = [0; 32];
    for (byte, pair) in key.iter_mut().zip(pairs) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn joined() -> NodeIdentity {
        NodeIdentity {
            node: NodeId(0xabc),
            incarnation: Incarnation(7),
            cluster: Some(ClusterId(0xdef)),
            node_key: Some([0x1f; 32]),
            epoch: Epoch(3),
            position: 40,
        }
    }

    #[test]
    fn golden() {
        let text = encode(&NodeIdentity { cluster: None, node_key: None, position: 0, ..joined() });
        assert_eq!(
            text,
            "dfs data directory\nformat 2\nnode 00000000000000000000000000000abc\nincarnation 7\ncluster -\nkey -\nepoch 3\ncrc 57ff8a8f\n"
        );
    }

    #[test]
    fn one_of_format_1_is_read_and_written_as_the_one_of_now() {
        let old = "dfs data directory\nformat 1\nnode 00000000000000000000000000000abc\nincarnation 7\ncluster -\nkey -\nepoch 3\ncrc 8a6bb6a1\n";
        let read = decode(old.as_bytes()).unwrap();
        assert_eq!(read, NodeIdentity { cluster: None, node_key: None, position: 0, ..joined() });
        assert!(encode(&read).contains("format 2"));
    }

    #[test]
    fn a_newer_directory_is_named_so() {
        let body = "dfs data directory\nformat 3\nsomething else\n";
        let text = format!("{body}crc {:08x}\n", crc32fast::hash(body.as_bytes()));
        assert_eq!(decode(text.as_bytes()), Err(IdentityError::Format(3)));
    }

    #[test]
    fn every_flipped_bit_is_caught() {
        let mut text = encode(&joined()).into_bytes();
        for bit in 0..text.len() * 8 {
            text[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&text).is_err(), "bit {bit}");
            text[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(text.len() <= IDENTITY_BYTES_MAX);
    }

    #[test]
    fn the_key_is_not_printed() {
        assert!(!format!("{:?}", joined()).contains("1f1f"));
        assert!(!format!("{:?}", joined()).contains("31, 31"));
    }

    proptest! {
        #[test]
        fn decode_after_encode_is_the_identity(node: u128, run: u64, cluster: Option<u128>, key: Option<[u8; 32]>, epoch: u64, position in prop_oneof![Just(0), any::<u64>()]) {
            let identity = NodeIdentity {
                node: NodeId(node),
                incarnation: Incarnation(run),
                cluster: cluster.map(ClusterId),
                node_key: key,
                epoch: Epoch(epoch),
                position,
            };
            prop_assert_eq!(decode(encode(&identity).as_bytes()), Ok(identity));
        }

        #[test]
        fn arbitrary_text_never_panics(text: Vec<u8>) {
            prop_assert!(decode(&text).is_err());
        }
    }
}
