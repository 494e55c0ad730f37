//! Protocol versions. The variants are the changelog.
//!
//! Version N talks to N-1: a rolling upgrade goes coordinator, datanodes, clients. A field is never added to a
//! message of a released version; a new version brings a new message. Features that need no new bytes are bits in
//! the handshake, never guessed from the version.

use crate::codec::CodecError;

/// What this build calls itself to the other side.
pub(crate) const BUILD: &str = concat!("dfs ", env!("CARGO_PKG_VERSION"));

/// What is said of a message whose frame is whole and which cannot be read. The versions may be the same: builds between
/// two releases differ in their messages, too.
pub(crate) fn unreadable(error: &CodecError) -> String {
    let version = ProtocolVersion::HIGHEST.number();
    format!(
        "a message that {BUILD} (protocol version {version}) cannot read: the other side is of another build ({error})"
    )
}

/// What to do about it.
pub(crate) const UPGRADE: &str =
    "upgrade the older side: the coordinator first, then the datanodes, clients last";

/// A protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum ProtocolVersion {
    /// The first: frames, credits, metadata, chunk, replication, membership, inventory and admin conversations.
    V1 = 1,
}

impl ProtocolVersion {
    /// The oldest this build speaks.
    pub const LOWEST: Self = Self::V1;
    /// The newest this build speaks.
    pub const HIGHEST: Self = Self::V1;

    /// The version with this number, if this build speaks it.
    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::V1),
            _ => None,
        }
    }

    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The highest version in both this build's range and `lowest..=highest`.
    pub fn negotiate(lowest: u16, highest: u16) -> Option<Self> {
        let top = highest.min(Self::HIGHEST.number());
        (lowest.max(Self::LOWEST.number())..=top).rev().find_map(Self::from_number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_is_chosen() {
        assert_eq!(ProtocolVersion::negotiate(0, 9), Some(ProtocolVersion::HIGHEST));
        assert_eq!(ProtocolVersion::negotiate(1, 1), Some(ProtocolVersion::V1));
        assert_eq!(ProtocolVersion::negotiate(2, 9), None);
        assert_eq!(ProtocolVersion::negotiate(9, 2), None);
        assert_eq!(ProtocolVersion::negotiate(0, 0), None);
    }
}
