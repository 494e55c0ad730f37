//! Times and sizes as scenarios write them, with their units.

use std::{str::FromStr as _, time::Duration};

use serde::{Deserialize, Deserializer, de::Error as _};

/// A time with its unit: `500ms`, `30s`, `2min`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong =
            |error| D::Error::custom(format!("`{text}` is no time with a unit, such as 30s: {error}"));
        humantime::parse_duration(&text).map(Self).map_err(wrong)
    }
}

/// A size with its unit: `4KiB`, `2MiB`, or a number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = |error| D::Error::custom(format!("`{text}` is no size, such as 256KiB: {error}"));
        bytesize::ByteSize::from_str(&text).map(|size| Self(size.as_u64())).map_err(wrong)
    }
}
