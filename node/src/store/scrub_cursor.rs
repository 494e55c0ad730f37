//! How far the scrub of a data directory has come: a small text that checks itself. Pure; the file is handled by `scrub_file.rs`.
//!
//! ```text
//! dfs scrub cursor
//! format 1
//! round 3
//! pace period                                   or budget, or unpaced
//! began 1790000000000                           wall clock, for people
//! spent 86400000                                milliseconds that the node has run since
//! since 90000000                                the same since a round last ended
//! after 00000000000000000000000000000abc.1      the last chunk that was read, or "-"
//! upto 00000000000000000000000000000def.2       the last one of the round, or "-": the round has ended
//! total 1000 8000000                            chunks and bytes there were when it began
//! read 500 4000000                              chunks and bytes
//! found 1 0                                     bad, unreadable
//! ended 0                                       wall clock; 0 while the round is under way
//! last 2 1788000000000 1789000000000 1000 8000000 0 0      the last round that ended, or "-"
//! doubted 00000000000000000000000000000012.1    a line each
//! crc 1a2b3c4d                                  CRC32 of all the lines above
//! ```
//! Exactly this form is accepted. What is damaged, or of another version, is no cursor: a new round costs reading, and no more.

use dfs_actors::datanode::scrub::{DOUBTED_MAX, ScrubCursor};
use dfs_wire::id::ChunkKey;
use dfs_wire::message::admin::{ScrubPace, ScrubRound};

use super::layout::parse_chunk_name;

/// Longest text that is read.
pub(crate) const CURSOR_BYTES_MAX: usize = 1024 + DOUBTED_MAX * 64;

const TITLE: &str = "dfs scrub cursor";
const FORMAT: u32 = 1;
const PACES: [(ScrubPace, &str); 3] =
    [(ScrubPace::Period, "period"), (ScrubPace::Budget, "budget"), (ScrubPace::Unpaced, "unpaced")];

/// The text of a cursor.
pub(crate) fn encode(cursor: &ScrubCursor) -> String {
    let ScrubCursor { round, spent_ms, since_ms, chunks_total, bytes_total, .. } = cursor;
    let ScrubRound { chunks, bytes, bad, unreadable, .. } = round;
    let key = |key: Option<ChunkKey>| key.map_or_else(|| "-".to_owned(), |key| key.to_string());
    let pace = PACES.iter().find(|(pace, _)| *pace == cursor.pace).map_or("-", |(_, word)| word);
    let last = cursor.last.map_or_else(
        || "-".to_owned(),
        |last| {
            let ScrubRound { round, began_ms, ended_ms, chunks, bytes, bad, unreadable } = last;
            format!("{round} {began_ms} {ended_ms} {chunks} {bytes} {bad} {unreadable}")
        },
    );
    let lines = [
        TITLE.to_owned(),
        format!("format {FORMAT}"),
        format!("round {}", round.round),
        format!("pace {pace}"),
        format!("began {}", round.began_ms),
        format!("spent {spent_ms}"),
        format!("since {since_ms}"),
        format!("after {}", key(cursor.after)),
        format!("upto {}", key(cursor.upto)),
        format!("total {chunks_total} {bytes_total}"),
        format!("read {chunks} {bytes}"),
        format!("found {bad} {unreadable}"),
        format!("ended {}", round.ended_ms),
        format!("last {last}"),
    ];
    let doubted = cursor.doubted.iter().map(|key| format!("doubted {key}"));
    let body: String = lines.into_iter().chain(doubted).map(|line| line + "\n").collect();
    let crc = crc32fast::hash(body.as_bytes());
    format!("{body}crc {crc:08x}\n")
}

/// The cursor in a text; `None` if it is none that can be believed.
pub(crate) fn decode(text: &[u8]) -> Option<ScrubCursor> {
    let text = std::str::from_utf8(text).ok()?;
    let at = text.strip_suffix('\n')?.rfind('\n')? + 1;
    let body = text.get(..at)?;
    let mut lines = body.lines();
    if lines.next() != Some(TITLE) || field(lines.next(), "format")? != FORMAT.to_string() {
        return None;
    }
    let cursor = fields(lines)?;
    // The checksum is a part of the form.
    (cursor.doubted.len() <= DOUBTED_MAX && encode(&cursor) == text).then_some(cursor)
}

fn fields<'a>(mut lines: impl Iterator<Item = &'a str>) -> Option<ScrubCursor> {
    let [round] = numbers(field(lines.next(), "round")?)?;
    let pace = field(lines.next(), "pace")?;
    let pace = PACES.iter().find(|(_, word)| *word == pace).map(|(pace, _)| *pace)?;
    let [began_ms] = numbers(field(lines.next(), "began")?)?;
    let [spent_ms] = numbers(field(lines.next(), "spent")?)?;
    let [since_ms] = numbers(field(lines.next(), "since")?)?;
    let after = key(field(lines.next(), "after")?)?;
    let upto = key(field(lines.next(), "upto")?)?;
    let [chunks_total, bytes_total] = numbers(field(lines.next(), "total")?)?;
    let [chunks, bytes] = numbers(field(lines.next(), "read")?)?;
    let [bad, unreadable] = numbers(field(lines.next(), "found")?)?;
    let [ended_ms] = numbers(field(lines.next(), "ended")?)?;
    let last = match field(lines.next(), "last")? {
        "-" => None,
        text => {
            let [round, began_ms, ended_ms, chunks, bytes, bad, unreadable] = numbers(text)?;
            Some(ScrubRound { round, began_ms, ended_ms, chunks, bytes, bad, unreadable })
        }
    };
    let doubted = lines.map(|line| parse_chunk_name(field(Some(line), "doubted")?)).collect::<Option<_>>()?;
    let round = ScrubRound { round, began_ms, ended_ms, chunks, bytes, bad, unreadable };
    let (chunks_total, bytes_total) = (chunks_total, bytes_total);
    Some(ScrubCursor {
        round,
        pace,
        spent_ms,
        since_ms,
        after,
        upto,
        chunks_total,
        bytes_total,
        last,
        doubted,
    })
}

fn field<'a>(line: Option<&'a str>, name: &str) -> Option<&'a str> {
    line?.strip_prefix(name)?.strip_prefix(' ')
}

fn key(text: &str) -> Option<Option<ChunkKey>> {
    match text {
        "-" => Some(None),
        name => parse_chunk_name(name).map(Some),
    }
}

fn numbers<const N: usize>(text: &str) -> Option<[u64; N]> {
    let numbers: Vec<u64> = text.split(' ').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    numbers.try_into().ok()
}

#[cfg(test)]
mod tests {
    use dfs_wire::id::{ChunkId, Generation};
    use proptest::prelude::*;

    use super::*;

    fn chunk(id: u128, generation: u32) -> ChunkKey {
        ChunkKey { chunk: ChunkId(id), generation: Generation(generation) }
    }

    fn cursor() -> ScrubCursor {
        let round = |round, ended_ms| ScrubRound {
            round,
            began_ms: 1_789_000_000_001,
            ended_ms,
            chunks: 500,
            bytes: 4_000_000,
            bad: 1,
            unreadable: 2,
        };
        ScrubCursor {
            round: round(3, 0),
            pace: ScrubPace::Budget,
            spent_ms: 86_400_000,
            since_ms: 90_000_000,
            after: Some(chunk(0xabc, 1)),
            upto: Some(chunk(0xdef, 2)),
            chunks_total: 1000,
            bytes_total: 8_000_000,
            last: Some(round(2, 1_789_000_900_000)),
            doubted: vec![chunk(0x12, 1), chunk(0x13, 4)],
        }
    }

    #[test]
    fn golden() {
        let expected = "\
dfs scrub cursor
format 1
round 3
pace budget
began 1789000000001
spent 86400000
since 90000000
after 00000000000000000000000000000abc.1
upto 00000000000000000000000000000def.2
total 1000 8000000
read 500 4000000
found 1 2
ended 0
last 2 1789000000001 1789000900000 500 4000000 1 2
doubted 00000000000000000000000000000012.1
doubted 00000000000000000000000000000013.4
crc 05bc2b54
";
        assert_eq!(encode(&cursor()), expected);
        assert_eq!(decode(expected.as_bytes()), Some(cursor()));
        let fresh = ScrubCursor::default();
        assert_eq!(decode(encode(&fresh).as_bytes()), Some(fresh));
    }

    #[test]
    fn every_flipped_bit_is_caught_and_so_is_another_version() {
        let mut text = encode(&cursor()).into_bytes();
        for bit in 0..text.len() * 8 {
            text[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&text), None, "bit {bit}");
            text[bit / 8] ^= 1 << (bit % 8);
        }
        assert!((0..text.len()).all(|len| decode(&text[..len]).is_none()), "cut short");
        let body = "dfs scrub cursor\nformat 2\n";
        let newer = format!("{body}crc {:08x}\n", crc32fast::hash(body.as_bytes()));
        assert_eq!(decode(newer.as_bytes()), None);
    }

    #[test]
    fn the_longest_cursor_is_read() {
        let doubted = (0..DOUBTED_MAX as u128).map(|id| chunk(u128::MAX - id, u32::MAX)).collect();
        let most = u64::MAX;
        let round = ScrubRound {
            round: most,
            began_ms: most,
            ended_ms: most,
            chunks: most,
            bytes: most,
            bad: most,
            unreadable: most,
        };
        let longest = ScrubCursor {
            round,
            pace: ScrubPace::Unpaced,
            spent_ms: most,
            since_ms: most,
            after: Some(chunk(u128::MAX, u32::MAX)),
            upto: Some(chunk(u128::MAX, u32::MAX)),
            chunks_total: most,
            bytes_total: most,
            last: Some(round),
            doubted,
        };
        let text = encode(&longest);
        assert!(text.len() <= CURSOR_BYTES_MAX, "{}", text.len());
        assert_eq!(decode(text.as_bytes()), Some(longest));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text: Vec<u8>) {
            prop_assert!(decode(&text).is_none());
        }
    }
}
