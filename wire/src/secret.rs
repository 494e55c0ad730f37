//! Secrets that are shown to prove something: never printed, overwritten when they are dropped.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroize as _;

/// 256 random bits that somebody was given. Whoever has to know them again keeps their [`digest`](Self::digest) only: nobody
/// finds so many bits by trying, so that it needs no salt and no slow hash.
#[derive(Clone, Serialize, Deserialize)]
pub struct Secret([u8; 32]);

/// What is kept of a [`Secret`] to know it again: its SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SecretDigest(pub [u8; 32]);

impl Secret {
    /// Takes bits that nobody can guess.
    pub const fn new(bits: [u8; 32]) -> Self {
        Self(bits)
    }

    /// What is kept of it.
    pub fn digest(&self) -> SecretDigest {
        SecretDigest(Sha256::digest(self.0).into())
    }

    /// The bits, to make a key of.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The secret as a text, for the one that it is given to.
    pub fn reveal(&self) -> String {
        hex(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// By their digests: how long it takes tells nothing of the secrets.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.digest() == other.digest()
    }
}

impl Eq for Secret {}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Why a text is not a secret or a token. It does not repeat the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not of the form {0}")]
pub struct ParseSecretError(&'static str);

const SECRET_FORM: &str = "of 64 hexadecimal digits";

impl FromStr for Secret {
    type Err = ParseSecretError;

    fn from_str(text: &str) -> Result<Self, ParseSecretError> {
        unhex(text.trim()).map(Self).ok_or(ParseSecretError(SECRET_FORM))
    }
}

/// What a node needs to join a cluster that it knows nothing of: by what it knows the cluster's authority, and what makes the
/// cluster trust it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// SHA-256 of the certificate of the cluster's authority.
    pub authority: [u8; 32],
    /// Good for one certificate.
    pub secret: Secret,
}

const TOKEN_PREFIX: &str = "dfs-join-1.";
const TOKEN_FORM: &str = "dfs-join-1.<64 hexadecimal digits>.<64 hexadecimal digits>";

impl JoinToken {
    /// The token as a text, for the one that it is given to.
    pub fn reveal(&self) -> String {
        format!("{TOKEN_PREFIX}{}.{}", hex(&self.authority), self.secret.reveal())
    }
}

impl FromStr for JoinToken {
    type Err = ParseSecretError;

    fn from_str(text: &str) -> Result<Self, ParseSecretError> {
        let wrong = ParseSecretError(TOKEN_FORM);
        let (authority, secret) =
            text.trim().strip_prefix(TOKEN_PREFIX).and_then(|rest| rest.split_once('.')).ok_or(wrong)?;
        let authority = unhex(authority).ok_or(wrong)?;
        Ok(Self { authority, secret: secret.parse().map_err(|_| wrong)? })
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // To a text this never fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    let mut out = [0; 32];
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() || pairs.len() != out.len() {
        return None;
    }
    out.iter_mut().zip(pairs).for_each(|(byte, [high, low])| *byte = high << 4 | low);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_revealed_and_shows_nothing_by_itself() {
        let token = JoinToken { authority: [0xab; 32], secret: Secret::new([0x5c; 32]) };
        let text = token.reveal();
        assert_eq!(text.parse::<JoinToken>(), Ok(token.clone()));
        assert_eq!(format!(" {text}\n").parse::<JoinToken>(), Ok(token.clone()));
        assert!(!format!("{token:?}").contains("5c"), "{token:?}");
        assert_ne!(token.secret, Secret::new([0x5d; 32]));
    }

    #[test]
    fn what_is_no_token_is_refused_and_not_repeated() {
        let good = JoinToken { authority: [1; 32], secret: Secret::new([2; 32]) }.reveal();
        for text in [
            "",
            "dfs-join-1.",
            "dfs-join-1..",
            &good[..good.len() - 1],
            &format!("{good}0"),
            &good.replace("-1.", "-2."),
            &good.replace("02", "0g"),
            &good.replace("02", "0\u{0661}"),
        ] {
            let refused = text.parse::<JoinToken>().expect_err("not a token").to_string();
            assert!(refused.contains("dfs-join-1.<") && !refused.contains("0202"), "{refused}");
        }
    }
}
