//! Peers that break the rules, and owners that let go at the worst moment.

use super::peer::RawPeer;
use super::*;
use crate::frame::PingHead;
use crate::limits::{ABUSE_PER_TICK_MAX, CONTROL_QUEUE_MAX, IDLE_TICKS_MAX, STREAM_QUEUE_MAX};

const PIPE: usize = 4 << 20;

fn acceptor(slabs: usize) -> (RawPeer, Link, SlabBudget) {
    RawPeer::new(Role::Acceptor, slabs, PIPE)
}

#[tokio::test]
async fn data_that_was_not_granted_closes_the_connection() {
    let (mut peer, link, _) = acceptor(4);
    peer.send(FrameKind::Request, 1, &ask(), &[]).await;
    let _incoming = within(link.next_request()).await.unwrap();
    peer.data(1, 10).await;
    peer.refused(&link, StatusCode::FlowControl).await;
}

#[tokio::test]
async fn a_stream_number_that_comes_again_while_its_bytes_are_held_closes_the_connection() {
    let (mut peer, link, memory) = acceptor(8);
    peer.send(FrameKind::Request, u32::MAX, &ask(), &[]).await;
    let incoming = within(link.next_request()).await.unwrap();
    incoming.stream.grant(memory.try_reserve(2).unwrap());
    assert_eq!(peer.until(FrameKind::Window).await.stream, u32::MAX);
    peer.data(u32::MAX, DATA_FRAME_BYTES).await;
    peer.send(FrameKind::Request, u32::MAX, &ask(), &[]).await;
    peer.refused(&link, StatusCode::ProtocolViolation).await;
    drop(incoming);
    assert_eq!(memory.available(), 8);
}

#[tokio::test]
async fn an_end_that_comes_twice_closes_the_connection() {
    let (mut peer, link, _) = acceptor(4);
    peer.send(FrameKind::Request, 1, &ask(), &[]).await;
    let _incoming = within(link.next_request()).await.unwrap();
    let end = EndHead { len: 0, sha256: [0; 32], facts: Box::default() };
    peer.send(FrameKind::End, 1, &end, &[]).await;
    peer.send(FrameKind::End, 1, &end, &[]).await;
    peer.refused(&link, StatusCode::ProtocolViolation).await;
}

#[tokio::test]
async fn an_answer_from_the_connector_closes_the_connection() {
    let (mut peer, link, _) = acceptor(4);
    peer.send(FrameKind::Request, 1, &ask(), &[]).await;
    peer.send(FrameKind::Response, 1, &answer(), &[]).await;
    peer.refused(&link, StatusCode::ProtocolViolation).await;
}

#[tokio::test]
async fn a_request_from_the_acceptor_closes_the_connection() {
    let (mut peer, link, _) = RawPeer::new(Role::Connector, 4, PIPE);
    peer.send(FrameKind::Request, 1, &ask(), &[]).await;
    peer.refused(&link, StatusCode::ProtocolViolation).await;
}

#[tokio::test]
async fn a_damaged_payload_closes_the_connection_and_is_never_delivered() {
    let (mut peer, link, memory) = acceptor(4);
    peer.send(FrameKind::Request, 1, &ask(), &[]).await;
    let incoming = within(link.next_request()).await.unwrap();
    incoming.stream.grant(memory.try_reserve(1).unwrap());
    let mut bytes = peer.bytes(FrameKind::Data as u8, 1, &[], &[1; 1000]);
    *bytes.last_mut().unwrap() ^= 1;
    peer.raw(&bytes).await.unwrap();
    peer.refused(&link, StatusCode::ChecksumMismatch).await;
    let status = incoming.stream.recv().await.unwrap_err();
    assert_eq!(status.code, StatusCode::ConnectionLost, "the reason is about the connection");
    assert!(status.message.contains("ChecksumMismatch"), "{status}");
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_leaves_doubt() {
    // One flipped bit in the length of the tail: the answer is lost, not the request.
    let (mut peer, link, _) = RawPeer::new(Role::Connector, 4, PIPE);
    let stream = link.open(&ask(), Bytes::new()).unwrap();
    peer.until(FrameKind::Request).await;
    let mut bytes = peer.bytes(FrameKind::Response as u8, 1, &codec::encode(&answer()).unwrap(), &[]);
    bytes[7] ^= 0x80;
    peer.raw(&bytes).await.unwrap();
    let status = within(stream.recv()).await.unwrap_err();
    assert_eq!(status.code, StatusCode::ConnectionLost);
    assert!(status.message.contains("ProtocolViolation"), "the cause can be read: {status}");
    assert_eq!(
        link.open(&ask(), Bytes::new()).unwrap_err().code,
        StatusCode::Unavailable,
        "nothing was sent"
    );
}

#[tokio::test]
async fn the_end_of_a_connection_is_not_the_answer_to_a_request() {
    for code in [StatusCode::Unavailable, StatusCode::Busy, StatusCode::NotFound] {
        let (mut peer, link, _) = RawPeer::new(Role::Connector, 4, PIPE);
        let stream = link.open(&ask(), Bytes::new()).unwrap();
        peer.until(FrameKind::Request).await;
        peer.send(FrameKind::Error, 0, &Status::new(code, "drained"), &[]).await;
        let status = within(stream.recv()).await.unwrap_err();
        assert_eq!(status.code, StatusCode::ConnectionLost);
        assert!(status.message.contains("drained"), "{status}");
        assert_eq!(link.status().unwrap().code, code);
    }
}

#[tokio::test]
async fn a_repeated_or_missing_frame_closes_the_connection() {
    for lost in [true, false] {
        let (mut peer, link, _) = acceptor(4);
        let first =
            peer.bytes(FrameKind::Ping as u8, 0, &codec::encode(&PingHead { nonce: 1 }).unwrap(), &[]);
        if lost {
            peer.send(FrameKind::Ping, 0, &PingHead { nonce: 2 }, &[]).await;
        } else {
            peer.raw(&[first.clone(), first].concat()).await.unwrap();
        }
        peer.refused(&link, StatusCode::ProtocolViolation).await;
    }
}

#[tokio::test]
async fn an_unknown_request_is_answered_and_the_connection_lives_on() {
    let (mut peer, _link, _) = acceptor(4);
    let unknown = peer.bytes(FrameKind::Request as u8, 1, &[9, 9, 9], &[]);
    peer.raw(&unknown).await.unwrap();
    let answer = peer.until(FrameKind::Response).await;
    let head: ResponseHead = codec::decode(&answer.head).unwrap();
    assert_eq!((answer.stream, head.unwrap_err().code), (1, StatusCode::Unsupported));
    peer.send(FrameKind::Ping, 0, &PingHead { nonce: 5 }, &[]).await;
    peer.until(FrameKind::Pong).await;
}

#[tokio::test]
async fn an_unknown_kind_is_skipped_and_answered() {
    let (mut peer, _link, _) = acceptor(4);
    let unknown = peer.bytes(200, 0, b"head", &vec![3; 100_000]);
    peer.raw(&unknown).await.unwrap();
    assert_eq!(peer.until(FrameKind::Error).await.status().code, StatusCode::Unsupported);
    // Such an answer ends nothing at the other end either.
    let status = Status::new(StatusCode::Unsupported, "frame kind 99 is not known here");
    peer.send(FrameKind::Error, 0, &status, &[]).await;
    peer.send(FrameKind::Ping, 0, &PingHead { nonce: 5 }, &[]).await;
    peer.until(FrameKind::Pong).await;
}

#[tokio::test]
async fn a_peer_that_asks_without_reading_is_cut_off() {
    for kind in [FrameKind::Ping as u8, 200] {
        let (mut peer, link, _) = RawPeer::new(Role::Acceptor, 4, 64 * 1024);
        let head = codec::encode(&PingHead { nonce: 1 }).unwrap();
        let flood = async {
            for _ in 0..ABUSE_PER_TICK_MAX {
                let bytes = peer.bytes(kind, 0, &head, &[]);
                if peer.raw(&bytes).await.is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            () = within(flood) => {}
            () = link.closed() => {}
        }
        within(link.closed()).await;
        assert_eq!(link.status().unwrap().code, StatusCode::Busy);
        assert!(link.shared.lock().control_depth() <= CONTROL_QUEUE_MAX + 2);
    }
}

#[tokio::test]
async fn requests_that_nobody_accepts_are_bounded_and_the_rest_is_refused() {
    let (mut peer, link, memory) = acceptor(2 * STREAMS_MAX);
    for id in (1..).step_by(2).take(2 * STREAMS_MAX) {
        peer.send(FrameKind::Request, id, &ask(), b"tail").await;
    }
    for _ in 0..STREAMS_MAX {
        let head: ResponseHead = codec::decode(&peer.until(FrameKind::Response).await.head).unwrap();
        assert_eq!(head.unwrap_err().code, StatusCode::Busy);
    }
    assert_eq!(link.streams(), STREAMS_MAX);
    // Cancelling them does not make room for more: they wait to be accepted still.
    let cancelled = Status::new(StatusCode::Cancelled, "");
    peer.send(FrameKind::Reset, 1, &cancelled, &[]).await;
    peer.send(FrameKind::Request, 20_001, &ask(), &[]).await;
    assert_eq!(peer.until(FrameKind::Response).await.stream, 20_001);
    link.close(Status::new(StatusCode::Unavailable, "stopping"));
    assert!(within(link.next_request()).await.is_none());
    assert_eq!(memory.available(), 2 * STREAMS_MAX, "the payloads went with the connection");
}

#[tokio::test]
async fn requests_without_memory_for_their_payload_are_refused_not_queued() {
    let (mut peer, link, memory) = acceptor(1);
    let all = memory.try_reserve(1).unwrap();
    peer.send(FrameKind::Request, 1, &ask(), b"tail").await;
    let head: ResponseHead = codec::decode(&peer.until(FrameKind::Response).await.head).unwrap();
    assert_eq!(head.unwrap_err().code, StatusCode::Busy);
    drop(all);
    peer.send(FrameKind::Request, 3, &ask(), b"tail").await;
    assert_eq!(&within(link.next_request()).await.unwrap().tail[..], b"tail");
}

#[tokio::test]
async fn a_payload_that_could_not_be_sent_is_dropped_without_its_own_lock() {
    // The client holds bytes that came over the link and sends them on over the same link, which is closed.
    let (mut peer, link, memory) = RawPeer::new(Role::Connector, 4, PIPE);
    let stream = link.open(&ask(), Bytes::new()).unwrap();
    stream.grant(memory.try_reserve(1).unwrap());
    peer.until(FrameKind::Window).await;
    peer.data(1, 1000).await;
    let Event::Data(held) = within(stream.recv()).await.unwrap() else { panic!("data first") };
    link.close(Status::new(StatusCode::Cancelled, "enough"));
    let opened = tokio::task::spawn_blocking(move || link.open(&ask(), held.bytes).map(drop));
    assert!(within(opened).await.unwrap().is_err());
    drop(stream);
    assert_eq!(memory.available(), 4);
}

#[tokio::test]
async fn bytes_forwarded_on_the_link_they_came_from_go_back_whoever_lets_go_first() {
    // Each of these drops the queue that holds the bytes.
    let hows: [fn(Link, Stream, Stream); 3] = [
        |link, _, _| link.close(Status::new(StatusCode::Cancelled, "enough")),
        |_, from, to| drop((to, from)),
        |_, from, to| drop((from, to)),
    ];
    for how in hows {
        let (mut peer, link, memory) = RawPeer::new(Role::Connector, 8, PIPE);
        let (from, to) = (link.open(&ask(), Bytes::new()).unwrap(), link.open(&ask(), Bytes::new()).unwrap());
        from.grant(memory.try_reserve(2).unwrap());
        peer.until(FrameKind::Window).await;
        for len in [DATA_FRAME_BYTES, 10] {
            peer.data(1, len).await;
            let Event::Data(frame) = within(from.recv()).await.unwrap() else { panic!("data first") };
            to.send(frame).await.unwrap();
        }
        within(tokio::task::spawn_blocking(move || how(link, from, to))).await.unwrap();
        assert_eq!(memory.available(), 8);
    }
}

#[tokio::test]
async fn credit_of_the_connection_survives_thousands_of_resets() {
    let (mut peer, link, memory) = acceptor(8);
    let (mut limit, mut sent) = (CREDIT, 0);
    for id in (1..4_001).step_by(2) {
        peer.send(FrameKind::Request, id, &ask(), &[]).await;
        let incoming = within(link.next_request()).await.unwrap();
        incoming.stream.grant(memory.try_reserve(1).unwrap());
        let mut granted = false;
        while !granted || sent + DATA_FRAME_BYTES as u64 > limit {
            let frame = peer.next().await;
            let is_window = frame.kind == FrameKind::Window as u8;
            granted |= is_window && frame.stream == id;
            if is_window && frame.stream == 0 {
                limit = limit.max(frame.limit());
            }
        }
        // The answer, the data and the reset cross: whichever is first, the credit comes back.
        if id % 3 == 0 {
            drop(incoming);
            peer.data(id, DATA_FRAME_BYTES).await;
        } else {
            peer.data(id, DATA_FRAME_BYTES).await;
            peer.send(FrameKind::Reset, id, &Status::new(StatusCode::Cancelled, ""), &[]).await;
            while within(incoming.stream.recv()).await.is_ok() {}
        }
        sent += DATA_FRAME_BYTES as u64;
    }
    peer.send(FrameKind::Ping, 0, &PingHead { nonce: 5 }, &[]).await;
    peer.until(FrameKind::Pong).await;
    assert_eq!((link.streams(), link.credit_outstanding()), (0, 0));
    assert_eq!(memory.available(), 8);
}

#[tokio::test]
async fn a_peer_that_reads_nothing_but_pings_is_noticed() {
    let (mut peer, link, _) = RawPeer::new(Role::Acceptor, 4, 4096);
    peer.send(FrameKind::Request, 1, &ask(), &[]).await;
    let incoming = within(link.next_request()).await.unwrap();
    incoming.stream.respond(answer(), Bytes::from(vec![1; INLINE_TAIL_BYTES_MAX])).await.unwrap();
    let mut ticks = 0;
    while !link.is_closed() {
        peer.send(FrameKind::Pong, 0, &PingHead { nonce: 1 }, &[]).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        link.tick();
        ticks += 1;
        assert!(ticks <= IDLE_TICKS_MAX + 2);
    }
    assert_eq!(link.status().unwrap().code, StatusCode::ConnectionLost);
}

/// Until a head is whole its checksum says nothing, and all that comes is taken for a part of it.
#[tokio::test]
async fn a_head_whose_length_was_damaged_is_noticed_although_the_peer_goes_on() {
    let (mut peer, link, _) = RawPeer::new(Role::Connector, 4, PIPE);
    let mut pong = peer.bytes(FrameKind::Pong as u8, 0, &codec::encode(&PingHead { nonce: 1 }).unwrap(), &[]);
    pong[3] ^= 0x40;
    peer.raw(&pong).await.unwrap();
    let mut ticks = 0;
    while !link.is_closed() {
        peer.send(FrameKind::Pong, 0, &PingHead { nonce: 1 }, &[]).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        link.tick();
        ticks += 1;
        assert!(ticks <= IDLE_TICKS_MAX + 2);
    }
    let status = link.status().unwrap();
    assert!(status.message.contains("damaged"), "{status}");
}

#[tokio::test]
async fn a_driver_that_is_killed_ends_every_wait() {
    for kill_reader in [true, false] {
        let (a, _b) = tokio::io::duplex(1024);
        let (r, w) = tokio::io::split(a);
        let params =
            LinkParams { role: Role::Connector, budget: budget(1), send_credit: CREDIT, recv_credit: CREDIT };
        let (link, driver) = Link::new(r, w, params);
        let (reader, writer) = (tokio::spawn(driver.reader), tokio::spawn(driver.writer));
        let stream = link.open(&ask(), Bytes::new()).unwrap();
        tokio::task::yield_now().await;
        if kill_reader {
            reader.abort()
        } else {
            writer.abort()
        }
        assert_eq!(within(stream.recv()).await.unwrap_err().code, StatusCode::ConnectionLost);
        within(async { (reader.await.ok(), writer.await.ok()) }).await;
    }
}

#[tokio::test]
async fn a_connection_that_nobody_uses_closes_after_its_last_stream() {
    let (mut peer, link, _) = RawPeer::new(Role::Connector, 4, PIPE);
    let stream = link.open(&ask(), Bytes::new()).unwrap();
    let watch = link.clone().shared.clone();
    drop(link);
    peer.until(FrameKind::Request).await;
    assert!(watch.lock().closed().is_none(), "a stream is open still");
    peer.send(FrameKind::Response, 1, &answer(), &[]).await;
    assert!(matches!(within(stream.recv()).await, Ok(Event::Response(..))));
    drop(stream);
    assert_eq!(peer.until(FrameKind::Error).await.status().code, StatusCode::Cancelled);
    within(watch.wait_closed()).await;
}

#[tokio::test]
async fn a_frame_that_is_cut_anywhere_ends_with_a_reason() {
    let (mut script, ..) = acceptor(4);
    let mut whole = script.bytes(FrameKind::Request as u8, 1, &codec::encode(&ask()).unwrap(), b"tail");
    whole.extend(script.bytes(FrameKind::Ping as u8, 0, &[1], &[]));
    for cut in 0..whole.len() {
        let (mut peer, link, memory) = acceptor(4);
        peer.raw(&whole[..cut]).await.unwrap();
        drop(peer);
        within(link.closed()).await;
        assert_eq!(link.status().unwrap().code, StatusCode::ConnectionLost, "cut at {cut}");
        assert!(within(link.next_request()).await.is_none());
        assert_eq!(memory.available(), 4, "cut at {cut}");
    }
}

#[tokio::test]
async fn a_full_queue_lets_the_sender_wait_and_an_end_of_the_stream_wakes_it() {
    let (mut peer, link, _) = RawPeer::new(Role::Connector, 4, PIPE);
    let stream = Arc::new(link.open(&ask(), Bytes::new()).unwrap());
    for _ in 0..STREAM_QUEUE_MAX {
        stream.send(frame(1, DATA_FRAME_BYTES)).await.unwrap();
    }
    let waiting = stream.clone();
    let waiting = tokio::spawn(async move { waiting.send(frame(1, DATA_FRAME_BYTES)).await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    peer.until(FrameKind::Request).await;
    peer.send(FrameKind::Reset, 1, &Status::new(StatusCode::Straggler, "cut"), &[]).await;
    assert!(within(waiting).await.unwrap().is_err());
    let status = within(stream.recv()).await.unwrap_err();
    assert_eq!(status.code, StatusCode::Cancelled, "a reset is no answer");
    assert!(status.message.contains("Straggler: cut"), "{status}");
}
