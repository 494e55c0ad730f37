//! PROTOCOL.md says what the code does.

use dfs_wire::status::StatusCode;
use dfs_wire::{frame::FrameKind, limits, version::ProtocolVersion};
use sha2::{Digest, Sha256};

use crate::{recorded, schema};

const DOCUMENT: &str = "PROTOCOL.md";

/// Puts `made` between the marks of a generated part, and checks or writes the document.
fn check_part(name: &str, made: &str) {
    let document = recorded::read(DOCUMENT);
    let (begin, end) = (format!("<!-- {name}: generated -->\n"), format!("<!-- {name}: end -->"));
    let (before, rest) = document.split_once(&begin).unwrap_or_else(|| panic!("{DOCUMENT} lacks {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{DOCUMENT} lacks {end}"));
    recorded::check(DOCUMENT, &format!("{before}{begin}\n{}\n\n{end}{after}", made.trim_end()));
}

/// One test, since blessing rewrites the document part by part.
#[test]
fn the_generated_parts_are_up_to_date() {
    check_part("status codes", &status_codes());
    check_part("messages", &schema::reference());
    let hash: String = Sha256::digest(schema::canonical()).iter().map(|b| format!("{b:02x}")).collect();
    check_part("hash", &format!("Version {}: `{hash}`", ProtocolVersion::HIGHEST.number()));
}

fn status_codes() -> String {
    let mut table = "| number | name | retryable | meaning |\n|---|---|---|---|\n".to_owned();
    for code in StatusCode::ALL {
        let retryable = if code.retryable() { "yes" } else { "no" };
        table +=
            &format!("| {} | {} | {retryable} | {} |\n", code.number(), code.name(), code.meaning().trim());
    }
    table
}

#[test]
fn every_kind_of_frame_is_described() {
    let document = recorded::read(DOCUMENT);
    for kind in FrameKind::ALL {
        let row = format!("| {} | {kind:?} |", kind as u8);
        assert!(document.contains(&row), "{DOCUMENT} has no row {row}");
    }
}

#[test]
fn the_limits_in_the_document_are_those_of_the_code() {
    let document = recorded::read(DOCUMENT);
    let values: [(&str, u64); 20] = [
        ("HEADER_BYTES", limits::HEADER_BYTES as u64),
        ("HEAD_BYTES_MAX", limits::HEAD_BYTES_MAX as u64),
        ("HANDSHAKE_HEAD_BYTES_MAX", limits::HANDSHAKE_HEAD_BYTES_MAX as u64),
        ("DATA_FRAME_BYTES", limits::DATA_FRAME_BYTES as u64),
        ("INLINE_TAIL_BYTES_MAX", limits::INLINE_TAIL_BYTES_MAX as u64),
        ("DECODE_BYTES_MAX", limits::DECODE_BYTES_MAX as u64),
        ("STREAMS_MAX", limits::STREAMS_MAX as u64),
        ("CONTROL_QUEUE_MAX", limits::CONTROL_QUEUE_MAX as u64),
        ("ABUSE_PER_TICK_MAX", limits::ABUSE_PER_TICK_MAX.into()),
        ("CONNECTION_CREDIT_BYTES", limits::CONNECTION_CREDIT_BYTES),
        ("CHUNK_BYTES_MIN", limits::CHUNK_BYTES_MIN.into()),
        ("CHUNK_BYTES_MAX", limits::CHUNK_BYTES_MAX.into()),
        ("CHUNK_BYTES_DEFAULT", limits::CHUNK_BYTES_DEFAULT.into()),
        ("REPLICATION_MAX", limits::REPLICATION_MAX.into()),
        ("CHUNKS_PER_REQUEST_MAX", limits::CHUNKS_PER_REQUEST_MAX as u64),
        ("LIST_PAGE_MAX", limits::LIST_PAGE_MAX.into()),
        ("INVENTORY_PAGE_MAX", limits::INVENTORY_PAGE_MAX as u64),
        ("NAME_BYTES_MAX", limits::NAME_BYTES_MAX as u64),
        ("PATH_BYTES_MAX", limits::PATH_BYTES_MAX as u64),
        ("TEXT_BYTES_MAX", limits::TEXT_BYTES_MAX as u64),
    ];
    for (name, value) in values {
        let row = format!("| `{name}` | {value} |");
        assert!(document.contains(&row), "{DOCUMENT} has no row {row}");
    }
}
