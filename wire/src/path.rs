//! The one path type: parsed once, valid ever after.
//!
//! A path is absolute: `/` is the root, `/a/b` two segments. A segment is 1 to 255 bytes of UTF-8 without `/`,
//! NUL or other control characters, and neither `.` nor `..`. Nothing is normalised except a trailing slash and
//! doubled slashes: what a user wrote is what is stored, byte for byte. No path ever becomes a file name on a
//! datanode; those derive from ids only.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::{NAME_BYTES_MAX, PATH_BYTES_MAX, PATH_DEPTH_MAX};

/// Why a text is not a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not start with `/`.
    #[error("a path starts with '/': {0:?}")]
    NotAbsolute(String),
    /// A segment is `.` or `..`.
    #[error("'.' and '..' are not allowed in a path: {0:?}")]
    DotSegment(String),
    /// A segment holds a control character.
    #[error("control characters are not allowed in a path: {0:?}")]
    ControlCharacter(String),
    /// A segment is too long.
    #[error("a name is at most {NAME_BYTES_MAX} bytes long, this one has {0}")]
    NameTooLong(usize),
    /// The whole is too long.
    #[error("a path is at most {PATH_BYTES_MAX} bytes long, this one has {0}")]
    TooLong(usize),
    /// There are too many segments.
    #[error("a path has at most {PATH_DEPTH_MAX} segments, this one has {0}")]
    TooDeep(usize),
}

/// An absolute, valid path of the namespace.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DfsPath(String);

impl DfsPath {
    /// The root directory, `/`.
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// Parses and checks `text`; a trailing slash and doubled slashes are dropped.
    ///
    /// # Errors
    /// If `text` breaks a rule of this module.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let shown = || text.chars().take(80).collect::<String>();
        if text.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong(text.len()));
        }
        if !text.starts_with('/') {
            return Err(PathError::NotAbsolute(shown()));
        }
        let mut path = String::with_capacity(text.len());
        let mut depth = 0;
        for segment in text.split('/').filter(|s| !s.is_empty()) {
            check_name(segment)?;
            depth += 1;
            path.push('/');
            path.push_str(segment);
        }
        if depth > PATH_DEPTH_MAX {
            return Err(PathError::TooDeep(depth));
        }
        if path.is_empty() {
            path.push('/');
        }
        Ok(Self(path))
    }

    /// The text, starting with `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `/`.
    pub fn is_root(&self) -> bool {
        self.0 == "/"
    }

    /// The segments, from the root down.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|s| !s.is_empty())
    }

    /// The last segment, or `None` for the root.
    pub fn name(&self) -> Option<&str> {
        self.segments().next_back()
    }

    /// The directory that holds this path, or `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        let (head, _) = self.0.rsplit_once('/')?;
        match (self.is_root(), head.is_empty()) {
            (true, _) => None,
            (false, true) => Some(Self::root()),
            (false, false) => Some(Self(head.to_owned())),
        }
    }

    /// This path with one more segment.
    ///
    /// # Errors
    /// If `name` is not a valid segment or the result is too long or too deep.
    pub fn join(&self, name: &str) -> Result<Self, PathError> {
        check_name(name)?;
        Self::parse(&format!("{}/{name}", self.0.trim_end_matches('/')))
    }

    /// Whether `self` is `other` or lies below it.
    pub fn starts_with(&self, other: &Self) -> bool {
        other.is_root()
            || self
                .0
                .strip_prefix(other.0.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

fn check_name(name: &str) -> Result<(), PathError> {
    let shown = || name.chars().take(80).collect::<String>();
    if name.len() > NAME_BYTES_MAX {
        return Err(PathError::NameTooLong(name.len()));
    }
    if name == "." || name == ".." || name.is_empty() || name.contains('/') {
        return Err(PathError::DotSegment(shown()));
    }
    if name.chars().any(char::is_control) {
        return Err(PathError::ControlCharacter(shown()));
    }
    Ok(())
}

impl FromStr for DfsPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for DfsPath {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        Self::parse(&text)
    }
}

impl From<DfsPath> for String {
    fn from(path: DfsPath) -> Self {
        path.0
    }
}

impl fmt::Display for DfsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DfsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hostile_paths_are_refused() {
        for bad in ["", "a", "./a", "/..", "/a/../b", "/a/./b", "/a\0b", "/a\nb", "/\u{1b}[31m", "..", "\\a"]
        {
            assert!(DfsPath::parse(bad).is_err(), "{bad:?} parsed");
        }
        assert!(DfsPath::parse(&format!("/{}", "x".repeat(NAME_BYTES_MAX + 1))).is_err());
        assert!(DfsPath::parse(&"/x".repeat(PATH_DEPTH_MAX + 1)).is_err());
        assert!(DfsPath::parse(&format!("/{}", "x".repeat(NAME_BYTES_MAX))).is_ok());
    }

    #[test]
    fn parents_names_and_prefixes() {
        let p: DfsPath = "//a//b c/ü/".parse().unwrap();
        assert_eq!(p.as_str(), "/a/b c/ü");
        assert_eq!((p.name(), p.parent().unwrap().as_str()), (Some("ü"), "/a/b c"));
        assert_eq!(DfsPath::parse("/a").unwrap().parent().unwrap(), DfsPath::root());
        assert!(DfsPath::root().parent().is_none() && DfsPath::root().name().is_none());
        assert!(p.starts_with(&"/a".parse().unwrap()) && p.starts_with(&DfsPath::root()));
        assert!(!DfsPath::parse("/ab").unwrap().starts_with(&"/a".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn parsing_is_idempotent_and_never_panics(text in ".*") {
            if let Ok(path) = DfsPath::parse(&text) {
                prop_assert_eq!(DfsPath::parse(path.as_str()).unwrap(), path.clone());
                prop_assert!(path.segments().all(|s| s != ".." && s != "."));
            }
        }
    }
}
