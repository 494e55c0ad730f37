//! How a record becomes a value, and how the values of older builds are read.
//!
//! ```text
//! value = format byte of the record's kind | the record in the codec of the wire
//! ```
//!
//! A kind of record changes its fields only together with its [`Record::FORMAT`], and then says how a value with the
//! byte before is read ([`Record::from_older`]): a row is written anew when it is next changed, never for its own sake.
//! [`FORMAT_VERSION`] is that of the whole store. It rises when tables change their meaning, or are added that an older
//! build would do harm by not knowing (jobs are none: what they wish is undone by nobody knowing it); what is to be done then is in [`crate::coordinator::metadata::migrate`].

use dfs_wire::codec::{self, CodecError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::MetaError;

/// The format of the whole store; a newer one is refused.
///
/// | version | what it brought |
/// |---|---|
/// | 1 | the tables of the first build |
/// | 2 | copies by node, chunks by group; the standing of a node, commit positions |
/// | 3 | what the trash takes; all outcomes are counted |
pub const FORMAT_VERSION: u32 = 3;

/// A kind of record.
pub trait Record: Serialize + DeserializeOwned {
    /// The leading byte of its values.
    const FORMAT: u8 = 1;

    /// Reads a value of an older format; `None` if there is none with this byte.
    fn from_older(format: u8, body: &[u8]) -> Option<Result<Self, CodecError>> {
        let _ = (format, body);
        None
    }
}

/// Encodes a record as a value.
///
/// # Errors
/// [`MetaError::Damaged`] if it has no encoding (no record of this crate).
pub fn encode<T: Record>(key: &[u8], record: &T) -> Result<Vec<u8>, MetaError> {
    let mut value = vec![T::FORMAT];
    codec::encode_into(record, &mut value).map_err(|e| MetaError::damaged(key, e.to_string()))?;
    Ok(value)
}

/// Decodes the value found under `key`.
///
/// # Errors
/// [`MetaError::Damaged`] if it is of a format that is not known or malformed.
pub fn decode<T: Record>(key: &[u8], value: &[u8]) -> Result<T, MetaError> {
    let Some((&format, body)) = value.split_first() else {
        return Err(MetaError::damaged(key, "an empty value"));
    };
    let record = match format == T::FORMAT {
        true => Some(codec::decode(body)),
        false => T::from_older(format, body),
    };
    let record =
        record.ok_or_else(|| MetaError::damaged(key, format!("record format {format} is not known")))?;
    record.map_err(|e| MetaError::damaged(key, e.to_string()))
}
