//! File descriptors: as many as this process may have, and whether its configuration fits into that.
//!
//! The usual soft limit of 1024 is for programs that still use `select`; the hard limit is what the machine is willing to
//! give. Where even that is less than a node may need, the node starts all the same: it turns work away when it runs out,
//! and nothing is lost by that.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one, and says so in the log if it is less than `needed`.
pub fn raise(needed: usize) {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, ?limit, "the limit of open files could not be raised");
    }
    let now = getrlimit(Resource::Nofile).current;
    if let Some(limit) = shortage(now, needed) {
        tracing::warn!(
            limit,
            needed,
            "this node may need more open files than it may have: raise the hard limit (ulimit -Hn, LimitNOFILE), or lower \
             network.connections_max, network.members_max or storage.open_files_max"
        );
    }
}

/// The limit, if it is less than `needed`. `None` as a limit is none.
fn shortage(limit: Option<u64>, needed: usize) -> Option<u64> {
    limit.filter(|limit| *limit < needed as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_limit_below_the_need_is_a_shortage() {
        assert_eq!(shortage(Some(1024), 3000), Some(1024));
        assert_eq!(shortage(Some(3000), 3000), None);
        assert_eq!(shortage(None, usize::MAX), None);
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        raise(0);
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
