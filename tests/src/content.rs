//! File contents as a function of a key, a version and an offset: any byte can be checked without keeping a copy, and no
//! two versions agree by chance.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::rng::mix;

/// The contents of one version of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    key: u64,
    len: u64,
}

impl Content {
    /// The contents of `len` bytes for a name and a version.
    pub fn new(name: &str, version: u64, len: u64) -> Self {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| mix(hash ^ u64::from(byte)));
        Self { key: mix(hash ^ mix(version)), len }
    }

    /// Bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes from `offset` on that fit into `out`; fewer at the end.
    pub fn fill(&self, offset: u64, out: &mut [u8]) -> usize {
        let len = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
        let mut at = 0;
        while at < len {
            let position = offset + at as u64;
            let word = mix(self.key.wrapping_add(position / 8)).to_le_bytes();
            let from = (position % 8) as usize;
            let part = (8 - from).min(len - at);
            out[at..at + part].copy_from_slice(&word[from..from + part]);
            at += part;
        }
        len
    }

    /// All of it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.len).expect("it fits into memory")];
        self.fill(0, &mut bytes);
        bytes
    }

    /// The first place where `found`, read from `offset` on, is not what it should be. Bytes past the end differ.
    pub fn first_difference(&self, offset: u64, found: &[u8]) -> Option<u64> {
        let mut expected = vec![0; found.len()];
        let len = self.fill(offset, &mut expected);
        let differs = found.iter().zip(&expected).take(len).position(|(a, b)| a != b);
        differs.or((len < found.len()).then_some(len)).map(|at| offset + at as u64)
    }

    /// Fails unless `found` is exactly all of it.
    #[track_caller]
    pub fn expect(&self, what: &str, found: &[u8]) {
        assert_eq!(found.len() as u64, self.len, "{what}: length");
        assert_eq!(self.first_difference(0, found), None, "{what}: first wrong byte");
    }

    /// Reads it, calling `hook` once when `at` bytes have been read.
    pub fn reader(self, at: u64, hook: impl FnOnce() + Send + 'static) -> Hooked {
        Hooked { content: self, offset: 0, at, hook: Some(Box::new(hook)), wrong: None }
    }

    /// Checks what is written against it, calling `hook` once when `at` bytes have come.
    pub fn checker(self, at: u64, hook: impl FnOnce() + Send + 'static) -> Hooked {
        self.reader(at, hook)
    }
}

/// A stream of known contents with something that happens in the middle: to be read, or to be written and checked.
pub struct Hooked {
    content: Content,
    offset: u64,
    at: u64,
    hook: Option<Box<dyn FnOnce() + Send>>,
    wrong: Option<u64>,
}

impl Hooked {
    /// Bytes that went through, and the first that was wrong.
    pub fn outcome(&self) -> (u64, Option<u64>) {
        (self.offset, self.wrong)
    }

    /// Fails unless exactly all of the contents went through, and the hook was called.
    #[track_caller]
    pub fn expect_whole(&self) {
        assert_eq!(self.outcome(), (self.content.len, None), "bytes, and the first wrong one");
        assert!(self.hook.is_none(), "nothing happened in the middle");
    }

    fn advance(&mut self, bytes: u64) {
        self.offset += bytes;
        if self.offset >= self.at
            && let Some(hook) = self.hook.take()
        {
            hook();
        }
    }
}

impl AsyncRead for Hooked {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // In pieces, so that the hook is called near its place.
        let room = buf.remaining().min(64 * 1024);
        let slice = buf.initialize_unfilled_to(room);
        let len = this.content.fill(this.offset, slice);
        buf.advance(len);
        this.advance(len as u64);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Hooked {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.wrong.is_none() {
            this.wrong = this.content.first_difference(this.offset, bytes);
        }
        this.advance(bytes.len() as u64);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_missing_or_foreign_byte_is_found_wherever_the_check_begins() {
        let content = Content::new("/a", 1, 1_000);
        let bytes = content.bytes();
        content.expect("itself", &bytes);
        for offset in [0, 1, 7, 8, 500, 999] {
            assert_eq!(content.first_difference(offset as u64, &bytes[offset..]), None);
            let mut bad = bytes[offset..].to_vec();
            *bad.last_mut().expect("a byte") ^= 1;
            assert_eq!(content.first_difference(offset as u64, &bad), Some(999));
        }
        assert_eq!(content.first_difference(999, &[bytes[999], 0]), Some(1_000), "past the end");
        assert!(Content::new("/a", 2, 1_000).first_difference(0, &bytes).is_some(), "another version");
        assert!(Content::new("/b", 1, 1_000).first_difference(0, &bytes).is_some(), "another file");
    }
}
