//! Faults of this program's own making, for tests that must find them. Without the feature `bugs` none can be switched on,
//! [`is`] is a constant and the lines that ask are compiled out; nothing that ships can be built with it.
//!
//! Each names one line of production code that is left out or done wrongly while it is planted on the thread that runs it.

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A fault that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Bug { $($(#[$doc])* $name,)* }

        impl Bug {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

bugs! {
    /// The contents of a chunk file are not synced before its name is given.
    SkipFileSync,
    /// The name of a chunk file is not synced before the copy is acknowledged.
    SkipDirSync,
    /// One durable copy is enough for a chunk.
    AckAfterOne,
    /// A change of the metadata is answered before it is durable.
    AckBeforeCommit,
    /// Grants of an earlier reign are obeyed.
    IgnoreEpoch,
    /// An upload's lease ends when it would have without being renewed.
    GcIgnoresLease,
    /// What is read from a disk is not checked.
    NoCheckOnRead,
    /// A client gives the same id to several operations.
    ReuseOpId,
    /// A node whose disk lost copies is believed to have them.
    AcceptStaleReplica,
    /// The memory of an upload that failed is not given back.
    LeakCredit,
    /// A write that failed counts as done.
    SwallowWriteError,
    /// A file is as long as its client says.
    TrustLength,
    /// An operation that comes again is done again.
    ForgetOutcome,
    /// An allocation that comes again begins another generation.
    AllocateAgain,
    /// The coordinator's time is what the wall clock shows.
    FollowWallClock,
    /// A node that has stopped to answer is said to be up until it counts as down.
    SilentIsUp,
    /// The name of a new metadata file is not synced.
    SkipMetadataName,
    /// A request that was sent and not answered is taken for one that was never sent.
    ForgetDoubt,
    /// Metadata that are an old copy are not found out.
    ObeyOldMetadata,
    /// Copies on nodes that are down count as good.
    CountDeadCopies,
    /// A copy is one too many though all that are wanted are needed, the last one too.
    DropLastCopy,
    /// A job whose place is not known after a restart counts as having come to its end.
    LoseJobCursor,
}

#[cfg(feature = "bugs")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Whether bugs can be planted. What ships is not built so: its binaries refuse to be.
pub const PLANTABLE: bool = cfg!(feature = "bugs");

/// Whether a bug is there.
#[cfg(not(feature = "bugs"))]
pub const fn is(_: Bug) -> bool {
    false
}

/// Whether a bug is there: on this thread, and what runs on it.
#[cfg(feature = "bugs")]
pub fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Plants a bug on this thread, in the place of the one that was there.
#[cfg(feature = "bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}
