//! The one error type of the SDK: a stable code, a sentence, where it happened, what caused it, what to do next.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use dfs_wire::id::{ChunkId, NodeId, OpId};
use dfs_wire::path::PathError;
use dfs_wire::status::{Status, StatusCode};

/// What went wrong, coarsely: what a program branches on, and what the exit code of `dfsctl` follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request makes no sense as it is.
    InvalidArgument,
    /// The path, version or trash entry is not there (any more).
    NotFound,
    /// Something is there already, or is not what the condition asks for.
    Conflict,
    /// Not allowed, or another cluster.
    Denied,
    /// Nobody could serve it within the retry budget; nothing was done.
    Unavailable,
    /// Bytes do not match their checksum and no good copy was found.
    Integrity,
    /// No disk has room for it.
    NoSpace,
    /// The two sides have no protocol version in common, or are of builds that cannot read each other.
    VersionMismatch,
    /// The mutation was sent and its outcome could not be learned.
    OutcomeUnknown,
    /// A file or stream of this machine failed.
    LocalIo,
    /// A file of this machine changed while it was put; nothing was stored.
    SourceChanged,
    /// Given up on purpose.
    Cancelled,
    /// A bug, or a fault of a node that its log explains.
    Internal,
}

impl ErrorKind {
    /// The kind that a status code of the protocol is of; a code that this version does not know is
    /// [`Internal`](Self::Internal).
    pub fn of(code: StatusCode) -> Self {
        match code {
            StatusCode::InvalidArgument | StatusCode::InvalidPath | StatusCode::Unsupported => {
                Self::InvalidArgument
            }
            StatusCode::NotFound | StatusCode::VersionGone => Self::NotFound,
            StatusCode::AlreadyExists
            | StatusCode::PreconditionFailed
            | StatusCode::IsADirectory
            | StatusCode::NotADirectory
            | StatusCode::DirectoryNotEmpty
            | StatusCode::OpIdReuse
            | StatusCode::ChunkExists => Self::Conflict,
            StatusCode::PermissionDenied | StatusCode::Unauthenticated | StatusCode::WrongCluster => {
                Self::Denied
            }
            StatusCode::StaleEpoch
            | StatusCode::Unavailable
            | StatusCode::Busy
            | StatusCode::DeadlineExceeded
            | StatusCode::NoWriteQuorum
            | StatusCode::ReplicasUnreachable
            | StatusCode::DiskFailed
            | StatusCode::Straggler
            | StatusCode::ConnectionLost
            | StatusCode::SessionClosed
            | StatusCode::NotRegistered => Self::Unavailable,
            StatusCode::NoSpace => Self::NoSpace,
            StatusCode::Corrupt | StatusCode::ChecksumMismatch => Self::Integrity,
            StatusCode::VersionMismatch => Self::VersionMismatch,
            StatusCode::OutcomeUnknown | StatusCode::StaleOperation => Self::OutcomeUnknown,
            StatusCode::Cancelled => Self::Cancelled,
            _ => Self::Internal,
        }
    }
}

/// Why an operation failed.
///
/// Shown as one sentence; [`std::error::Error::source`] gives the causes one by one. Cheap to clone.
#[derive(Clone)]
pub struct Error {
    inner: Box<ErrorParts>,
}

#[derive(Clone)]
struct ErrorParts {
    kind: ErrorKind,
    /// `None` for failures of this machine.
    code: Option<StatusCode>,
    message: String,
    hint: String,
    node: Option<NodeId>,
    chunk: Option<ChunkId>,
    op: Option<OpId>,
    retry_after_ms: Option<u32>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A failure with a stable code and a sentence (lower case, no full stop).
    pub(crate) fn new(code: StatusCode, message: impl Into<String>) -> Self {
        Self::build(ErrorKind::of(code), Some(code), message.into())
    }

    /// A failure of this machine's files or streams.
    pub(crate) fn local(message: impl Into<String>, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
            _ => ErrorKind::LocalIo,
        };
        let mut error = Self::build(kind, None, message.into());
        error.inner.source = Some(Arc::new(source));
        error
    }

    /// A file of this machine that was put is not what it was at the beginning.
    pub(crate) fn source_changed(message: impl Into<String>) -> Self {
        Self::build(ErrorKind::SourceChanged, None, message.into())
    }

    /// As [`Self::local`], about one file.
    pub(crate) fn local_file(doing: &str, path: &Path, source: io::Error) -> Self {
        Self::local(format!("{doing} {}", path.display()), source)
    }

    fn build(kind: ErrorKind, code: Option<StatusCode>, message: String) -> Self {
        let inner = ErrorParts {
            kind,
            code,
            message,
            hint: String::new(),
            node: None,
            chunk: None,
            op: None,
            retry_after_ms: None,
            source: None,
        };
        Self { inner: Box::new(inner) }
    }

    /// What went wrong, coarsely.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The stable word for scripts: the name of the status code, or `LocalIo` or `SourceChanged` for failures of this
    /// machine.
    pub fn code(&self) -> &'static str {
        match (self.inner.code, self.inner.kind) {
            (Some(code), _) => code.name(),
            (None, ErrorKind::SourceChanged) => "SourceChanged",
            (None, _) => "LocalIo",
        }
    }

    /// The status code; `None` for failures of this machine.
    pub fn status_code(&self) -> Option<StatusCode> {
        self.inner.code
    }

    /// Whether the same call may succeed later without anybody changing it.
    pub fn retryable(&self) -> bool {
        self.inner.code.is_some_and(StatusCode::retryable)
    }

    /// What happened, without its causes.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// What to do next; may be empty.
    pub fn hint(&self) -> &str {
        &self.inner.hint
    }

    /// The node where it happened.
    pub fn node(&self) -> Option<NodeId> {
        self.inner.node
    }

    /// The chunk it is about.
    pub fn chunk(&self) -> Option<ChunkId> {
        self.inner.chunk
    }

    /// The operation whose outcome is unknown: repeating the call with it within 24 h gives the first outcome.
    pub fn op(&self) -> Option<OpId> {
        self.inner.op
    }

    /// How long the refusing side asked to wait before another try.
    pub fn retry_after_ms(&self) -> Option<u32> {
        self.inner.retry_after_ms
    }

    /// Says what was being done, in front of the message.
    #[must_use]
    pub(crate) fn context(mut self, doing: impl fmt::Display) -> Self {
        self.inner.message = format!("{doing}: {}", self.inner.message);
        self
    }

    /// Adds what to do next, unless the error knows already.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        if self.inner.hint.is_empty() {
            self.inner.hint = hint.into();
        }
        self
    }

    /// Adds the node, unless one is named already.
    #[must_use]
    pub(crate) fn at_node(mut self, node: NodeId) -> Self {
        self.inner.node.get_or_insert(node);
        self
    }

    /// Adds the chunk, unless one is named already.
    #[must_use]
    pub(crate) fn about_chunk(mut self, chunk: ChunkId) -> Self {
        self.inner.chunk.get_or_insert(chunk);
        self
    }

    /// Adds the operation.
    #[must_use]
    pub(crate) fn of_op(mut self, op: OpId) -> Self {
        self.inner.op.get_or_insert(op);
        self
    }

    /// Adds what caused it.
    #[must_use]
    pub(crate) fn caused_by(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.inner.source.get_or_insert_with(|| Arc::new(source));
        self
    }

    /// Whether the other side only asks to wait for its turn.
    pub(crate) fn is_busy(&self) -> bool {
        self.inner.code == Some(StatusCode::Busy)
    }

    /// Whether the request, which was sent, may have been carried out although this error came back.
    pub(crate) fn leaves_doubt(&self) -> bool {
        matches!(self.inner.code, Some(StatusCode::ConnectionLost | StatusCode::DeadlineExceeded))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)?;
        if let Some(chunk) = self.inner.chunk {
            write!(f, " (chunk {chunk})")?;
        }
        if let Some(node) = self.inner.node {
            write!(f, " (node {node})")?;
        }
        if let Some(op) = self.inner.op {
            write!(f, " (operation {op})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.code())?;
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|e| e as &(dyn StdError + 'static))
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let mut error = Self::new(status.code, status.message);
        error.inner.hint = status.hint;
        error.inner.node = status.node;
        error.inner.chunk = status.chunk;
        error.inner.retry_after_ms = status.retry_after_ms;
        error
    }
}

impl From<PathError> for Error {
    fn from(error: PathError) -> Self {
        Self::new(StatusCode::InvalidPath, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_kind_and_keeps_its_name() {
        for &code in StatusCode::ALL {
            let error = Error::new(code, "x");
            assert_eq!((error.code(), error.retryable()), (code.name(), code.retryable()));
        }
        assert_eq!(Error::new(StatusCode::Corrupt, "x").kind(), ErrorKind::Integrity);
        assert_eq!(Error::new(StatusCode::NoWriteQuorum, "x").kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn the_chain_and_the_place_are_shown() {
        let status = Status::new(StatusCode::NoSpace, "disk is full").at_node(NodeId(7));
        let cause = Error::from(status);
        let error = Error::new(StatusCode::Unavailable, "no node took it").context("put /a").caused_by(cause);
        let text = format!("{error:?}");
        assert!(text.starts_with("Unavailable: put /a: no node took it: disk is full"), "{text}");
        assert!(text.ends_with("(node 00000000000000000000000000000007)"), "{text}");
        let local = Error::local("read x", io::Error::from(io::ErrorKind::NotFound));
        assert_eq!((local.code(), local.kind(), local.retryable()), ("LocalIo", ErrorKind::LocalIo, false));
    }
}
