//! Why a metadata operation did not happen.
//!
//! [`MetaError::Refused`] is a definite answer about the namespace: it is recorded as the outcome of its operation
//! and travels to the client. The others are faults of the store below: nothing is known or recorded.

use dfs_wire::path::DfsPath;
use dfs_wire::status::{Status, StatusCode};

use super::store::MetaStoreError;

/// What to do about a full disk of the metadata.
pub(crate) const FREE_SPACE_HINT: &str =
    "free or add space on the coordinator's metadata disk; deletes and uploads that are open go on";

/// Why a metadata operation did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetaError {
    /// The request cannot be done as things stand: nothing was changed.
    #[error("{0}")]
    Refused(Box<Status>),
    /// The engine failed.
    #[error(transparent)]
    Store(#[from] MetaStoreError),
    /// A stored record cannot be understood, or contradicts another.
    #[error("the metadata record {key} is damaged: {cause}")]
    Damaged {
        /// Its key, printable.
        key: String,
        /// What is wrong.
        cause: String,
    },
    /// A mutation grew over the bounds of one batch; it was rolled back.
    #[error("the change needs {ops} operations in one batch of at most {max}")]
    TooLarge {
        /// How many it needs.
        ops: usize,
        /// How many there may be.
        max: usize,
    },
}

impl MetaError {
    /// A refusal with a code and a sentence.
    pub fn refused(code: StatusCode, message: impl Into<String>) -> Self {
        Self::Refused(Box::new(Status::new(code, message)))
    }

    /// A refusal that says what to do next.
    pub fn refused_with_hint(code: StatusCode, message: impl Into<String>, hint: &str) -> Self {
        Self::Refused(Box::new(Status::new(code, message).hint(hint)))
    }

    /// A record that cannot be.
    pub fn damaged(key: &[u8], cause: impl Into<String>) -> Self {
        Self::Damaged { key: key.escape_ascii().to_string(), cause: cause.into() }
    }

    /// The stable code.
    pub fn code(&self) -> StatusCode {
        match self {
            Self::Refused(status) => status.code,
            Self::Store(MetaStoreError::Corrupt { .. }) | Self::Damaged { .. } => StatusCode::Corrupt,
            Self::Store(MetaStoreError::NoSpace { .. }) => StatusCode::NoSpace,
            Self::Store(_) => StatusCode::Unavailable,
            Self::TooLarge { .. } => StatusCode::InvalidArgument,
        }
    }

    /// What travels to the client. A fault before a commit was tried is a definite failure.
    pub fn into_status(self) -> Status {
        match self {
            Self::Refused(status) => *status,
            other => {
                let hint = match &other {
                    Self::TooLarge { .. } => "do it in smaller steps",
                    Self::Store(MetaStoreError::NoSpace { .. }) => FREE_SPACE_HINT,
                    Self::Store(MetaStoreError::Failed { .. }) => {
                        "check the coordinator's disk, then restart the coordinator: it goes on from what is durable"
                    }
                    _ => "see the coordinator's log; `dfsctl fsck` checks the metadata",
                };
                Status::new(other.code(), other.to_string()).hint(hint)
            }
        }
    }
}

impl From<MetaError> for Status {
    fn from(error: MetaError) -> Self {
        error.into_status()
    }
}

pub(crate) fn invalid(message: impl Into<String>) -> MetaError {
    MetaError::refused(StatusCode::InvalidArgument, message)
}

pub(crate) fn not_found(path: &DfsPath, missing: &str) -> MetaError {
    let what = if missing == path.as_str() { String::new() } else { format!(": there is no {missing}") };
    MetaError::refused(StatusCode::NotFound, format!("{path} does not exist{what}"))
}

pub(crate) fn exists(path: &DfsPath) -> MetaError {
    MetaError::refused(StatusCode::AlreadyExists, format!("{path} exists already"))
}

pub(crate) fn not_a_directory(path: &DfsPath, part: &str) -> MetaError {
    let what = if part == path.as_str() { String::new() } else { format!(": {part} is a file") };
    MetaError::refused(StatusCode::NotADirectory, format!("{path} is not a directory{what}"))
}

pub(crate) fn is_a_directory(path: &DfsPath) -> MetaError {
    MetaError::refused(StatusCode::IsADirectory, format!("{path} is a directory"))
}

pub(crate) fn not_empty(path: &DfsPath) -> MetaError {
    MetaError::refused_with_hint(
        StatusCode::DirectoryNotEmpty,
        format!("directory {path} is not empty"),
        "delete it recursively (-r) if you mean all of it",
    )
}
