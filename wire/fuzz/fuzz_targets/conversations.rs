//! The messages of every conversation: what can be decoded can be encoded, and is the same again.
//!
//! The first byte chooses the conversation and the direction, so that each gets its share; the rest is the message.
#![no_main]

use dfs_wire::codec;
use dfs_wire::message::{Request, RequestHead, ResponseHead};
use dfs_wire::status::Status;
use libfuzzer_sys::fuzz_target;

/// Conversations there are: metadata, chunk, replication, membership, inventory, admin.
const CONVERSATIONS: u8 = 6;

macro_rules! check {
    ($type:ty, $bytes:expr) => {
        if let Ok(value) = codec::decode::<$type>($bytes) {
            let again = codec::encode(&value).expect("what was decoded can be encoded");
            assert_eq!(codec::decode::<$type>(&again).expect("and decoded again"), value);
            assert!(again.len() <= $bytes.len(), "the encoding is the shortest there is");
        }
    };
}

fuzz_target!(|data: &[u8]| {
    let Some((&choice, rest)) = data.split_first() else { return };
    let conversation = choice % CONVERSATIONS;
    match choice / CONVERSATIONS % 4 {
        0 => check!(Request, &[&[conversation], rest].concat()[..]),
        1 => check!(ResponseHead, &[&[0, conversation], rest].concat()[..]),
        2 => check!(RequestHead, rest),
        _ => check!(Status, rest),
    }
});
