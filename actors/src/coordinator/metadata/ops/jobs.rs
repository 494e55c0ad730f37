//! Jobs that operators asked for: whoever runs them writes how far they are, and finds it again after a restart.

use dfs_wire::message::job::JobId;

use crate::coordinator::metadata::model::records::JobRecord;
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::format::decode;
use crate::coordinator::metadata::table::keys::{self, table};
use crate::coordinator::metadata::table::store::KeyRange;
use crate::coordinator::metadata::table::txn::Txn;
use crate::coordinator::metadata::table::view::View;

/// Most jobs that are remembered, those that ended among them.
pub const JOBS_MAX: usize = 64;

/// Remembers jobs as they are now, or forgets them.
///
/// # Errors
/// Of the store.
pub fn put(txn: &mut Txn<'_>, changes: &[(JobId, Option<JobRecord>)]) -> Result<(), MetaError> {
    for (id, record) in changes {
        match record {
            Some(record) => txn.put(keys::job(*id), record)?,
            None => txn.delete(keys::job(*id)),
        }
    }
    Ok(())
}

/// The jobs that are remembered.
#[derive(Debug, Default)]
pub struct Remembered {
    /// Those that can be read.
    pub jobs: Vec<(JobId, JobRecord)>,
    /// Keys of rows that cannot: of a later build, or damaged. The others go on.
    pub damaged: Vec<Vec<u8>>,
    /// The highest number among all of them.
    pub last: u64,
}

/// All jobs that are remembered.
///
/// # Errors
/// Of the store.
pub fn all(view: &impl View) -> Result<Remembered, MetaError> {
    let mut remembered = Remembered::default();
    for (key, value) in view.scan(&KeyRange::prefix(table::JOB), 2 * JOBS_MAX)? {
        let id = keys::parse_job(&key);
        remembered.last = remembered.last.max(id.map_or(0, |id| id.0));
        match (id, decode(&key, &value)) {
            (Some(id), Ok(record)) => remembered.jobs.push((id, record)),
            _ => remembered.damaged.push(key),
        }
    }
    Ok(remembered)
}
