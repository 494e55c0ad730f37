//! Exit codes: what a script may rely on. A number never changes its meaning; an unknown number is a failure.

use dfs_client::ErrorKind;
use dfs_wire::status::StatusCode;

macro_rules! exits {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal;)+) => {
        /// How the process ends.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum Exit {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Exit {
            /// Every exit code, in the order of the help text.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The number the shell sees.
            pub(crate) const fn number(self) -> u8 {
                match self { $(Self::$name => $number),+ }
            }

            /// What it means, in a few words.
            pub(crate) const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+)),+ }
            }
        }
    };
}

exits! {
    /// success
    Ok = 0;
    /// another failure
    Other = 1;
    /// wrong usage
    Usage = 2;
    /// not found, or a pattern matched nothing
    NotFound = 3;
    /// exists already, or a condition does not hold
    Precondition = 4;
    /// denied
    Denied = 5;
    /// unavailable, nothing was done: safe to repeat
    Unavailable = 6;
    /// integrity: bytes do not match their checksum
    Integrity = 7;
    /// partial: some items failed, the summary says which
    Partial = 8;
    /// no space
    NoSpace = 9;
    /// health warning: data is safe, something needs attention
    HealthWarn = 10;
    /// health error: data is lost or cannot be reached
    HealthError = 11;
    /// protocol or version mismatch
    Version = 12;
    /// outcome unknown: look before repeating
    OutcomeUnknown = 13;
    /// the source changed while it was read: nothing was stored
    SourceChanged = 14;
    /// configuration error
    Config = 78;
    /// interrupted (SIGINT)
    Interrupted = 130;
    /// the reader of standard output went away (SIGPIPE)
    Pipe = 141;
    /// terminated (SIGTERM)
    Terminated = 143;
}

impl Exit {
    /// The exit code that stands for a status code: that of its kind, but for the codes whose kind says less than a script
    /// may rely on.
    pub(crate) fn of(code: StatusCode) -> Self {
        match code {
            StatusCode::Unsupported | StatusCode::ProtocolViolation | StatusCode::FlowControl => {
                Self::Version
            }
            StatusCode::WrongCluster => Self::Config,
            StatusCode::NotAdmitted => Self::Denied,
            StatusCode::OpIdReuse | StatusCode::ChunkExists | StatusCode::SessionClosed => Self::Other,
            code => Self::of_kind(ErrorKind::of(code)),
        }
    }

    /// The exit code that stands for a kind of failure.
    pub(crate) fn of_kind(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::InvalidArgument => Self::Usage,
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::Conflict => Self::Precondition,
            ErrorKind::Denied => Self::Denied,
            ErrorKind::Unavailable => Self::Unavailable,
            ErrorKind::Integrity => Self::Integrity,
            ErrorKind::NoSpace => Self::NoSpace,
            ErrorKind::VersionMismatch => Self::Version,
            ErrorKind::OutcomeUnknown => Self::OutcomeUnknown,
            ErrorKind::SourceChanged => Self::SourceChanged,
            _ => Self::Other,
        }
    }

    /// The table of the help text.
    pub(crate) fn table() -> String {
        let mut text = String::from("Exit codes:\n");
        for exit in Self::ALL {
            text.push_str(&format!("  {:>3}  {}\n", exit.number(), exit.meaning().trim()));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scripts depend on these: a change here is a change of the product's promise.
    #[test]
    fn every_status_code_has_the_exit_code_that_is_documented() {
        let expected = [
            ("NotFound", 3),
            ("AlreadyExists", 4),
            ("PreconditionFailed", 4),
            ("InvalidArgument", 2),
            ("InvalidPath", 2),
            ("IsADirectory", 4),
            ("NotADirectory", 4),
            ("DirectoryNotEmpty", 4),
            ("PermissionDenied", 5),
            ("WrongCluster", 78),
            ("StaleEpoch", 6),
            ("VersionMismatch", 12),
            ("Unavailable", 6),
            ("Busy", 6),
            ("DeadlineExceeded", 6),
            ("NoWriteQuorum", 6),
            ("NoSpace", 9),
            ("Corrupt", 7),
            ("ChecksumMismatch", 7),
            ("ReplicasUnreachable", 6),
            ("VersionGone", 3),
            ("SessionClosed", 1),
            ("OpIdReuse", 1),
            ("DiskFailed", 6),
            ("Straggler", 6),
            ("ProtocolViolation", 12),
            ("FlowControl", 12),
            ("Unsupported", 12),
            ("Cancelled", 1),
            ("ChunkExists", 1),
            ("ConnectionLost", 6),
            ("Internal", 1),
            ("OutcomeUnknown", 13),
            ("NotRegistered", 6),
            ("NotAdmitted", 5),
            ("StaleOperation", 13),
            ("Unauthenticated", 5),
        ];
        let actual: Vec<_> =
            StatusCode::ALL.iter().map(|code| (code.name(), Exit::of(*code).number())).collect();
        assert_eq!(actual, expected, "a new status code needs a documented exit code");
        assert_eq!(Exit::of(StatusCode::from_number(9_999)), Exit::Other);
    }

    #[test]
    fn the_numbers_are_those_of_the_documentation() {
        let numbers: Vec<_> = Exit::ALL.iter().map(|exit| exit.number()).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 78, 130, 141, 143]);
    }
}
