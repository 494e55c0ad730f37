//! What clients do besides whole puts and gets: they read parts, they bring their bytes slowly, and they change their minds.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use dfs_client::{GetOptions, PutSource};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::{Person, content, path_of, value_of};
use crate::history::Event;
use crate::sim::trouble::Needs;

/// Bytes that a slow source brings at once at most.
const SIP: usize = 16 * 1024;

/// Brings its bytes a little at a time, so many in so long a pause.
struct Slow {
    bytes: Vec<u8>,
    at: usize,
    pause: Duration,
    waits: Pin<Box<Sleep>>,
}

impl Slow {
    fn new(bytes: Vec<u8>, pause: Duration) -> Self {
        Self { bytes, at: 0, pause, waits: Box::pin(sleep(pause)) }
    }
}

impl AsyncRead for Slow {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.waits.as_mut().poll(cx));
        let end = (self.at + SIP.min(out.remaining())).min(self.bytes.len());
        out.put_slice(&self.bytes[self.at..end]);
        let next = Instant::now() + self.pause * (end - self.at) as u32 / SIP as u32;
        self.at = end;
        self.waits.as_mut().reset(next);
        Poll::Ready(Ok(()))
    }
}

impl Person {
    /// Reads some bytes of a file, wherever they begin and end.
    pub(super) async fn get_part(&self, at: usize) {
        let from = self.below(3_000);
        let range = from..from + 1 + self.below(150_000);
        let call = self.asks(format!("get {range:?} of p{at}"), Needs::Copy);
        let (mut bytes, options) = (vec![], GetOptions::new().range(range.clone()));
        match self.client.get_to_writer(&path_of(at), &mut bytes, options).await {
            Ok(got) => {
                let (size, value) = (got.stat.size, value_of(got.stat.size));
                let right = value.is_some_and(|value| {
                    bytes.len() as u64 == range.end.min(size) - range.start
                        && content(value).first_difference(from, &bytes).is_none()
                });
                if !right {
                    self.ledger.accuse(format!("{}: p{at}: WRONG BYTES in a part of {value:?}", self.host));
                }
                self.note_seen(&call, Event::Get(at, value));
            }
            Err(error) if error.code() == "NotFound" => self.note_seen(&call, Event::Get(at, None)),
            Err(error) => self.note_unseen(&call, &error),
        }
    }

    /// Puts what comes slowly: it takes longer than a lease lasts.
    pub(super) async fn put_slowly(&self, at: usize) {
        let value = self.ledger.fresh();
        let what = format!("put {value} at p{at} slowly");
        let call = self.changes(what, Needs::Places, Event::Put(at, value));
        let bytes = content(value).bytes();
        // One pause before the first bytes, and others after those that come.
        let pause = Duration::from_secs(25 + self.below(20)) * SIP as u32 / (SIP + bytes.len()) as u32;
        let source = PutSource::reader(Slow::new(bytes, pause));
        let result = self.client.put(source, &path_of(at), Self::put_options()).await;
        self.prove(&call, (at, value), &result);
        self.note(&call, result.map(drop), Event::Put(at, value), None);
    }

    /// Begins to put something, and does not wait for the end.
    pub(super) async fn abandon(&self, at: usize) {
        let value = self.ledger.fresh();
        let patience = Duration::from_micros(self.below(60_000));
        let what = format!("put {value} at p{at} for {patience:?}");
        let call = self.changes(what, Needs::Places, Event::Put(at, value));
        let (source, path) = (PutSource::from(content(value).bytes()), path_of(at));
        let put = self.client.put(source, &path, Self::put_options());
        match timeout(patience, put).await {
            Ok(result) => {
                self.prove(&call, (at, value), &result);
                self.note(&call, result.map(drop), Event::Put(at, value), None);
            }
            Err(_) => {
                self.say(format!("put {value} at p{at}: given up"));
                self.forget_call();
                self.ledger.recorder.unknown(self.number(), call.called, Event::Put(at, value));
            }
        }
    }
}
