//! The frame: 24 fixed bytes, a bincode head, a raw tail.
//!
//! ```text
//!  0        1        2                 4                                   8
//! +--------+--------+-----------------+-----------------------------------+
//! | kind   | flags  | head length u16 | tail length u32                   |
//! +--------+--------+-----------------+-----------------------------------+
//! | stream u32                        | CRC32 of the tail u32             |
//! +-----------------------------------+-----------------------------------+
//! | CRC32 of header (without this     | sequence number u32               |
//! | field) and head                   |                                   |
//! +-----------------------------------+-----------------------------------+
//! | head: head length bytes, bincode                                      |
//! | tail: tail length bytes, raw                                          |
//! +-----------------------------------------------------------------------+
//! ```
//!
//! All integers are little-endian. Each direction numbers its frames from 0, wrapping; a gap means a lost or
//! replayed frame and closes the connection. Lengths are checked against [`crate::limits`] before anything is
//! allocated. A frame of an unknown kind is skipped (its lengths are known) and answered by [`FrameKind::Error`].

use bytes::Buf;

use crate::limits::{DATA_FRAME_BYTES, HEAD_BYTES_MAX, HEADER_BYTES, INLINE_TAIL_BYTES_MAX};

/// What a frame is. Numbers never change; new kinds are appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// Connector's first frame: [`crate::handshake::Hello`].
    Hello = 1,
    /// Acceptor's yes: [`crate::handshake::Welcome`].
    Welcome = 2,
    /// Acceptor's no: [`crate::status::Status`].
    Reject = 3,
    /// Opens a stream: [`crate::message::RequestHead`], and a tail of up to 64 KiB.
    Request = 4,
    /// Ends a stream: [`crate::message::ResponseHead`], and a tail of up to 64 KiB.
    Response = 5,
    /// Payload; no head. Spends credit.
    Data = 6,
    /// The sender has sent all its data: [`crate::message::EndHead`].
    End = 7,
    /// Credit: [`WindowHead`]. Stream 0 = the connection.
    Window = 8,
    /// Gives a stream up: [`crate::status::Status`].
    Reset = 9,
    /// Are you there? [`PingHead`].
    Ping = 10,
    /// Yes: the same [`PingHead`].
    Pong = 11,
    /// No new streams, please; open ones go on: [`crate::status::Status`].
    Goaway = 12,
    /// Something is wrong with the connection or a frame of it: [`crate::status::Status`].
    Error = 13,
}

impl FrameKind {
    /// Every kind of this version.
    pub const ALL: [Self; 13] = [
        Self::Hello,
        Self::Welcome,
        Self::Reject,
        Self::Request,
        Self::Response,
        Self::Data,
        Self::End,
        Self::Window,
        Self::Reset,
        Self::Ping,
        Self::Pong,
        Self::Goaway,
        Self::Error,
    ];

    /// The kind with this number, if this version has one.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|k| *k as u8 == number)
    }

    /// Longest tail of such a frame.
    pub const fn tail_max(self) -> usize {
        match self {
            Self::Data => DATA_FRAME_BYTES,
            Self::Request | Self::Response => INLINE_TAIL_BYTES_MAX,
            _ => 0,
        }
    }
}

/// The head of a [`FrameKind::Window`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WindowHead {
    /// Data bytes that may be sent since the stream (or connection) began: absolute, so that a duplicate or an old
    /// frame does no harm.
    pub limit: u64,
}

/// The head of a [`FrameKind::Ping`] and of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PingHead {
    /// Any number; it comes back.
    pub nonce: u64,
}

/// Why a frame is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The head is longer than allowed here.
    #[error("frame head of {len} bytes is longer than the limit of {max}")]
    HeadTooLong {
        /// Bytes that the header announces.
        len: usize,
        /// Most bytes allowed here.
        max: usize,
    },
    /// The tail is longer than its kind allows.
    #[error("frame tail of {len} bytes is longer than the limit of {max}")]
    TailTooLong {
        /// Bytes that the header announces.
        len: usize,
        /// Most bytes that its kind allows.
        max: usize,
    },
    /// Header or head were damaged on the way.
    #[error("frame header checksum mismatch")]
    HeadChecksum,
    /// The tail was damaged on the way.
    #[error("frame payload checksum mismatch")]
    TailChecksum,
    /// A frame is missing or came twice.
    #[error("frame number {found} where {expected} was due")]
    Sequence {
        /// The number due.
        expected: u32,
        /// The number found.
        found: u32,
    },
}

/// A decoded header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Number of the kind: see [`FrameKind`].
    pub kind: u8,
    /// Reserved; 0 in this version, ignored on receipt.
    pub flags: u8,
    /// Bytes of the head.
    pub head_len: u16,
    /// Bytes of the tail.
    pub tail_len: u32,
    /// The stream; 0 = the connection.
    pub stream: u32,
    /// CRC32 of the tail.
    pub tail_crc: u32,
    /// CRC32 of the rest of the header and the head.
    pub head_crc: u32,
    /// Number of the frame in its direction.
    pub sequence: u32,
}

impl Header {
    /// The bytes of a header for `head`, with its checksum filled in.
    pub fn seal(mut self, head: &[u8]) -> [u8; HEADER_BYTES] {
        self.head_crc = self.checksum(head);
        self.to_bytes()
    }

    /// Whether header and head arrived whole.
    pub fn verify_head(&self, head: &[u8]) -> Result<(), FrameError> {
        if self.checksum(head) == self.head_crc { Ok(()) } else { Err(FrameError::HeadChecksum) }
    }

    fn checksum(&self, head: &[u8]) -> u32 {
        let bytes = Self { head_crc: 0, ..*self }.to_bytes();
        let mut crc = crc32fast::Hasher::new();
        crc.update(&bytes);
        crc.update(head);
        crc.finalize()
    }

    fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let Self { kind, flags, head_len, tail_len, stream, tail_crc, head_crc, sequence } = self;
        let mut out = [0; HEADER_BYTES];
        let fields: [&[u8]; 8] = [
            &[kind],
            &[flags],
            &head_len.to_le_bytes(),
            &tail_len.to_le_bytes(),
            &stream.to_le_bytes(),
            &tail_crc.to_le_bytes(),
            &head_crc.to_le_bytes(),
            &sequence.to_le_bytes(),
        ];
        out.iter_mut().zip(fields.into_iter().flatten()).for_each(|(o, b)| *o = *b);
        out
    }

    /// Reads the fields and checks the lengths: nothing has been allocated for them yet.
    ///
    /// # Errors
    /// If the head is longer than `head_max` or the tail longer than its kind allows (a data frame's limit for an
    /// unknown kind, so that it can be skipped).
    pub fn parse(bytes: &[u8; HEADER_BYTES], head_max: usize) -> Result<Self, FrameError> {
        let mut fields = bytes.as_slice();
        let header = Self {
            kind: fields.get_u8(),
            flags: fields.get_u8(),
            head_len: fields.get_u16_le(),
            tail_len: fields.get_u32_le(),
            stream: fields.get_u32_le(),
            tail_crc: fields.get_u32_le(),
            head_crc: fields.get_u32_le(),
            sequence: fields.get_u32_le(),
        };
        let head_max = head_max.min(HEAD_BYTES_MAX);
        if usize::from(header.head_len) > head_max {
            return Err(FrameError::HeadTooLong { len: header.head_len.into(), max: head_max });
        }
        let tail_max = FrameKind::from_number(header.kind).map_or(DATA_FRAME_BYTES, FrameKind::tail_max);
        if header.tail_len as usize > tail_max {
            return Err(FrameError::TailTooLong { len: header.tail_len as usize, max: tail_max });
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(kind: FrameKind, tail_len: u32) -> Header {
        Header {
            kind: kind as u8,
            flags: 0,
            head_len: 3,
            tail_len,
            stream: 7,
            tail_crc: 9,
            head_crc: 0,
            sequence: 11,
        }
    }

    #[test]
    fn any_flipped_bit_of_header_or_head_is_caught() {
        let sealed = header(FrameKind::Data, 5).seal(b"abc");
        assert!(Header::parse(&sealed, 4096).unwrap().verify_head(b"abc").is_ok());
        for bit in 0..(HEADER_BYTES + 3) * 8 {
            let mut bytes = [&sealed[..], b"abc"].concat();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (front, head) = bytes.split_at(HEADER_BYTES);
            let caught = match Header::parse(front.try_into().unwrap(), 4096) {
                Err(_) => true,
                Ok(h) => h.verify_head(head).is_err(),
            };
            assert!(caught, "bit {bit} flipped unnoticed");
        }
    }

    #[test]
    fn lengths_are_bounded_by_kind() {
        for kind in FrameKind::ALL {
            let max = kind.tail_max() as u32;
            assert!(Header::parse(&header(kind, max).seal(b"abc"), 4096).is_ok());
            let over = Header::parse(&header(kind, max + 1).seal(b"abc"), 4096);
            assert!(matches!(over, Err(FrameError::TailTooLong { .. })), "{kind:?}");
        }
        assert!(matches!(
            Header::parse(&header(FrameKind::Hello, 0).seal(b"abc"), 2),
            Err(FrameError::HeadTooLong { .. })
        ));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: [u8; HEADER_BYTES]) {
            if let Ok(h) = Header::parse(&bytes, HEAD_BYTES_MAX) {
                prop_assert_eq!(h.to_bytes(), bytes);
            }
        }
    }
}
