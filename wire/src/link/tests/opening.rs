//! The handshake and the first credits.

use super::*;
use crate::handshake::{ClientPeer, Hello, Peer, Welcome};
use crate::id::{ClientId, Epoch, NodeId};
use crate::limits::HEADER_BYTES;

fn hello(connection_credit: u64) -> Hello {
    let peer = Peer::Client(ClientPeer { client: ClientId(1), name: "test".into() });
    Hello { cluster: None, peer, credentials: None, features: 0, connection_credit }
}

fn welcome(connection_credit: u64) -> Welcome {
    Welcome {
        version: 1,
        cluster: None,
        node: NodeId(1),
        name: "test".into(),
        role: "datanode".into(),
        session: 1,
        epoch: Epoch(1),
        time_ms: 0,
        features: 0,
        connection_credit,
    }
}

/// A connector and an acceptor that say that the other may have so many bytes in flight.
async fn agreed(connector_gives: u64, acceptor_gives: u64, memory: &SlabBudget) -> (Link, Link) {
    let (a, b) = tokio::io::duplex(4 * DATA_FRAME_BYTES);
    let ((a_reader, a_writer), (b_reader, b_writer)) = (tokio::io::split(a), tokio::io::split(b));
    let hello = hello(connector_gives);
    let mut accepting = Link::accept(b_reader, b_writer, memory.clone());
    let answering = async {
        let (heard, _) = accepting.hello().await.unwrap();
        accepting.welcome(&heard, welcome(acceptor_gives)).await.unwrap()
    };
    let (dialed, (acceptor, driver)) =
        tokio::join!(Link::connect(a_reader, a_writer, &hello, memory.clone()), answering);
    let dialed = dialed.unwrap();
    for half in [dialed.driver.reader, dialed.driver.writer, driver.reader, driver.writer] {
        tokio::spawn(half);
    }
    (dialed.link, acceptor)
}

/// Of two frames to `to`, only the first comes until it is let go.
async fn one_frame_at_a_time(from: &Stream, to: &Stream, memory: &SlabBudget) {
    to.grant(memory.try_reserve(4).unwrap());
    for fill in 0..2 {
        from.send(frame(fill, DATA_FRAME_BYTES)).await.unwrap();
    }
    let Event::Data(held) = within(to.recv()).await.unwrap() else { panic!("data first") };
    let early = tokio::time::timeout(Duration::from_millis(50), to.recv()).await;
    assert!(early.is_err(), "more came than the connection's credit allows");
    drop(held);
    assert!(matches!(within(to.recv()).await.unwrap(), Event::Data(_)));
}

#[tokio::test]
async fn each_side_holds_to_the_credit_that_the_other_gave_it() {
    const ONE: u64 = DATA_FRAME_BYTES as u64;
    for (connector_gives, acceptor_gives) in [(ONE, CREDIT), (CREDIT, ONE)] {
        let memory = budget(8);
        let (client, server) = agreed(connector_gives, acceptor_gives, &memory).await;
        let asked = client.open(&ask(), Bytes::new()).unwrap();
        let answering = within(server.next_request()).await.unwrap().stream;
        if connector_gives == ONE {
            one_frame_at_a_time(&answering, &asked, &memory).await;
        } else {
            one_frame_at_a_time(&asked, &answering, &memory).await;
        }
        assert_eq!((client.status(), server.status()), (None, None));
    }
}

#[tokio::test]
async fn whoever_is_refused_learns_why_though_it_was_interrupted_in_its_first_words() {
    let (mut peer, io) = tokio::io::duplex(1 << 16);
    let (reader, writer) = tokio::io::split(io);
    let mut accepting = Link::accept(reader, writer, budget(1));
    let patience = tokio::time::timeout(Duration::from_millis(20), accepting.hello()).await;
    assert!(patience.is_err(), "nothing was said");
    accepting.refuse(Status::new(StatusCode::DeadlineExceeded, "too slow")).await.unwrap();
    let mut told = vec![];
    within(tokio::io::AsyncReadExt::read_to_end(&mut peer, &mut told)).await.unwrap();
    assert_eq!(told[0], FrameKind::Reject as u8);
    let status: Status = codec::decode(&told[HEADER_BYTES..]).unwrap();
    assert_eq!(status.code, StatusCode::DeadlineExceeded);
}
