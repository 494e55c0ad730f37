//! Single cases of the connection's state machine, most of them found by a hostile reading.

use super::*;
use crate::limits::{CONTROL_QUEUE_MAX, DATA_FRAME_BYTES, IDLE_TICKS_MAX, SILENT_TICKS_MAX};
use crate::link::Liveness;
use crate::link::data::DataFrame;
use crate::message::EndHead;
use crate::slab::SlabBudget;

mod simulation;

const FRAME: u64 = DATA_FRAME_BYTES as u64;

fn conn(role: Role) -> Conn {
    Conn::new(role, 16 * FRAME, 16 * FRAME)
}

fn reservation(slabs: usize) -> Reservation {
    SlabBudget::new(SlabPool::new(0), 4 * slabs).try_reserve(slabs).unwrap()
}

fn open(conn: &mut Conn) -> Result<u32, Status> {
    conn.open(&mut Some(OutFrame::control(FrameKind::Request, 0, vec![]))).map(|(id, _)| id)
}

fn take(conn: &mut Conn) -> Vec<(FrameKind, u32)> {
    let mut out = vec![];
    conn.dequeue(usize::MAX / 2, &mut out);
    out.iter().map(|f| (f.kind, f.stream)).collect()
}

fn frame(kind: FrameKind, stream: u32, len: usize) -> Option<OutFrame> {
    let tail = Bytes::from(vec![0; len]);
    Some(OutFrame { kind, stream, head: vec![], tail, tail_crc: 0 })
}

fn end() -> EndHead {
    EndHead { len: 0, sha256: [0; 32], facts: Box::default() }
}

#[test]
fn a_late_end_does_not_eat_the_answer_of_a_stream_that_is_still_sending() {
    let mut c = conn(Role::Acceptor);
    c.on_request(1, true).unwrap().unwrap();
    assert!(c.enqueue(&mut frame(FrameKind::Data, 1, DATA_FRAME_BYTES), 1).unwrap());
    assert!(c.enqueue(&mut frame(FrameKind::Response, 1, 0), 1).unwrap());
    drop(c.detach(1));
    drop(c.on_end(1, end()).unwrap());
    c.on_window(1, FRAME);
    assert_eq!(take(&mut c), [(FrameKind::Data, 1), (FrameKind::Response, 1)]);
    assert_eq!(c.stream_count(), 0);
}

#[test]
fn the_last_stream_number_can_be_used_once() {
    let mut c = conn(Role::Acceptor);
    c.on_request(u32::MAX, true).unwrap().unwrap();
    assert_eq!(c.on_request(u32::MAX, true).unwrap_err().code, StatusCode::ProtocolViolation);
    let mut c = conn(Role::Connector);
    c.next_stream = u32::MAX.into();
    assert_eq!(open(&mut c).unwrap(), u32::MAX);
    assert_eq!(open(&mut c).unwrap_err().code, StatusCode::Unavailable);
    assert!(c.draining(), "a pool must go elsewhere");
}

#[test]
fn stream_numbers_are_odd_and_only_grow() {
    let mut c = conn(Role::Acceptor);
    c.on_request(5, true).unwrap().unwrap();
    for bad in [0, 2, 3, 5, 6] {
        assert!(c.on_request(bad, true).is_err(), "{bad}");
    }
    assert!(c.on_request(9, true).unwrap().is_some(), "numbers may be left out");
    assert!(conn(Role::Connector).on_request(1, true).is_err());
}

#[test]
fn what_follows_the_last_frame_of_a_stream_is_a_violation() {
    let opened = || {
        let mut c = conn(Role::Acceptor);
        c.on_request(1, true).unwrap().unwrap();
        c.grant(1, reservation(2));
        take(&mut c);
        c
    };
    let mut c = opened();
    drop(c.on_end(1, end()).unwrap());
    assert_eq!(c.on_end(1, end()).err().unwrap().code, StatusCode::ProtocolViolation);
    let mut c = opened();
    drop(c.on_end(1, end()).unwrap());
    assert_eq!(c.on_data(1, 10).err().unwrap().code, StatusCode::ProtocolViolation);
    let mut c = opened();
    assert!(c.on_data(1, 10).is_ok());
    assert_eq!(c.on_data(1, 10).err().unwrap().code, StatusCode::ProtocolViolation);
    assert_eq!(opened().on_data(1, 0).err().unwrap().code, StatusCode::ProtocolViolation);
}

#[test]
fn more_than_was_granted_is_a_flow_control_error_for_stream_and_connection() {
    let mut c = Conn::new(Role::Acceptor, 0, FRAME);
    c.on_request(1, true).unwrap().unwrap();
    assert_eq!(c.on_data(1, 10).err().unwrap().code, StatusCode::FlowControl, "nothing was granted");
    let mut c = Conn::new(Role::Acceptor, 0, FRAME);
    c.on_request(1, true).unwrap().unwrap();
    c.grant(1, reservation(4));
    take(&mut c);
    assert!(c.on_data(1, DATA_FRAME_BYTES).is_ok());
    assert_eq!(c.on_data(1, DATA_FRAME_BYTES).err().unwrap().code, StatusCode::FlowControl);
}

#[test]
fn data_for_a_stream_that_is_gone_gives_its_connection_credit_back() {
    let mut c = conn(Role::Acceptor);
    for id in (1..2_001).step_by(2) {
        c.on_request(id, true).unwrap().unwrap();
        drop(c.deliver(id, Err(lost())));
        drop(c.detach(id));
        assert!(matches!(c.on_data(id, DATA_FRAME_BYTES).unwrap(), DataPlan::Discard));
        take(&mut c);
    }
    assert_eq!(c.recv_credit.received(), 1_000 * FRAME);
    assert!(c.recv_credit.outstanding() <= 16 * FRAME);
}

#[test]
fn a_peer_that_never_reads_queues_one_window_for_each_stream() {
    let mut c = conn(Role::Acceptor);
    c.on_request(1, true).unwrap().unwrap();
    c.grant(1, reservation(1));
    take(&mut c);
    for _ in 0..10_000 {
        assert!(c.on_data(1, DATA_FRAME_BYTES).is_ok());
        c.release(1, FRAME);
        assert!(c.windows.len() <= 2 && c.control.is_empty());
        // As if the peer had guessed what the windows would say.
        c.streams.get_mut(&1).unwrap().recv.as_mut().unwrap().credit.window_due();
        c.recv_credit.window_due();
    }
}

#[test]
fn a_request_given_up_before_it_was_written_leaves_no_trace() {
    let mut c = conn(Role::Connector);
    let kept = open(&mut c).unwrap();
    for _ in 0..10 * CONTROL_QUEUE_MAX {
        let id = open(&mut c).unwrap();
        c.enqueue(&mut frame(FrameKind::Data, id, 10), id).unwrap();
        drop(c.detach(id));
    }
    assert_eq!((c.stream_count(), c.control.len()), (1, 1));
    assert_eq!(take(&mut c), [(FrameKind::Request, kept)]);
    assert!(c.ready.is_empty());
}

#[test]
fn answers_that_nobody_reads_count_as_open_streams() {
    let mut c = conn(Role::Acceptor);
    let mut refused = 0;
    for id in (1..).step_by(2).take(2 * STREAMS_MAX) {
        if c.on_request(id, true).unwrap().is_some() {
            c.enqueue(&mut frame(FrameKind::Response, id, 10), id).unwrap();
            drop(c.detach(id));
        } else {
            refused += 1;
        }
    }
    assert_eq!((c.control.len(), refused), (STREAMS_MAX, STREAMS_MAX));
    take(&mut c);
    assert_eq!(c.stream_count(), 0);
}

#[test]
fn floods_end_the_connection_and_a_tick_forgives() {
    let mut c = conn(Role::Acceptor);
    let flood = |c: &mut Conn| (0..1_000_000).find(|_| c.count_abuse().is_err()).unwrap();
    assert_eq!(flood(&mut c), crate::limits::ABUSE_PER_TICK_MAX);
    drop(c.tick(true, 0, false).leftovers);
    assert_eq!(flood(&mut c), crate::limits::ABUSE_PER_TICK_MAX);
}

#[test]
fn an_answered_stream_whose_data_nobody_takes_is_reset() {
    let mut c = conn(Role::Acceptor);
    c.on_request(1, true).unwrap().unwrap();
    c.enqueue(&mut frame(FrameKind::Data, 1, DATA_FRAME_BYTES), 1).unwrap();
    c.enqueue(&mut frame(FrameKind::Response, 1, 0), 1).unwrap();
    drop(c.detach(1));
    for _ in 0..=IDLE_TICKS_MAX {
        assert_eq!(c.stream_count(), 1);
        drop(c.tick(true, 0, false).leftovers);
    }
    assert_eq!(take(&mut c), [(FrameKind::Pong, 0), (FrameKind::Reset, 1)]);
    assert_eq!(c.stream_count(), 0);
}

#[test]
fn a_peer_that_takes_not_one_byte_is_dead() {
    let mut c = conn(Role::Connector);
    open(&mut c).unwrap();
    take(&mut c);
    let look = |c: &mut Conn, written| c.tick(true, written, false).liveness;
    assert_eq!(look(&mut c, 1), Liveness::Alive);
    for _ in 1..IDLE_TICKS_MAX {
        assert_eq!(look(&mut c, 1), Liveness::Alive);
    }
    assert_eq!(look(&mut c, 2), Liveness::Alive, "one byte went out");
    for _ in 1..IDLE_TICKS_MAX {
        assert_eq!(look(&mut c, 2), Liveness::Alive);
    }
    assert_eq!(look(&mut c, 2), Liveness::Dead);
    while !take(&mut c).is_empty() {}
    assert_eq!(look(&mut c, 2), Liveness::Alive, "there is nothing to write");
}

#[test]
fn what_goes_to_a_socket_buffer_is_no_sign_of_the_peer() {
    let mut c = conn(Role::Connector);
    let look = |c: &mut Conn, written| c.tick(false, written, false).liveness;
    // Each ping is taken by the socket, as is the odd request.
    assert_eq!(look(&mut c, 40), Liveness::Waiting);
    assert_eq!(take(&mut c), [(FrameKind::Ping, 0)]);
    assert_eq!(look(&mut c, 80), Liveness::Waiting);
    assert_eq!(look(&mut c, 120), Liveness::Dead);
}

#[test]
fn whoever_hears_the_peer_says_so_once_a_look() {
    let mut c = conn(Role::Acceptor);
    for _ in 0..3 {
        drop(c.tick(true, 0, false).leftovers);
    }
    assert_eq!(take(&mut c), [(FrameKind::Pong, 0)], "the writer has not taken the first yet");
    drop(c.tick(true, 32, false).leftovers);
    assert_eq!(take(&mut c), [(FrameKind::Pong, 0)]);
}

#[test]
fn control_frames_go_before_data_that_was_queued_earlier() {
    let mut c = conn(Role::Connector);
    let (a, b) = (open(&mut c).unwrap(), open(&mut c).unwrap());
    take(&mut c);
    for id in [a, b] {
        c.on_window(id, 4 * FRAME);
        for _ in 0..2 {
            c.enqueue(&mut frame(FrameKind::Data, id, DATA_FRAME_BYTES), id).unwrap();
        }
    }
    c.grant(a, reservation(1));
    c.control(FrameKind::Ping, 0, vec![]);
    use FrameKind::{Data, Ping, Window};
    assert_eq!(take(&mut c), [(Ping, 0), (Window, a), (Data, a), (Data, b), (Data, a), (Data, b)]);
}

#[test]
fn a_window_never_overtakes_the_request_of_its_stream() {
    let mut c = conn(Role::Connector);
    let id = c.open(&mut frame(FrameKind::Request, 0, 60_000)).unwrap().0;
    let behind = c.open(&mut frame(FrameKind::Request, 0, 60_000)).unwrap().0;
    c.grant(behind, reservation(1));
    let mut out = vec![];
    c.dequeue(1, &mut out);
    assert_eq!(out.len(), 1);
    assert_eq!((out[0].kind, out[0].stream), (FrameKind::Request, id));
    assert_eq!(take(&mut c), [(FrameKind::Request, behind), (FrameKind::Window, behind)]);
}

#[test]
fn a_batch_is_bounded_also_for_control_frames() {
    let mut c = conn(Role::Connector);
    for _ in 0..100 {
        c.open(&mut frame(FrameKind::Request, 0, 60_000)).unwrap();
    }
    let mut out = vec![];
    c.dequeue(1 << 20, &mut out);
    assert!(out.len() < 20, "{} frames of 60 kB in a batch of 1 MiB", out.len());
}

#[test]
fn a_second_reservation_is_given_back() {
    let mut c = conn(Role::Acceptor);
    c.on_request(1, true).unwrap().unwrap();
    assert!(c.grant(1, reservation(2)).is_none());
    assert!(c.grant(1, reservation(2)).is_some());
    assert!(c.grant(3, reservation(2)).is_some(), "no such stream");
}

#[test]
fn a_sender_keeps_the_rules_of_its_stream() {
    let mut c = conn(Role::Connector);
    let id = open(&mut c).unwrap();
    c.enqueue(&mut frame(FrameKind::Data, id, 10), id).unwrap();
    let mut late = frame(FrameKind::Data, id, 10);
    assert_eq!(c.enqueue(&mut late, id).unwrap_err().code, StatusCode::InvalidArgument);
    c.enqueue(&mut frame(FrameKind::End, id, 0), id).unwrap();
    assert_eq!(
        c.enqueue(&mut frame(FrameKind::End, id, 0), id).unwrap_err().code,
        StatusCode::InvalidArgument
    );
    assert!(late.is_some(), "what was refused stays with its owner");
}

#[test]
fn closing_gives_all_memory_back_but_what_others_hold() {
    let budget = SlabBudget::new(SlabPool::new(0), 16);
    let mut c = conn(Role::Acceptor);
    c.on_request(1, true).unwrap().unwrap();
    c.grant(1, budget.try_reserve(2).unwrap());
    take(&mut c);
    let DataPlan::Deliver(_, held) = c.on_data(1, DATA_FRAME_BYTES).unwrap() else { panic!("it is granted") };
    drop(c.deliver(1, Ok(Event::Data(DataFrame::new(Bytes::from_static(b"x"))))));
    drop(c.close(lost()));
    drop(c.detach(1));
    assert!(budget.available() < 16, "somebody reads the bytes still");
    drop(held);
    assert_eq!((budget.available(), c.stream_count()), (16, 0));
    assert!(!c.release(1, FRAME), "nothing is sent on a closed connection");
}

#[test]
fn a_peer_that_goes_silent_is_dead_at_the_third_look_after_the_last_that_heard_it() {
    let mut c = conn(Role::Acceptor);
    assert_eq!(c.tick(true, 0, false).liveness, Liveness::Alive);
    let looks: Vec<_> = (0..SILENT_TICKS_MAX).map(|_| c.tick(false, 0, false).liveness).collect();
    assert_eq!(looks, [Liveness::Waiting, Liveness::Waiting, Liveness::Dead]);
}
