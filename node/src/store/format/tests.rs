//! The bytes, and that nothing else is taken for them.

use proptest::prelude::*;

use super::*;

const IDENTITY: ChunkIdentity = ChunkIdentity {
    cluster: ClusterId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
    chunk: ChunkId(0x2122_2324_2526_2728_292a_2b2c_2d2e_2f30),
    generation: Generation(3),
    file: InodeId(0x0a0b),
    index: 5,
};

/// Bytes of the golden chunk.
const LEN: u32 = 65_553;

/// What both versions begin with, for [`IDENTITY`] and 65,553 bytes.
const BEGINNING: &str = concat!(
    "00000100",                         // block bytes
    "0102030405060708090a0b0c0d0e0f10", // cluster
    "2122232425262728292a2b2c2d2e2f30", // chunk
    "0b0a000000000000",                 // file
    "05000000",                         // index
    "03000000",                         // generation
    "11000100",                         // length
    "02000000",                         // blocks
    "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee",
);

fn path(text: &str) -> DfsPath {
    DfsPath::parse(text).expect("a path")
}

fn golden() -> Footer {
    let sealing = Sealing {
        cipher: Cipher::Aes256Gcm,
        key: EncryptionId(0x3132_3334_3536_3738_393a_3b3c_3d3e_3f40),
        salt: [0x5a; 16],
        plain_len: 65_521,
        plain_sha256: [0xdd; 32],
    };
    let facts = ChunkFacts {
        sealing: Some(sealing),
        offset: Some(0x1122),
        last: true,
        file_size: Some(0x3344),
        mtime_ns: Some(-2),
        path: Some(path("/a/b")),
    };
    Footer {
        identity: IDENTITY,
        seal: ChunkSeal { len: LEN, sha256: [0xee; 32] },
        block_crcs: vec![0x1111_2222, 0x3333_4444].into(),
        facts,
    }
}

/// A footer of `len` bytes of data, or somewhat more: they are enciphered in every other case.
fn footer(len: u32, seed: u64) -> Footer {
    let wide = u128::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let bit = |n: u32| seed >> n & 1 == 1;
    let plain_len = len.min(CHUNK_BYTES_MAX - 1024 * 16);
    let sealing = bit(0).then_some(Sealing {
        cipher: Cipher::Aes256Gcm,
        key: EncryptionId(wide >> 1),
        salt: (wide >> 2).to_le_bytes(),
        plain_len,
        plain_sha256: [!seed as u8; 32],
    });
    let len = if sealing.is_some() { Sealing::stored_len(plain_len) as u32 } else { len };
    let name = "n".repeat((seed % 255) as usize + 1);
    let facts = ChunkFacts {
        sealing,
        offset: bit(1).then_some(seed),
        last: bit(2),
        file_size: bit(3).then_some(!seed),
        mtime_ns: bit(4).then_some(seed.cast_signed()),
        path: (bit(5) && name.len() < path_room(len)).then(|| path(&format!("/{name}"))),
    };
    Footer {
        identity: ChunkIdentity {
            cluster: ClusterId(wide),
            chunk: ChunkId(!wide),
            generation: Generation(seed as u32),
            file: InodeId(seed),
            index: (seed >> 32) as u32,
        },
        seal: ChunkSeal { len, sha256: [seed as u8; 32] },
        block_crcs: (0..block_count(len)).map(|i| (i as u32).wrapping_mul(seed as u32)).collect(),
        facts,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}

#[test]
fn golden_trailer() {
    let bytes = encode(&golden());
    assert_eq!(bytes.len(), 4096);
    assert_eq!(bytes[..8], [0x22, 0x22, 0x11, 0x11, 0x44, 0x44, 0x33, 0x33]);
    assert_eq!(bytes[8..12], *b"/a/b");
    assert!(bytes[12..4096 - TRAILER_BYTES].iter().all(|&b| b == 0));
    let beginning = ["4446534348554e4b", "02000000", BEGINNING].concat();
    let rest = concat!(
        "0100",                             // cipher
        "0f00",                             // flags
        "f1ff0000",                         // plain length
        "3132333435363738393a3b3c3d3e3f40", // key
        "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a", // salt
        "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd",
        "2211000000000000", // offset
        "4433000000000000", // file size
        "feffffffffffffff", // mtime
        "0400",             // path
    );
    let expected = [&*beginning, rest, &"00".repeat(50)].concat();
    assert_eq!(hex(&bytes[4096 - TRAILER_BYTES..4092]), expected);
    assert_eq!(bytes[4092..], crc32fast::hash(&bytes[..4092]).to_le_bytes());
    assert_eq!(decode(&bytes, file_bytes(LEN)), Ok(golden()));
}

/// A footer as version 1 wrote it.
fn of_version_1(len: u32) -> Vec<u8> {
    let mut out = vec![0; older::footer_bytes(len) - 128];
    let table = [0x22, 0x22, 0x11, 0x11, 0x44, 0x44, 0x33, 0x33];
    let known = table.len().min(block_count(len) * 4);
    out[..known].copy_from_slice(&table[..known]);
    let mut trailer = from_hex(&["4446534348554e4b", "01000000", BEGINNING, &"00".repeat(20)].concat());
    trailer[64..68].copy_from_slice(&len.to_le_bytes());
    trailer[68..72].copy_from_slice(&(block_count(len) as u32).to_le_bytes());
    out.extend(trailer);
    out.extend(crc32fast::hash(&out).to_le_bytes());
    out
}

#[test]
fn version_1_is_read_and_says_nothing_of_its_file() {
    let bytes = of_version_1(LEN);
    let expected = Footer { facts: ChunkFacts::default(), ..golden() };
    assert_eq!(decode(&bytes, file_bytes(LEN)), Ok(expected));
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&bytes, file_bytes(LEN)).is_err(), "bit {bit}");
    }
    // Where the longer trailer needs a page more, a file of version 1 has one less.
    let len = 61 << 20;
    assert_eq!((older::footer_bytes(len), footer_bytes(len)), (4096, 8192));
    let file = padded_len(len) + 4096;
    assert_eq!(decode(&of_version_1(len), file).map(|footer| footer.seal.len), Ok(len));
}

#[test]
fn what_a_writer_says_is_not_taken_for_a_trailer_of_version_1() {
    let mut footer = golden();
    let disguise = from_hex("4446534348554e4b0100000000000100");
    footer.facts.sealing.as_mut().expect("it is sealed").salt = disguise.try_into().expect("16 bytes");
    let bytes = encode(&footer);
    assert_eq!(decode(&bytes, file_bytes(LEN)), Ok(footer));
}

#[test]
fn facts_that_cannot_be_are_refused() {
    type Change = fn(&mut [u8]);
    let changes: [(Change, &str); 8] = [
        (|t| t[104] = 2, "cipher"),
        (|t| t[106] |= 16, "flags"),
        (|t| t[108] ^= 1, "plain length"),
        (|t| t[106] &= !HAS_OFFSET as u8, "offset"),
        (|t| t[106] &= !HAS_FILE_SIZE as u8, "file size"),
        (|t| t[106] &= !HAS_MTIME as u8, "modification time"),
        (|t| t[200] = 3, "rest of the page"),
        (|t| t[201] = 255, "path length"),
    ];
    for (change, field) in changes {
        let mut bytes = encode(&golden());
        change(&mut bytes[4096 - TRAILER_BYTES..]);
        let crc = crc32fast::hash(&bytes[..4092]).to_le_bytes();
        bytes[4092..].copy_from_slice(&crc);
        assert_eq!(decode(&bytes, file_bytes(LEN)), Err(FormatError::Field(field)));
    }
}

#[test]
fn a_path_that_does_not_fit_is_left_out() {
    let long = path(&"/0123456789abcde".repeat(230));
    for (len, fits) in [(8 << 20, false), (1, true)] {
        let mut footer = footer(len, 0);
        footer.facts.path = Some(long.clone());
        assert_eq!(path_room(len) >= long.as_str().len(), fits, "{len}");
        let expected = fits.then(|| long.clone());
        let read = decode(&encode(&footer), file_bytes(len)).expect("a footer");
        assert_eq!(read.facts.path, expected);
    }
    assert_eq!(path_room(960 * 65_536), 0, "the table and the trailer fill the page");
}

#[test]
fn lengths_around_every_boundary() {
    for (len, padded, footer) in [
        (0, 0, 4096),
        (1, 4096, 4096),
        (4096, 4096, 4096),
        (4097, 8192, 4096),
        (CHUNK_BYTES_MAX, u64::from(CHUNK_BYTES_MAX), 8192),
    ] {
        assert_eq!((padded_len(len), footer_bytes(len)), (padded, footer), "{len}");
    }
    assert_eq!((block_count(0), block_count(65_536), block_count(65_537)), (0, 1, 2));
}

#[test]
fn every_flipped_bit_of_a_footer_is_caught() {
    for (len, seed) in [(0, 77), (1, 76), (65_537, 0x3f)] {
        let footer = footer(len, seed);
        let (len, mut bytes) = (footer.seal.len, encode(&footer));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bytes, file_bytes(len)).is_err(), "bit {bit} of length {len}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(decode(&bytes, file_bytes(len)).is_ok());
    }
}

#[test]
fn other_versions_and_cut_files_are_named() {
    let mut bytes = encode(&footer(10, 0));
    assert!(matches!(decode(&bytes, file_bytes(10) - 4096), Err(FormatError::FileLength { .. })));
    let at = bytes.len() - TRAILER_BYTES + 8;
    bytes[at] = 3;
    assert_eq!(decode(&bytes, file_bytes(10)), Err(FormatError::Version(3)));
    assert_eq!(decode(&[], 0), Err(FormatError::Magic));
    let big = encode(&footer(CHUNK_BYTES_MAX, 0));
    let cut = &big[4096..];
    assert_eq!(decode(cut, file_bytes(CHUNK_BYTES_MAX)), Err(FormatError::Field("read length")));
}

proptest! {
    #[test]
    fn decode_after_encode_is_the_identity(len in 0..=CHUNK_BYTES_MAX, seed: u64, extra in 0usize..9000) {
        let footer = footer(len, seed);
        let mut tail = vec![0xa5; extra];
        tail.extend(encode(&footer));
        prop_assert_eq!(decode(&tail, file_bytes(footer.seal.len)), Ok(footer));
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut tail in proptest::collection::vec(any::<u8>(), 0..9000), len: u64, magic: bool) {
        if magic && let Some(at) = tail.len().checked_sub(TRAILER_BYTES) {
            tail[at..at + 8].copy_from_slice(MAGIC);
            tail[at + 8..at + 12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        }
        prop_assert!(decode(&tail, len).is_err());
    }
}
