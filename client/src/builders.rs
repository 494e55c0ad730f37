//! Options built step by step: `GetOptions::new().resume(true)`.

use std::ops::Range;

use dfs_wire::id::{OpId, VersionId};
use dfs_wire::message::metadata::{PinnedVersion, Precondition};

use crate::options::{CopyOptions, DeleteOptions, GetOptions, MkdirOptions, PutOptions, RenameOptions};
use crate::progress::ProgressFn;

/// For each option a method of its name. An optional one takes what is in it.
macro_rules! builders {
    ($($options:ident { $($field:ident: $kind:ident $of:ty,)+ })+) => { $(
        impl $options {
            /// The defaults, to be changed step by step.
            #[must_use]
            pub fn new() -> Self {
                Self::default()
            }

            $(
                #[doc = concat!("Sets [`", stringify!($options), "::", stringify!($field), "`].")]
                #[must_use]
                pub fn $field(mut self, value: $of) -> Self {
                    self.$field = builders!($kind value);
                    self
                }
            )+
        }
    )+ };
    (plain $value:ident) => { $value };
    (some $value:ident) => { Some($value) };
}

builders! {
    PutOptions {
        chunk_size: some u32,
        replication: some u8,
        precondition: plain Precondition,
        parents: plain bool,
        allow_changing: plain bool,
        mtime_ns: some i64,
        checksum: plain bool,
        resume: plain bool,
        progress: some ProgressFn,
        op: some OpId,
    }
    GetOptions {
        range: some Range<u64>,
        resume: plain bool,
        keep_partial: plain bool,
        overwrite: plain bool,
        version: some PinnedVersion,
        progress: some ProgressFn,
    }
    CopyOptions {
        if_match: some VersionId,
        precondition: plain Precondition,
        parents: plain bool,
        preserve: plain bool,
        op: some OpId,
    }
    MkdirOptions {
        parents: plain bool,
        op: some OpId,
    }
    RenameOptions {
        replace: plain bool,
        op: some OpId,
    }
    DeleteOptions {
        recursive: plain bool,
        skip_trash: plain bool,
        if_match: some VersionId,
        op: some OpId,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_builder_sets_what_it_says_and_nothing_else() {
        let put = PutOptions::new().parents(true).replication(2);
        assert!(put.parents && put.replication == Some(2) && put.chunk_size.is_none());
        let get = GetOptions::new().range(3..5).overwrite(false);
        assert_eq!((get.range, get.overwrite, get.resume), (Some(3..5), false, false));
        let copy = CopyOptions::new().preserve(true).if_match(VersionId(3));
        assert!(copy.preserve && copy.if_match == Some(VersionId(3)) && !copy.parents && copy.op.is_none());
        assert!(DeleteOptions::new().recursive(true).recursive && !RenameOptions::new().replace);
    }
}
