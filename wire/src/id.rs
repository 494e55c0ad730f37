//! A newtype for each identity, so that a chunk can never be passed for a node.
//!
//! 128-bit ids print as 32 lower-case hexadecimal digits and are time-ordered where their maker says so.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id of 32 hexadecimal digits: {0:?}")]
pub struct ParseIdError(String);

macro_rules! wide_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub u128);

        impl $name {
            /// The big-endian bytes: their order is the ids' order.
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }

            /// The inverse of [`Self::to_bytes`].
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(u128::from_be_bytes(bytes))
            }

            /// Builds an id that sorts by `millis` (48 bits of it), then by `entropy` (the low 80 bits of it).
            pub const fn time_ordered(millis: u64, entropy: u128) -> Self {
                Self(((millis as u128 & 0xffff_ffff_ffff) << 80) | (entropy & ((1 << 80) - 1)))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:032x})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(ParseIdError(text.chars().take(64).collect()));
                }
                u128::from_str_radix(text, 16).map(Self).map_err(|_| ParseIdError(text.to_owned()))
            }
        }
    };
}

macro_rules! narrow_id {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

wide_id!(
    /// One cluster. Made when a coordinator formats its metadata; written on every disk of the cluster.
    ClusterId
);
wide_id!(
    /// One node, for the life of its data directory.
    NodeId
);
wide_id!(
    /// One client process.
    ClientId
);
wide_id!(
    /// One upload session at the coordinator (a metadata session): the bits of the operation that opened it.
    SessionId
);
wide_id!(
    /// One chunk. Time-ordered; given by the coordinator, never reused.
    ChunkId
);
wide_id!(
    /// One mutation as its client sees it: time-ordered by the coordinator's time, which a welcome says. Repeating it returns
    /// the first outcome, for as long as that is remembered.
    OpId
);
wide_id!(
    /// One version of a file's contents: the entity tag that `if-match` compares.
    VersionId
);
wide_id!(
    /// One data key, with which chunks are enciphered. Never reused.
    EncryptionId
);
narrow_id!(
    /// One file or directory. The root directory is 1; 0 is never used.
    InodeId, u64
);
narrow_id!(
    /// Which attempt at a chunk's bytes this is: a second attempt never mixes with the first.
    Generation, u32
);
narrow_id!(
    /// The reign of a coordinator. Grows at each start; a datanode obeys only the highest it has seen.
    Epoch, u64
);
narrow_id!(
    /// One run of a node process. Grows at each start, so that a late message of an earlier run is known.
    Incarnation, u64
);

/// Names one set of bytes: a chunk, and which attempt at it. Ordered by chunk, then generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkKey {
    /// The chunk.
    pub chunk: ChunkId,
    /// Which attempt at its bytes.
    pub generation: Generation,
}

impl fmt::Display for ChunkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.chunk, self.generation)
    }
}

impl OpId {
    /// The coordinator's time when the id was made, as its maker had it.
    pub const fn stamp_ms(self) -> u64 {
        (self.0 >> 80) as u64
    }
}

impl InodeId {
    /// The root directory.
    pub const ROOT: Self = Self(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_and_parse_and_keep_their_order() {
        let a = ChunkId::time_ordered(1_000, u128::MAX);
        let b = ChunkId::time_ordered(1_001, 0);
        assert!(a < b && a.to_bytes() < b.to_bytes());
        assert_eq!(a.to_string().parse::<ChunkId>().unwrap(), a);
        assert_eq!(ChunkId::from_bytes(a.to_bytes()), a);
        for bad in [
            "",
            "12",
            "zz",
            &"0".repeat(33),
            "+0000000000000000000000000000000",
            "é000000000000000000000000000000",
        ] {
            assert!(bad.parse::<NodeId>().is_err(), "{bad:?} parsed");
        }
    }
}
