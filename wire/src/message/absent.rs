//! A text that may not be there: empty on the network, `null` where people or scripts read it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(super) fn serialize<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    match serializer.is_human_readable() {
        true => Some(text).filter(|text| !text.is_empty()).serialize(serializer),
        false => text.serialize(serializer),
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match deserializer.is_human_readable() {
        true => Option::deserialize(deserializer).map(Option::unwrap_or_default),
        false => String::deserialize(deserializer),
    }
}
