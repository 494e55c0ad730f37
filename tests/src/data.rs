//! Inputs, and how they are recognised again.

use std::{fmt::Write as _, fs, path::Path};

use sha2::{Digest as _, Sha256};

/// Bytes that do not compress and differ from seed to seed (xorshift64*).
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        out.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    out.truncate(bytes);
    out
}

/// Structured text: lines that differ by their number, so that a lost, doubled or swapped one is seen.
pub fn lines(count: usize) -> Vec<u8> {
    let mut text = String::new();
    for n in 1..=count {
        let colour = ["red", "green", "blue"][n % 3];
        let _ = writeln!(text, "{n:08},record-{n},{},{colour}", n * 7919 % 10_007);
    }
    text.into_bytes()
}

/// SHA-256 as hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// SHA-256 of a file.
///
/// # Panics
/// If it cannot be read.
pub fn sha256_of(path: &Path) -> String {
    sha256(&fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}
