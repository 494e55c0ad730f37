//! The other end of a link, written by hand: it can break every rule.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::frame::{Header, WindowHead};
use crate::limits::HEADER_BYTES;

/// A frame as it was read.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) stream: u32,
    pub(super) head: Vec<u8>,
}

impl Frame {
    pub(super) fn status(&self) -> Status {
        codec::decode(&self.head).unwrap()
    }

    pub(super) fn limit(&self) -> u64 {
        codec::decode::<WindowHead>(&self.head).unwrap().limit
    }
}

/// Speaks frames, right or wrong ones.
pub(super) struct RawPeer {
    io: DuplexStream,
    sent: u32,
    read: u32,
}

impl RawPeer {
    /// A peer and the link it talks to, whose role is `role`.
    pub(super) fn new(role: Role, slabs: usize, pipe_bytes: usize) -> (Self, Link, SlabBudget) {
        let (io, other) = tokio::io::duplex(pipe_bytes);
        let (r, w) = tokio::io::split(other);
        let memory = budget(slabs);
        let params = LinkParams { role, budget: memory.clone(), send_credit: CREDIT, recv_credit: CREDIT };
        let (link, driver) = Link::new(r, w, params);
        tokio::spawn(driver.reader);
        tokio::spawn(driver.writer);
        (Self { io, sent: 0, read: 0 }, link, memory)
    }

    /// The bytes of the next frame, in order and with right checksums.
    pub(super) fn bytes(&mut self, kind: u8, stream: u32, head: &[u8], tail: &[u8]) -> Vec<u8> {
        let header = Header {
            kind,
            flags: 0,
            head_len: head.len() as u16,
            tail_len: tail.len() as u32,
            stream,
            tail_crc: crc32fast::hash(tail),
            head_crc: 0,
            sequence: self.sent,
        };
        self.sent = self.sent.wrapping_add(1);
        [&header.seal(head)[..], head, tail].concat()
    }

    pub(super) async fn raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.io.write_all(bytes).await
    }

    pub(super) async fn send<T: serde::Serialize>(
        &mut self,
        kind: FrameKind,
        stream: u32,
        head: &T,
        tail: &[u8],
    ) {
        let bytes = self.bytes(kind as u8, stream, &codec::encode(head).unwrap(), tail);
        self.raw(&bytes).await.unwrap();
    }

    pub(super) async fn data(&mut self, stream: u32, len: usize) {
        let bytes = self.bytes(FrameKind::Data as u8, stream, &[], &vec![7; len]);
        self.raw(&bytes).await.unwrap();
    }

    /// The next frame of the link, which must be in order and whole.
    pub(super) async fn next(&mut self) -> Frame {
        let mut bytes = [0; HEADER_BYTES];
        within(self.io.read_exact(&mut bytes)).await.unwrap();
        let header = Header::parse(&bytes, HEAD_BYTES_MAX).unwrap();
        let mut head = vec![0; header.head_len.into()];
        let mut tail = vec![0; header.tail_len as usize];
        within(self.io.read_exact(&mut head)).await.unwrap();
        within(self.io.read_exact(&mut tail)).await.unwrap();
        header.verify_head(&head).unwrap();
        assert_eq!((header.sequence, header.tail_crc), (self.read, crc32fast::hash(&tail)));
        self.read += 1;
        Frame { kind: header.kind, stream: header.stream, head }
    }

    /// Reads on to the frame of this kind.
    pub(super) async fn until(&mut self, kind: FrameKind) -> Frame {
        loop {
            let frame = self.next().await;
            if frame.kind == kind as u8 {
                return frame;
            }
        }
    }

    /// The link must close with `code`, and say so.
    pub(super) async fn refused(mut self, link: &Link, code: StatusCode) {
        assert_eq!(self.until(FrameKind::Error).await.status().code, code);
        within(link.closed()).await;
        assert_eq!(link.status().unwrap().code, code);
        let mut rest = vec![];
        assert_eq!(within(self.io.read_to_end(&mut rest)).await.unwrap(), 0, "the connection is closed");
    }
}
