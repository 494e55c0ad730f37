//! Two links over an in-memory pipe.

use std::time::Duration;

use sha2::{Digest, Sha256};

mod hostile;
mod opening;
mod peer;

use super::*;
use crate::id::OpId;
use crate::limits::DATA_FRAME_BYTES;
use crate::message::admin::{AdminRequest, AdminResponse};
use crate::message::{EndHead, ResponseHead};
use crate::slab::SlabPool;

const CREDIT: u64 = 1 << 20;

fn budget(slabs: usize) -> SlabBudget {
    SlabBudget::new(SlabPool::new(slabs), slabs)
}

fn pair(slabs: usize) -> (Link, Link, SlabBudget) {
    let (a, b) = tokio::io::duplex(64 * 1024);
    let server_budget = budget(slabs);
    let make = |io, role, budget: SlabBudget| {
        let (r, w) = tokio::io::split(io);
        let (link, driver) =
            Link::new(r, w, LinkParams { role, budget, send_credit: CREDIT, recv_credit: CREDIT });
        tokio::spawn(driver.reader);
        tokio::spawn(driver.writer);
        link
    };
    (make(a, Role::Connector, budget(8)), make(b, Role::Acceptor, server_budget.clone()), server_budget)
}

fn ask() -> RequestHead {
    RequestHead { op: OpId(1), deadline_ms: 0, trace: None, body: Request::Admin(AdminRequest::NodeInfo) }
}

fn answer() -> ResponseHead {
    Ok(Response::Admin(AdminResponse::Chaos(7)))
}

fn frame(fill: u8, len: usize) -> DataFrame {
    DataFrame::new(Bytes::from(vec![fill; len]))
}

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("it hangs")
}

#[tokio::test]
async fn a_request_is_answered_with_both_payloads() {
    let (client, server, _) = pair(4);
    let stream = client.open(&ask(), Bytes::from_static(b"ping")).unwrap();
    let incoming = within(server.next_request()).await.unwrap();
    assert_eq!((&incoming.tail[..], incoming.head), (&b"ping"[..], ask()));
    incoming.stream.respond(answer(), Bytes::from_static(b"pong")).await.unwrap();
    match within(stream.recv()).await.unwrap() {
        Event::Response(response, tail) => assert_eq!((Ok(response), &tail[..]), (answer(), &b"pong"[..])),
        other => panic!("{other:?}"),
    }
    drop(stream);
    assert_eq!(client.streams(), 0);
}

#[tokio::test]
async fn an_upload_moves_under_credit_and_gives_it_back() {
    let (client, server, budget) = pair(4);
    let frames = 50;
    let upload = tokio::spawn(async move {
        let stream = client.open(&ask(), Bytes::new()).unwrap();
        let mut sha = Sha256::new();
        for i in 0..frames {
            let f = frame(i as u8, DATA_FRAME_BYTES);
            sha.update(&f.bytes);
            stream.send(f).await.unwrap();
        }
        let len = (frames * DATA_FRAME_BYTES) as u64;
        stream.end(EndHead { len, sha256: sha.finalize().into(), facts: Box::default() }).await.unwrap();
        matches!(stream.recv().await, Ok(Event::Response(..)))
    });
    let incoming = within(server.next_request()).await.unwrap();
    incoming.stream.grant(budget.try_reserve(2).unwrap());
    let (mut sha, mut most) = (Sha256::new(), 0);
    loop {
        match within(incoming.stream.recv()).await.unwrap() {
            Event::Data(f) => {
                most = most.max(budget.pool().in_use());
                sha.update(&f.bytes);
                assert_eq!(f.block_crcs().len(), 4);
            }
            Event::End(end) => {
                assert_eq!(<[u8; 32]>::from(sha.finalize()), end.sha256);
                break;
            }
            Event::Response(..) => panic!("an acceptor gets no response"),
        }
    }
    assert!(most <= 2, "{most} slabs were in use where 2 were reserved");
    incoming.stream.respond(answer(), Bytes::new()).await.unwrap();
    assert_eq!(budget.available(), 4, "an answered stream needs no memory, though its handle lives");
    assert!(within(incoming.stream.recv()).await.is_err());
    assert!(within(upload).await.unwrap());
    assert_eq!((budget.available(), budget.pool().in_use()), (4, 0));
}

#[tokio::test]
async fn held_bytes_hold_their_reservation_and_stop_the_sender() {
    let (client, server, budget) = pair(2);
    let stream = Arc::new(client.open(&ask(), Bytes::new()).unwrap());
    let sender = stream.clone();
    let task = tokio::spawn(async move {
        for _ in 0..STREAM_FRAMES {
            sender.send(frame(1, DATA_FRAME_BYTES)).await.unwrap();
        }
    });
    const STREAM_FRAMES: usize = crate::limits::STREAM_QUEUE_MAX + 3;
    let incoming = within(server.next_request()).await.unwrap();
    incoming.stream.grant(budget.try_reserve(1).unwrap());
    let Event::Data(held) = within(incoming.stream.recv()).await.unwrap() else { panic!("data first") };
    let next = tokio::time::timeout(Duration::from_millis(50), incoming.stream.recv()).await;
    assert!(next.is_err(), "a frame came though its slab is in use");
    drop(incoming);
    assert_eq!(budget.available(), 1, "the slab in use keeps its permit after the stream is gone");
    drop(held);
    assert_eq!(budget.available(), 2);
    assert_eq!(within(stream.recv()).await.unwrap_err().code, StatusCode::Cancelled);
    assert!(within(task).await.is_err(), "the sender was told");
}

#[tokio::test]
async fn an_early_answer_ends_the_sending() {
    let (client, server, budget) = pair(4);
    let stream = client.open(&ask(), Bytes::new()).unwrap();
    let incoming = within(server.next_request()).await.unwrap();
    incoming.stream.grant(budget.try_reserve(1).unwrap());
    incoming.stream.respond(Err(Status::new(StatusCode::NoSpace, "full")), Bytes::new()).await.unwrap();
    let sending = async { while stream.send(frame(0, DATA_FRAME_BYTES)).await.is_ok() {} };
    within(sending).await;
    assert_eq!(within(stream.recv()).await.unwrap_err().code, StatusCode::NoSpace);
    // The connection lives on.
    let again = client.open(&ask(), Bytes::new()).unwrap();
    within(server.next_request()).await.unwrap().stream.respond(answer(), Bytes::new()).await.unwrap();
    assert!(matches!(within(again.recv()).await, Ok(Event::Response(..))));
}

#[tokio::test]
async fn a_failure_overtakes_unsent_data_and_ends_the_wait_of_its_sender() {
    let (client, server, _) = pair(4);
    let stream = client.open(&ask(), Bytes::new()).unwrap();
    let answering = Arc::new(within(server.next_request()).await.unwrap().stream);
    let sender = answering.clone();
    let sending = tokio::spawn(async move { while sender.send(frame(0, DATA_FRAME_BYTES)).await.is_ok() {} });
    while answering.queued() < crate::limits::STREAM_QUEUE_MAX {
        tokio::task::yield_now().await;
    }
    tokio::task::yield_now().await;
    answering.respond(Err(Status::new(StatusCode::Corrupt, "bad block")), Bytes::new()).await.unwrap();
    within(sending).await.unwrap();
    assert_eq!(within(stream.recv()).await.unwrap_err().code, StatusCode::Corrupt, "no credit was needed");
}

#[tokio::test]
async fn a_lost_connection_ends_every_wait() {
    let (client, server, _) = pair(4);
    let stream = client.open(&ask(), Bytes::new()).unwrap();
    let incoming = within(server.next_request()).await.unwrap();
    server.close(Status::new(StatusCode::Unavailable, "stopping"));
    let status = within(stream.recv()).await.unwrap_err();
    assert_eq!(status.code, StatusCode::ConnectionLost, "the request was sent");
    assert!(status.message.contains("stopping"), "the reason travelled: {status}");
    assert!(within(incoming.stream.recv()).await.is_err());
    assert!(within(server.next_request()).await.is_none());
    assert!(client.open(&ask(), Bytes::new()).is_err());
}

#[tokio::test]
async fn silence_is_noticed() {
    let (a, _silent) = tokio::io::duplex(1 << 16);
    let (r, w) = tokio::io::split(a);
    let params =
        LinkParams { role: Role::Connector, budget: budget(1), send_credit: CREDIT, recv_credit: CREDIT };
    let (link, driver) = Link::new(r, w, params);
    tokio::spawn(driver.reader);
    tokio::spawn(driver.writer);
    let seen: Vec<_> = (0..4).map(|_| link.tick()).collect();
    assert_eq!(seen, [Liveness::Alive, Liveness::Waiting, Liveness::Waiting, Liveness::Dead]);
    within(link.closed()).await;
}

#[tokio::test]
async fn a_live_peer_answers_pings() {
    let (client, _server, _) = pair(1);
    for _ in 0..10 {
        assert_ne!(client.tick(), Liveness::Dead);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Carries bytes at `rate` a second, as a line does that is slower than everything around it.
async fn slow_line(
    mut from: tokio::io::ReadHalf<tokio::io::DuplexStream>,
    mut to: tokio::io::WriteHalf<tokio::io::DuplexStream>,
    rate: usize,
) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut bytes = vec![0; rate / 10];
    while let Ok(len @ 1..) = from.read(&mut bytes).await {
        tokio::time::sleep(Duration::from_secs_f64(len as f64 / rate as f64)).await;
        if to.write_all(&bytes[..len]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_line_is_not_a_dead_peer() {
    // A frame takes 26 s, and the buffers on the way hold what takes 50 s: no ping comes through in time.
    const RATE: usize = 10_000;
    let memory = budget(8);
    let make = |role| {
        let (outer, inner) = tokio::io::duplex(512 * 1024);
        let (r, w) = tokio::io::split(inner);
        let params = LinkParams { role, budget: memory.clone(), send_credit: CREDIT, recv_credit: CREDIT };
        let (link, driver) = Link::new(r, w, params);
        tokio::spawn(driver.reader);
        tokio::spawn(driver.writer);
        (link, tokio::io::split(outer))
    };
    let (client, (from_client, to_client)) = make(Role::Connector);
    let (server, (from_server, to_server)) = make(Role::Acceptor);
    tokio::spawn(slow_line(from_client, to_server, RATE));
    tokio::spawn(slow_line(from_server, to_client, RATE));
    for link in [client.clone(), server.clone()] {
        tokio::spawn(async move {
            while !link.is_closed() {
                tokio::time::sleep(Duration::from_secs(3)).await;
                link.tick();
            }
        });
    }
    let stream = client.open(&ask(), Bytes::new()).unwrap();
    let incoming = server.next_request().await.unwrap();
    incoming.stream.grant(memory.try_reserve(4).unwrap());
    for _ in 0..4 {
        stream.send(frame(1, DATA_FRAME_BYTES)).await.unwrap();
    }
    for _ in 0..4 {
        assert!(matches!(incoming.stream.recv().await, Ok(Event::Data(_))), "{:?}", server.status());
    }
    incoming.stream.respond(answer(), Bytes::new()).await.unwrap();
    assert!(matches!(stream.recv().await, Ok(Event::Response(..))), "{:?}", client.status());
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused_not_queued() {
    let (client, _server, _) = pair(1);
    let held: Vec<_> = (0..STREAMS_MAX).map(|_| client.open(&ask(), Bytes::new()).unwrap()).collect();
    assert_eq!(client.open(&ask(), Bytes::new()).unwrap_err().code, StatusCode::Busy);
    drop(held);
    assert!(client.open(&ask(), Bytes::new()).is_ok());
}
