//! Stable error codes: what the wire, the logs and the exit codes agree on.
//!
//! A code's number and meaning never change; new ones are appended. A [`Status`] carries the code, a sentence for
//! a person, where it happened, and what to do next. Serialized Rust errors never travel.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{ChunkId, NodeId};
use crate::limits::TEXT_BYTES_MAX;

macro_rules! status_codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $retry:literal;)+) => {
        /// A stable error code. On the wire it is its number, so that an old peer can carry a new one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum StatusCode {
            $($(#[doc = $doc])+ $name,)+
            /// A code that this build does not know.
            Unknown(u16),
        }

        impl StatusCode {
            /// Every code this build knows.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The number on the wire.
            pub const fn number(self) -> u16 {
                match self { $(Self::$name => $number,)+ Self::Unknown(n) => n }
            }

            /// The inverse of [`Self::number`]; total.
            pub const fn from_number(number: u16) -> Self {
                match number { $($number => Self::$name,)+ n => Self::Unknown(n) }
            }

            /// The name in documents, logs and JSON.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ Self::Unknown(_) => "Unknown" }
            }

            /// What the code means, in a sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+),)+ Self::Unknown(_) => "A code of a newer version." }
            }

            /// Whether the same request may succeed later without anybody changing it.
            pub const fn retryable(self) -> bool {
                match self { $(Self::$name => $retry,)+ Self::Unknown(_) => false }
            }
        }
    };
}

status_codes! {
    /// The path, version, session or chunk does not exist.
    NotFound = 1, false;
    /// The path exists already.
    AlreadyExists = 2, false;
    /// The condition of `if-absent` or `if-match` does not hold.
    PreconditionFailed = 3, false;
    /// The request makes no sense: its message says which part.
    InvalidArgument = 4, false;
    /// The path is not valid.
    InvalidPath = 5, false;
    /// The path is a directory where a file is needed.
    IsADirectory = 6, false;
    /// A part of the path is a file where a directory is needed.
    NotADirectory = 7, false;
    /// The directory is not empty and the request was not recursive.
    DirectoryNotEmpty = 8, false;
    /// The grant or receipt is missing, forged, expired, or for another chunk, node or method.
    PermissionDenied = 9, false;
    /// The peer serves another cluster.
    WrongCluster = 10, false;
    /// The request carries an older coordinator epoch than the node has seen.
    StaleEpoch = 11, true;
    /// No common protocol version, or a message that only another build can read.
    VersionMismatch = 12, false;
    /// The node cannot serve now (starting, draining, without its metadata); nothing was done.
    Unavailable = 13, true;
    /// A bound is reached (streams, memory, queue); nothing was done, try again after a pause.
    Busy = 14, true;
    /// The deadline passed. Whether something was done is said by the request's documentation.
    DeadlineExceeded = 15, true;
    /// Fewer usable datanodes than the write needs.
    NoWriteQuorum = 16, true;
    /// No datanode, or this one, has room for the bytes.
    NoSpace = 17, false;
    /// Stored bytes do not match their checksum.
    Corrupt = 18, false;
    /// Sent bytes do not match their checksum or length.
    ChecksumMismatch = 19, true;
    /// No replica of a chunk could be reached; the message names the nodes that hold it.
    ReplicasUnreachable = 20, true;
    /// The version was replaced or deleted and its read lease has ended.
    VersionGone = 21, false;
    /// The upload session is not open (never was, was committed, aborted, or its lease ended).
    SessionClosed = 22, false;
    /// The operation id was used before for a different request.
    OpIdReuse = 23, false;
    /// The disk failed or is read-only.
    DiskFailed = 24, true;
    /// The replica fell behind the straggler limit and was cut.
    Straggler = 25, true;
    /// The peer broke the protocol; the connection is closed.
    ProtocolViolation = 26, false;
    /// The peer sent more than it was granted; the connection is closed.
    FlowControl = 27, false;
    /// This build does not know the request.
    Unsupported = 28, false;
    /// The other side cancelled.
    Cancelled = 29, false;
    /// The chunk with this generation is stored already; the receipt is returned again.
    ChunkExists = 30, false;
    /// The connection was lost before the answer came; the outcome may be unknown.
    ConnectionLost = 31, true;
    /// A bug or an unexpected fault; the log of the named node has more.
    Internal = 32, false;
    /// The mutation was sent but its outcome could not be learned; repeat it with the same operation id.
    OutcomeUnknown = 33, false;
    /// The node is not registered with the coordinator.
    NotRegistered = 34, true;
    /// The coordinator does not take the node in: its message says why, and what an operator has to do.
    NotAdmitted = 35, true;
    /// The operation id is older than the outcomes that are remembered, or ahead of the coordinator's time: nothing was done now; whether it was done before cannot be told.
    StaleOperation = 36, false;
    /// Whoever asks has not proved who he is.
    Unauthenticated = 37, false;
}

impl Serialize for StatusCode {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u16(self.number())
    }
}

impl<'de> Deserialize<'de> for StatusCode {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        u16::deserialize(d).map(Self::from_number)
    }
}

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(n) => write!(f, "Unknown({n})"),
            known => f.write_str(known.name()),
        }
    }
}

/// A failure, as it travels and as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// What kind of failure.
    pub code: StatusCode,
    /// What happened, to whom, and why: lower case, no full stop, causes after colons.
    pub message: String,
    /// What to do next, or empty.
    pub hint: String,
    /// The node where it happened.
    pub node: Option<NodeId>,
    /// The chunk it is about.
    pub chunk: Option<ChunkId>,
    /// How long to wait before a retry, if the side that refused knows.
    pub retry_after_ms: Option<u32>,
}

impl Status {
    /// A failure with a code and a sentence; over-long text is cut at [`TEXT_BYTES_MAX`].
    pub fn new(code: StatusCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: cut(message.into()),
            hint: String::new(),
            node: None,
            chunk: None,
            retry_after_ms: None,
        }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = cut(hint.into());
        self
    }

    /// Adds the node where it happened, unless one is named already (the innermost knows best).
    #[must_use]
    pub fn at_node(mut self, node: NodeId) -> Self {
        self.node.get_or_insert(node);
        self
    }

    /// Adds the chunk it is about.
    #[must_use]
    pub fn about_chunk(mut self, chunk: ChunkId) -> Self {
        self.chunk.get_or_insert(chunk);
        self
    }

    /// Adds how long to wait before a retry.
    #[must_use]
    pub fn retry_after_ms(mut self, millis: u32) -> Self {
        self.retry_after_ms = Some(millis);
        self
    }

    /// Whether the same request may succeed later without anybody changing it.
    pub fn retryable(&self) -> bool {
        self.code.retryable()
    }
}

fn cut(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        let end = (0..=TEXT_BYTES_MAX).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        if let Some(chunk) = self.chunk {
            write!(f, " (chunk {chunk})")?;
        }
        if let Some(node) = self.node {
            write!(f, " (node {node})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_survive_the_round_trip() {
        for (i, code) in StatusCode::ALL.iter().enumerate() {
            assert_eq!(code.number() as usize, i + 1, "{code} moved: numbers are for ever");
            assert_eq!(StatusCode::from_number(code.number()), *code);
        }
        assert_eq!(StatusCode::from_number(9_999), StatusCode::Unknown(9_999));
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let status = Status::new(StatusCode::Internal, "é".repeat(TEXT_BYTES_MAX));
        assert!(status.message.len() <= TEXT_BYTES_MAX);
    }
}
