//! Decoding after encoding is the identity; arbitrary bytes are an error or a value, never a panic.

use dfs_wire::codec;
use dfs_wire::handshake::{Hello, Welcome};
use dfs_wire::message::{EndHead, Request, RequestHead, Response, ResponseHead};
use dfs_wire::status::Status;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::generate::{Choices, Random, generate, round_trip};

/// Messages of one type, of every shape it can have.
fn messages<T: DeserializeOwned + std::fmt::Debug + 'static>() -> impl Strategy<Value = T> {
    any::<u64>().prop_map(|seed| generate(&mut Random(seed)))
}

/// Random choices, but the conversation is given.
struct Within(Random, Option<usize>);

impl Choices for Within {
    fn integer(&mut self, bits: u32) -> u128 {
        self.0.integer(bits)
    }

    fn length(&mut self) -> usize {
        self.0.length()
    }

    fn text(&mut self) -> String {
        self.0.text()
    }

    fn is_some(&mut self) -> bool {
        self.0.is_some()
    }

    fn variant(&mut self, name: &'static str, variants: &'static [&'static str]) -> usize {
        self.1.take().unwrap_or_else(|| self.0.variant(name, variants))
    }
}

fn of_conversation<T: DeserializeOwned + std::fmt::Debug + 'static>(
    conversation: usize,
) -> impl Strategy<Value = T> {
    any::<u64>().prop_map(move |seed| generate(&mut Within(Random(seed), Some(conversation))))
}

fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    value: &T,
) -> Result<(), TestCaseError> {
    let (bytes, back) = round_trip(value);
    prop_assert_eq!(&back, value);
    // A cut message is an error, not a shorter message; one that goes on is an error, too.
    for cut in 0..bytes.len() {
        prop_assert!(codec::decode::<T>(&bytes[..cut]).is_err(), "cut at {}", cut);
    }
    let longer = [&bytes[..], &[0]].concat();
    prop_assert!(codec::decode::<T>(&longer).is_err());
    Ok(())
}

macro_rules! conversations {
    ($($name:ident = $number:literal),+) => {
        proptest! {
            $(#[test]
            fn $name(request in of_conversation::<Request>($number), response in of_conversation::<Response>($number)) {
                check(&request)?;
                check(&response)?;
            })+
        }
    };
}

conversations!(
    metadata_round_trips = 0,
    chunk_round_trips = 1,
    replication_round_trips = 2,
    membership_round_trips = 3,
    inventory_round_trips = 4,
    admin_round_trips = 5
);

proptest! {
    #[test]
    fn heads_round_trip(
        request in messages::<RequestHead>(),
        response in messages::<ResponseHead>(),
        end in messages::<EndHead>(),
        status in messages::<Status>(),
        hello in messages::<Hello>(),
        welcome in messages::<Welcome>(),
    ) {
        check(&request)?;
        check(&response)?;
        check(&end)?;
        check(&status)?;
        check(&hello)?;
        check(&welcome)?;
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        decode_everything(&bytes);
    }

    /// Damage to a good message gets deeper than noise does.
    #[test]
    fn damaged_messages_never_panic(
        request in messages::<RequestHead>(),
        response in messages::<ResponseHead>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        for mut bytes in [codec::encode(&request).unwrap(), codec::encode(&response).unwrap()] {
            for (at, byte) in &damage {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            decode_everything(&bytes);
        }
    }
}

fn decode_everything(bytes: &[u8]) {
    codec::decode::<RequestHead>(bytes).ok();
    codec::decode::<ResponseHead>(bytes).ok();
    codec::decode::<EndHead>(bytes).ok();
    codec::decode::<Status>(bytes).ok();
    codec::decode::<Hello>(bytes).ok();
    codec::decode::<Welcome>(bytes).ok();
}
