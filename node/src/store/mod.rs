//! The chunk store of a datanode: one data directory full of immutable, self-describing chunk files.
//!
//! ```text
//!  actors (dfs_actors::datanode::chunk_store)      FileStore                            I/O threads
//!  ------------------------------------------------------------------------------------------------------------
//!  create / write / commit / drop --> writer.rs --pool.rs (writes)--> pwritev, footer, fdatasync --+
//!  quarantine ----------------------------------------------------------------------> commit.rs <--+ rename, dir fsync
//!  purge_quarantine ----------> purge.rs --pool.rs (writes)--> unlink, dir fsync         quarantine.rs <--|
//!  change_identity ---------> membership.rs --pool.rs (writes)--> data_dir.rs                          |
//!  load, save of a cursor --> scrub_file.rs --pool.rs-----------> the file `scrub`                     |
//!  open / read -----------------> reader.rs --pool.rs (reads)---> map.rs or pread, CRC                 |
//!  verify ----------------------> verify.rs --pool.rs (reads)---> O_DIRECT, CRC, SHA-256               v
//!  inventory, stats <---------------------------------------------------------------------------- index.rs
//!
//!  pure: format.rs (bytes of a file), layout.rs, hours.rs (names), identity.rs, scrub_cursor.rs, watermarks.rs (when a disk
//!  is full)
//!  start: data_dir.rs (lock, identity), sweep.rs (tmp, footers, index)     seam: disk_io.rs, real: os_disk.rs
//! ```
//! What holds: bytes are synced before a name is given, and the name is synced before
//! a commit is answered; a failed write or fsync fails the disk for good; each file describes itself;
//! a dropped future tears nothing, since only I/O threads touch files; one process per directory; a replica is
//! condemned by a mismatch read twice, never by an error; every error reaches the caller, and the counters;
//! I/O that does not come back is told of (watch.rs).
//!
//! Deliberately absent: an index on disk (the sweep rebuilds it), retries of failed writes, overwriting, deleting other
//! than through quarantine, and any use of tokio's blocking pool.

mod aligned;
mod commit;
mod config;
mod core;
mod data_dir;
mod disk;
pub mod disk_io;
mod file_store;
mod file_system;
pub mod format;
pub mod hours;
pub mod identity;
mod index;
mod jobs;
pub mod layout;
mod map;
mod membership;
mod mending;
mod open_files;
mod os_disk;
mod pool;
mod purge;
mod quarantine;
mod reader;
mod scrub_cursor;
mod scrub_file;
mod sweep;
#[cfg(test)]
mod tests;
mod verify;
mod watch;
pub mod watermarks;
mod writer;

pub use config::{DirectIo, ReadMode, StoreConfig};
pub use data_dir::{DataDir, DataDirError, SaveError};
pub use file_store::{FileStore, OpenError};
pub use identity::NodeIdentity;
pub use membership::StoredIdentity;
pub use os_disk::OsDisk;
pub use scrub_file::StoredCursor;
pub use sweep::{REPORT_LINES_MAX, Strays, SweepReport};
