//! The one place that calls bincode.
//!
//! One configuration: little-endian, variable-length integers, at most [`DECODE_BYTES_MAX`] allocated while decoding.
//! bincode checks neither trailing bytes nor the depth of recursive types nor the length of lists of zero-sized
//! types: the first is checked here, the other two must not occur in a message (they are reviewed for it, and the
//! message definitions are covered by a recorded hash). Enum variants are only ever appended.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits::DECODE_BYTES_MAX;

const CONFIG: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<DECODE_BYTES_MAX>,
> = bincode::config::standard().with_limit::<DECODE_BYTES_MAX>();

/// Why a value could not be turned into bytes or back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes are not the encoding of such a value.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// The value ended before the bytes did.
    #[error("malformed message: {0} bytes after its end")]
    TrailingBytes(usize),
    /// The value is too long for where it should go.
    #[error("message of {len} bytes is longer than the limit of {max}")]
    TooLong {
        /// Bytes of the encoded message.
        len: usize,
        /// Most bytes there may be.
        max: usize,
    },
}

struct BytesWriter<'a>(&'a mut Vec<u8>);

impl bincode::enc::write::Writer for BytesWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Appends the encoding of `value` to `out`, in one pass.
///
/// # Errors
/// If `value` holds something that has no encoding (none of our messages does).
pub fn encode_into<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    bincode::serde::encode_into_writer(value, BytesWriter(out), CONFIG)
        .map_err(|e| CodecError::Malformed(e.to_string()))
}

/// Encodes `value` into fresh bytes.
///
/// # Errors
/// As [`encode_into`].
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::with_capacity(128);
    encode_into(value, &mut out)?;
    Ok(out)
}

/// Decodes exactly one value that takes up all of `bytes`.
///
/// # Errors
/// If the bytes are malformed, name more than may be allocated, or go on after the value.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (value, used) =
        bincode::serde::decode_from_slice(bytes, CONFIG).map_err(|e| CodecError::Malformed(e.to_string()))?;
    match bytes.len().checked_sub(used) {
        Some(0) => Ok(value),
        rest => Err(CodecError::TrailingBytes(rest.unwrap_or(0))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_lengths_are_refused_before_anything_is_allocated() {
        // 253 marks a u64: nine bytes that announce 2^46 bytes of text.
        let mut bytes = vec![253];
        bytes.extend_from_slice(&(1u64 << 46).to_le_bytes());
        assert!(matches!(decode::<String>(&bytes), Err(CodecError::Malformed(_))));
        assert!(matches!(decode::<Vec<u64>>(&bytes), Err(CodecError::Malformed(_))));
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut bytes = encode(&7u32).unwrap();
        bytes.push(0);
        assert_eq!(decode::<u32>(&bytes), Err(CodecError::TrailingBytes(1)));
    }
}
