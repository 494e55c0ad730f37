//! Any 24 bytes are a header or an error; a header is within the limits and has the bytes it came from.
#![no_main]

use dfs_wire::frame::Header;
use dfs_wire::limits::{DATA_FRAME_BYTES, HEAD_BYTES_MAX, HEADER_BYTES};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((front, head)) = data.split_first_chunk::<HEADER_BYTES>() else { return };
    for head_max in [16, HEAD_BYTES_MAX, usize::MAX] {
        let Ok(header) = Header::parse(front, head_max) else { continue };
        assert!(usize::from(header.head_len) <= head_max.min(HEAD_BYTES_MAX));
        assert!(header.tail_len as usize <= DATA_FRAME_BYTES);
        let sealed = header.seal(head);
        let again = Header::parse(&sealed, head_max).expect("a sealed header can be read");
        assert!(again.verify_head(head).is_ok());
        assert_eq!(header.verify_head(head).is_ok(), sealed == *front);
    }
});
