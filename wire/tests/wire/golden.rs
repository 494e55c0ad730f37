//! Golden vectors: the exact bytes of the handshake, of a frame of every kind, and of every message.
//!
//! `testdata/golden/` holds them, with the value in front of each, so that another implementation can be tested against
//! them. The values count up, so that no two fields of a message look alike.

use dfs_wire::auth::{ClusterKey, Grant, GrantOp, Receipt};
use dfs_wire::frame::{FrameKind, Header, PingHead, WindowHead};
use dfs_wire::handshake::{Hello, MAGIC, Welcome};
use dfs_wire::id::{ChunkId, Epoch, Generation, InodeId, NodeId};
use dfs_wire::limits::{HEAD_BYTES_MAX, HEADER_BYTES};
use dfs_wire::message::{EndHead, Request, RequestHead, Response, ResponseHead};
use dfs_wire::status::{Status, StatusCode};
use dfs_wire::version::ProtocolVersion;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::generate::{Counting, generate, round_trip};
use crate::recorded;

fn hex(bytes: &[u8]) -> String {
    let lines: Vec<String> =
        bytes.chunks(32).map(|line| line.iter().map(|b| format!("{b:02x}")).collect()).collect();
    lines.join("\n")
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
}

/// A frame: what it is, and its bytes.
fn frame(kind: FrameKind, stream: u32, sequence: u32, head: &[u8], tail: &[u8]) -> Vec<u8> {
    let header = Header {
        kind: kind as u8,
        flags: 0,
        head_len: head.len() as u16,
        tail_len: tail.len() as u32,
        stream,
        tail_crc: crc32fast::hash(tail),
        head_crc: 0,
        sequence,
    };
    [&header.seal(head)[..], head, tail].concat()
}

fn sample<T: DeserializeOwned>() -> T {
    generate(&mut Counting::default())
}

fn vector<T: Serialize + std::fmt::Debug>(kind: FrameKind, stream: u32, head: &T, tail: &[u8]) -> String {
    let bytes = frame(kind, stream, 5, &dfs_wire::codec::encode(head).unwrap(), tail);
    let header = Header::parse(bytes[..HEADER_BYTES].try_into().unwrap(), HEAD_BYTES_MAX).unwrap();
    let head_end = HEADER_BYTES + usize::from(header.head_len);
    header.verify_head(&bytes[HEADER_BYTES..head_end]).unwrap();
    assert_eq!((header.kind, header.stream, header.sequence), (kind as u8, stream, 5));
    assert_eq!(&bytes[head_end..], tail);
    let about = format!("# kind {} {kind:?}, stream {stream}, sequence 5, tail {tail:?}", kind as u8);
    format!("{about}\n# {head:?}\n{}\n", hex(&bytes))
}

#[test]
fn a_frame_of_every_kind_has_its_recorded_bytes() {
    for kind in FrameKind::ALL {
        let text = match kind {
            FrameKind::Hello => vector(kind, 0, &sample::<Hello>(), b""),
            FrameKind::Welcome => vector(kind, 0, &sample::<Welcome>(), b""),
            FrameKind::Request => vector(kind, 7, &sample::<RequestHead>(), b"inline payload"),
            FrameKind::Response => vector(kind, 7, &sample::<ResponseHead>(), b"inline payload"),
            FrameKind::End => vector(kind, 7, &sample::<EndHead>(), b""),
            FrameKind::Window => vector(kind, 7, &sample::<WindowHead>(), b""),
            FrameKind::Ping | FrameKind::Pong => vector(kind, 0, &sample::<PingHead>(), b""),
            FrameKind::Reset => vector(kind, 7, &sample::<Status>(), b""),
            FrameKind::Reject | FrameKind::Goaway | FrameKind::Error => {
                vector(kind, 0, &sample::<Status>(), b"")
            }
            FrameKind::Data => {
                let bytes = frame(kind, 7, 5, b"", b"payload");
                format!(
                    "# kind 6 Data, stream 7, sequence 5, no head, tail {:?}\n{}\n",
                    b"payload",
                    hex(&bytes)
                )
            }
        };
        recorded::check(&format!("testdata/golden/frame/{kind:?}.hex"), &text);
    }
}

/// An end of a pipe that records what is written and reads what is given.
async fn handshake_bytes() -> (Vec<u8>, Vec<u8>, Welcome) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut ours, mut theirs) = tokio::io::duplex(1 << 16);
    let (hello, mut welcome) = (sample::<Hello>(), sample::<Welcome>());
    welcome.version = ProtocolVersion::V1.number();
    let connecting = tokio::spawn(async move { dfs_wire::handshake::connect(&mut ours, &hello).await });
    let mut said = vec![0; 8 + HEADER_BYTES];
    theirs.read_exact(&mut said).await.unwrap();
    let header = Header::parse(said[8..].try_into().unwrap(), HEAD_BYTES_MAX).unwrap();
    let mut head = vec![0; header.head_len.into()];
    theirs.read_exact(&mut head).await.unwrap();
    said.extend(head);
    let answer = frame(FrameKind::Welcome, 0, 0, &dfs_wire::codec::encode(&welcome).unwrap(), b"");
    theirs.write_all(&answer).await.unwrap();
    (said, answer, connecting.await.unwrap().unwrap())
}

#[tokio::test]
async fn the_handshake_has_its_recorded_bytes() {
    let (said, answered, welcome) = handshake_bytes().await;
    assert_eq!(&said[..4], &MAGIC);
    let text = format!(
        "# connector: preface, then frame 0\n# {:?}\n{}\n# acceptor: frame 0\n# {welcome:?}\n{}\n",
        sample::<Hello>(),
        hex(&said),
        hex(&answered)
    );
    recorded::check("testdata/golden/handshake.hex", &text);
    // The recorded bytes are understood by the other side, too.
    let (mut a, mut b) = tokio::io::duplex(1 << 16);
    tokio::io::AsyncWriteExt::write_all(&mut a, &said).await.unwrap();
    let heard = dfs_wire::handshake::receive(&mut b).await.unwrap();
    assert_eq!(heard, (sample::<Hello>(), ProtocolVersion::V1));
    dfs_wire::handshake::answer(&mut b, &Ok(welcome)).await.unwrap();
    let mut sent = vec![0; answered.len()];
    tokio::io::AsyncReadExt::read_exact(&mut a, &mut sent).await.unwrap();
    assert_eq!(sent, answered);
}

/// Every message of every conversation, so often that every variant of every enum in it was there. `wrap` is what
/// stands around the message: the enum of conversations at depth `outer`.
fn all_messages<T>(outer: &[usize]) -> Vec<(String, String)>
where
    T: Serialize + DeserializeOwned + std::fmt::Debug + PartialEq,
{
    let levels = |path: &[usize]| {
        let mut probe = Counting::along(path);
        generate::<T>(&mut probe);
        probe.levels
    };
    let conversations = levels(&[outer, &[0]].concat())[outer.len()];
    let mut all = vec![];
    for (c, conversation) in conversations.iter().enumerate() {
        let variants = levels(&[outer, &[c, 0]].concat())[outer.len() + 1];
        let mut vectors = vec![];
        for v in 0..variants.len() {
            let mut choices = Counting::along(&[outer, &[c, v]].concat());
            loop {
                let before = choices.seen.len();
                choices.restart();
                let value: T = generate(&mut choices);
                if choices.seen.len() == before && before > 0 {
                    break;
                }
                let (bytes, back) = round_trip(&value);
                assert_eq!(back, value);
                vectors.push(format!("# {value:?}\n{}\n", hex(&bytes)));
                if choices.seen.is_empty() {
                    break;
                }
            }
        }
        all.push((conversation.to_lowercase(), vectors.join("\n")));
    }
    all
}

#[test]
fn every_request_has_its_recorded_bytes() {
    for (conversation, text) in all_messages::<Request>(&[]) {
        recorded::check(&format!("testdata/golden/request/{conversation}.hex"), &text);
    }
}

#[test]
fn every_response_has_its_recorded_bytes() {
    // Result is an enum of two: the first is Ok.
    for (conversation, text) in all_messages::<ResponseHead>(&[0]) {
        recorded::check(&format!("testdata/golden/response/{conversation}.hex"), &text);
    }
}

#[test]
fn every_recorded_message_can_be_decoded() {
    fn decode_all<T: DeserializeOwned + Serialize>(folder: &str) -> usize {
        let mut count = 0;
        for entry in std::fs::read_dir(recorded::path(folder)).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            for vector in text.split("\n\n").filter(|v| !v.trim().is_empty()) {
                let bytes = unhex(&vector.lines().filter(|l| !l.starts_with('#')).collect::<String>());
                let value: T = dfs_wire::codec::decode(&bytes).unwrap();
                assert_eq!(dfs_wire::codec::encode(&value).unwrap(), bytes);
                count += 1;
            }
        }
        count
    }
    assert!(decode_all::<Request>("testdata/golden/request") >= 32);
    assert!(decode_all::<ResponseHead>("testdata/golden/response") >= 28);
    let _every_response_is_wrapped: fn(Response) -> ResponseHead = Ok;
}

#[test]
fn grants_and_receipts_have_their_recorded_signatures() {
    let cluster = ClusterKey(std::array::from_fn(|i| i as u8));
    let node = NodeId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
    let key = cluster.node_key(node);
    let grant = Grant {
        epoch: Epoch(3),
        op: GrantOp::Write,
        chunk: ChunkId(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
        generation: Generation(1),
        file: InodeId(300),
        index: 2,
        len_max: 8 << 20,
        expires_ms: 1_700_000_000_000,
    };
    let receipt = Receipt::sign(node, grant.chunk, grant.generation, 4_096, [0xab; 32], &key);
    let text = format!(
        "# cluster key 00 01 .. 1f\n# key of node {node}\n{}\n# {grant:?}\n{}\n# its signature for that node\n{}\n\
         # {receipt:?}\n{}\n",
        hex(&key.0),
        hex(&dfs_wire::codec::encode(&grant).unwrap()),
        hex(&grant.sign(&key).0),
        hex(&dfs_wire::codec::encode(&receipt).unwrap()),
    );
    recorded::check("testdata/golden/signatures.hex", &text);
}

#[test]
fn a_status_carries_codes_of_a_newer_version() {
    let status = Status::new(StatusCode::Unknown(9_999), "new");
    assert_eq!(round_trip(&status).1, status);
}
