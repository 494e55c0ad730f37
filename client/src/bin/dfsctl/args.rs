//! The kinds of values that flags take, each with the message a wrong one gets.

use std::time::Duration;

use dfs_wire::id::VersionId;
use dfs_wire::limits::{BLOCK_BYTES, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, REPLICATION_MAX};

use crate::output::text;

/// Reads a number of bytes: `4MiB`, `4M` and `4m` are 4 x 1024 x 1024, `4MB` is 4,000,000, as in GNU coreutils.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn size(input: &str) -> Result<u64, String> {
    let wrong = || format!("'{}' is not a size; write it as 4194304, 4096KiB or 4MiB", text::plain(input));
    let trimmed = input.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "ki" | "kib" => 1 << 10,
        "m" | "mi" | "mib" => 1 << 20,
        "g" | "gi" | "gib" => 1 << 30,
        "t" | "ti" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(|| format!("'{}' is too large", text::plain(input)))
}

/// Reads the size of chunks.
///
/// # Errors
/// What is wrong with it, with the range.
pub(crate) fn chunk_size(input: &str) -> Result<u32, String> {
    let bytes = size(input)?;
    let range = || {
        let [min, max] = [CHUNK_BYTES_MIN, CHUNK_BYTES_MAX].map(|v| text::size(u64::from(v)));
        format!(
            "a chunk is between {min} and {max} long and a multiple of 64 KiB; '{}' is not",
            text::plain(input)
        )
    };
    match u32::try_from(bytes) {
        Ok(bytes)
            if (CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(&bytes)
                && (bytes as usize).is_multiple_of(BLOCK_BYTES) =>
        {
            Ok(bytes)
        }
        _ => Err(range()),
    }
}

/// Reads a number of copies.
///
/// # Errors
/// The range.
pub(crate) fn replication(input: &str) -> Result<u8, String> {
    match input.parse() {
        Ok(copies @ 1..=REPLICATION_MAX) => Ok(copies),
        _ => Err(format!(
            "a file has 1 to {REPLICATION_MAX} copies; '{}' is not a number of them",
            text::plain(input)
        )),
    }
}

/// Reads a version, as `stat` prints it.
///
/// # Errors
/// What a version looks like.
pub(crate) fn version(input: &str) -> Result<VersionId, String> {
    input.parse().map_err(|_| {
        "a version is 32 hexadecimal digits; 'dfsctl stat PATH' prints the current one".to_owned()
    })
}

/// Reads a duration with a unit.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn duration(input: &str) -> Result<Duration, String> {
    humantime::parse_duration(input)
        .map_err(|_| format!("'{}' is not a duration; write it as 30s, 15min or 2h", text::plain(input)))
}

/// A part of a file: the form of `curl --range`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ByteRange {
    /// `A-B`: from the first to the last, both included.
    Inclusive(u64, u64),
    /// `A-`: from here to the end.
    From(u64),
    /// `-N`: the last so many.
    Last(u64),
}

impl ByteRange {
    /// Reads `A-B`, `A-` or `-N`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(input: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "'{}' is not a range; write A-B (bytes A to B, both included, from 0), A- or -N (the last N)",
                text::plain(input)
            )
        };
        let (first, last) = input.trim().split_once('-').ok_or_else(wrong)?;
        let bound = |text: &str| size(text).map_err(|_| wrong());
        match (first.is_empty(), last.is_empty()) {
            (true, true) => Err(wrong()),
            (true, false) => Ok(Self::Last(bound(last)?)),
            (false, true) => Ok(Self::From(bound(first)?)),
            (false, false) => match (bound(first)?, bound(last)?) {
                (first, last) if first <= last => Ok(Self::Inclusive(first, last)),
                _ => Err(format!("the range '{}' ends before it begins", text::plain(input))),
            },
        }
    }

    /// The bytes `start..end` of a file of `size` bytes; a range that goes past the end is cut, as in HTTP.
    ///
    /// # Errors
    /// If none of it is in the file.
    pub(crate) fn within(self, size: u64) -> Result<std::ops::Range<u64>, String> {
        let (start, end) = match self {
            Self::Inclusive(first, last) => (first, last.saturating_add(1)),
            Self::From(first) => (first, size),
            Self::Last(count) => (size.saturating_sub(count), size),
        };
        // All of an empty file is a range of it.
        if start >= size && start > 0 || matches!(self, Self::Inclusive(..)) && size == 0 {
            return Err(format!("the range begins at byte {start}, but the file has {size} bytes"));
        }
        Ok(start..end.min(size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_units_of_coreutils() {
        let good =
            [("0", 0), ("4096", 4096), ("4k", 4096), ("4KiB", 4096), ("1MB", 1_000_000), ("8 MiB", 8 << 20)];
        for (text, bytes) in good {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "x", "-1", "4Q", "1.5M", "99999999999999999999", "99999999TiB"] {
            assert!(size(bad).is_err(), "{bad} passed");
        }
    }

    #[test]
    fn a_bad_chunk_size_says_the_range() {
        for bad in ["1", "63KiB", "65KiB", "64MB", "65MiB", "100000000000"] {
            let message = chunk_size(bad).unwrap_err();
            assert!(message.contains("between 64.0 KiB and 64.0 MiB"), "{message}");
        }
        assert_eq!(chunk_size("64KiB"), Ok(CHUNK_BYTES_MIN));
        assert_eq!(chunk_size("64M"), Ok(CHUNK_BYTES_MAX));
        assert!(replication("0").is_err() && replication("8").is_err() && replication("x").is_err());
        assert_eq!(replication("7"), Ok(7));
    }

    #[test]
    fn ranges_are_those_of_curl() {
        let within = |text: &str, size| ByteRange::parse(text).unwrap().within(size);
        assert_eq!(within("0-9", 100), Ok(0..10));
        assert_eq!(within("90-", 100), Ok(90..100));
        assert_eq!(within("-5", 100), Ok(95..100));
        assert_eq!(within("-500", 100), Ok(0..100));
        assert_eq!(within("1KiB-2KiB", 1500), Ok(1024..1500));
        assert_eq!(within(&format!("0-{}", u64::MAX), 3), Ok(0..3));
        assert_eq!((within("0-", 0), within("-5", 0)), (Ok(0..0), Ok(0..0)));
        for (past, size) in [("200-300", 100), ("100-", 100), ("0-9", 0), ("1-", 0)] {
            assert!(
                within(past, size).unwrap_err().contains(&format!("the file has {size} bytes")),
                "{past}"
            );
        }
        for bad in ["", "-", "5", "9-1", "a-b", "--5"] {
            assert!(ByteRange::parse(bad).is_err(), "{bad} passed");
        }
    }
}
