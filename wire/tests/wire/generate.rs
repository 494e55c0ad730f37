//! Makes a value of any message type out of a source of choices, by playing its deserializer.
//!
//! Whatever a message is made of is reached: a field or variant added tomorrow needs no line here. Texts are always
//! valid paths, so that a path can stand wherever a text can.

use std::collections::BTreeSet;
use std::fmt;

use dfs_wire::codec;
use serde::Serialize;
use serde::de::value::{StrDeserializer, U32Deserializer};
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};

/// Answers the questions that come up while a value is made.
pub(crate) trait Choices {
    /// An integer of so many bits.
    fn integer(&mut self, bits: u32) -> u128;
    /// How many elements a list has.
    fn length(&mut self) -> usize;
    /// A text that is also a valid path.
    fn text(&mut self) -> String;
    /// Whether an option holds something.
    fn is_some(&mut self) -> bool;
    /// Which of these variants of an enum.
    fn variant(&mut self, name: &'static str, variants: &'static [&'static str]) -> usize;
}

/// Makes a value.
pub(crate) fn generate<T: DeserializeOwned>(choices: &mut impl Choices) -> T {
    T::deserialize(Maker(choices)).expect("every choice is valid")
}

/// Encodes `value`, decodes it again, and gives both.
pub(crate) fn round_trip<T: Serialize + DeserializeOwned>(value: &T) -> (Vec<u8>, T) {
    let bytes = codec::encode(value).expect("a message can be encoded");
    let back = codec::decode(&bytes).expect("what was encoded can be decoded");
    (bytes, back)
}

/// Random choices, with a taste for the edges of the variable-length integers. SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

const EDGES: [u128; 12] = [
    0,
    1,
    250,
    251,
    255,
    256,
    0xffff,
    0x1_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0xffff_ffff_ffff_ffff,
    0x1_0000_0000_0000_0000,
];

impl Choices for Random {
    fn integer(&mut self, bits: u32) -> u128 {
        let wide = match self.below(3) {
            0 => EDGES[self.below(EDGES.len())],
            1 => u128::MAX,
            _ => u128::from(self.next()) << 64 | u128::from(self.next()),
        };
        if bits == 128 { wide } else { wide & ((1 << bits) - 1) }
    }

    fn length(&mut self) -> usize {
        self.below(4)
    }

    fn text(&mut self) -> String {
        const LETTERS: [char; 8] = ['a', 'Z', '9', ' ', 'ü', '字', '🦀', '.'];
        let name = |r: &mut Self| -> String {
            "n".chars().chain((0..r.below(12)).map(|_| LETTERS[r.below(LETTERS.len())])).collect()
        };
        let segments: Vec<String> = (0..self.below(4)).map(|_| name(self)).collect();
        format!("/{}", segments.join("/"))
    }

    fn is_some(&mut self) -> bool {
        self.below(2) == 0
    }

    fn variant(&mut self, _name: &'static str, variants: &'static [&'static str]) -> usize {
        self.below(variants.len())
    }
}

/// Choices that count up, so that no two fields of a message look alike, and that go to variants not seen before.
#[derive(Default)]
pub(crate) struct Counting {
    counter: u64,
    /// Variants to take first, from the outside in.
    path: Vec<usize>,
    depth: usize,
    /// Variants met beyond the path.
    pub(crate) seen: BTreeSet<(&'static str, usize)>,
    /// How many variants each level of the path has, and their names.
    pub(crate) levels: Vec<&'static [&'static str]>,
}

impl Counting {
    /// Choices that take these variants first, from the outside in.
    pub(crate) fn along(path: &[usize]) -> Self {
        Self { path: path.to_vec(), ..Self::default() }
    }

    /// Begins another value, keeping what was seen.
    pub(crate) fn restart(&mut self) {
        self.depth = 0;
        self.levels.clear();
    }

    fn count(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }
}

impl Choices for Counting {
    fn integer(&mut self, bits: u32) -> u128 {
        let n = u128::from(self.count());
        // Each length of encoding turns up somewhere.
        match bits {
            8 => n % 256,
            16 => n * 7 % 0x1_0000,
            32 => [n, n * 1_000, n * 100_000][n as usize % 3] & 0xffff_ffff,
            64 => [n, n * 1_000, n * 1_000_000_000_000][n as usize % 3],
            _ => (n << 120) | n,
        }
    }

    fn length(&mut self) -> usize {
        2
    }

    fn text(&mut self) -> String {
        format!("/t{}", self.count())
    }

    fn is_some(&mut self) -> bool {
        self.count();
        !self.counter.is_multiple_of(4)
    }

    fn variant(&mut self, name: &'static str, variants: &'static [&'static str]) -> usize {
        let level = self.depth;
        self.depth += 1;
        if let Some(&forced) = self.path.get(level) {
            self.levels.push(variants);
            return forced;
        }
        let fresh = (0..variants.len()).find(|v| !self.seen.contains(&(name, *v))).unwrap_or(0);
        self.seen.insert((name, fresh));
        fresh
    }
}

/// Why a value cannot be made: never, for our messages.
#[derive(Debug)]
pub(crate) struct Impossible(String);

impl fmt::Display for Impossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Impossible {}

impl de::Error for Impossible {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

struct Maker<'a, C>(&'a mut C);

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty),+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Impossible> {
            visitor.$visit(self.0.integer(<$type>::BITS) as $type)
        })+
    };
}

macro_rules! unused {
    ($($method:ident)+) => {
        $(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Impossible> {
            Err(Impossible(format!("{} has no place in a message: see PROTOCOL.md", stringify!($method))))
        })+
    };
}

impl<'de, C: Choices> Deserializer<'de> for Maker<'_, C> {
    type Error = Impossible;

    /// What it makes is what travels.
    fn is_human_readable(&self) -> bool {
        false
    }

    integers!(deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64, deserialize_u128 visit_u128 u128);

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Impossible> {
        visitor.visit_i64(self.0.integer(64) as u64 as i64)
    }

    // No other signed numbers, floats, maps or single characters: their rules would have to be written down, too. A unit or
    // unit struct in a list would let nine bytes announce a list without end.
    unused!(deserialize_any deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i128
        deserialize_f32 deserialize_f64 deserialize_char deserialize_bytes deserialize_byte_buf deserialize_unit
        deserialize_map deserialize_ignored_any);

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Impossible> {
        visitor.visit_bool(self.0.is_some())
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Impossible> {
        visitor.visit_string(self.0.text())
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Impossible> {
        visitor.visit_string(self.0.text())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Impossible> {
        if self.0.is_some() { visitor.visit_some(self) } else { visitor.visit_none() }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: V,
    ) -> Result<V::Value, Impossible> {
        Err(Impossible(format!("the unit struct {name} has no place in a message")))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Impossible> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Impossible> {
        let len = self.0.length();
        visitor.visit_seq(Elements(self.0, len))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Impossible> {
        visitor.visit_seq(Elements(self.0, len))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Impossible> {
        visitor.visit_seq(Elements(self.0, len))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Impossible> {
        visitor.visit_seq(Elements(self.0, fields.len()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Impossible> {
        let variant = self.0.variant(name, variants) as u32;
        visitor.visit_enum(Variant(self.0, variant))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Impossible> {
        let never: StrDeserializer<'_, Impossible> = "fields have no names on the wire".into_deserializer();
        never.deserialize_str(visitor)
    }
}

struct Elements<'a, C>(&'a mut C, usize);

impl<'de, C: Choices> de::SeqAccess<'de> for Elements<'_, C> {
    type Error = Impossible;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Impossible> {
        if self.1 == 0 {
            return Ok(None);
        }
        self.1 -= 1;
        seed.deserialize(Maker(self.0)).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.1)
    }
}

struct Variant<'a, C>(&'a mut C, u32);

impl<'a, 'de, C: Choices> de::EnumAccess<'de> for Variant<'a, C> {
    type Error = Impossible;
    type Variant = Content<'a, C>;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self::Variant), Impossible> {
        let tag: U32Deserializer<Impossible> = self.1.into_deserializer();
        seed.deserialize(tag).map(|value| (value, Content(self.0)))
    }
}

struct Content<'a, C>(&'a mut C);

impl<'de, C: Choices> de::VariantAccess<'de> for Content<'_, C> {
    type Error = Impossible;

    fn unit_variant(self) -> Result<(), Impossible> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Impossible> {
        seed.deserialize(Maker(self.0))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Impossible> {
        visitor.visit_seq(Elements(self.0, len))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Impossible> {
        visitor.visit_seq(Elements(self.0, fields.len()))
    }
}
