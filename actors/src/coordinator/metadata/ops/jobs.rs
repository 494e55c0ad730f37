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

/// All jobs that are remembered.
///
/// # Errors
/// Of the store, or a damaged row.
pub fn all(view: &impl View) -> Result<Vec<(JobId, JobRecord)>, MetaError> {
    let rows = view.scan(&KeyRange::prefix(table::JOB), 2 * JOBS_MAX)?;
    let job = |(key, value): &(Vec<u8>, Vec<u8>)| {
        let id = keys::parse_job(key).ok_or_else(|| MetaError::damaged(key, "not the key of a job"))?;
        Ok((id, decode(key, value)?))
    };
    rows.iter().map(job).collect()
}
