//! Mapped reads. The only module of the project that may contain `unsafe`; the tidy suite holds that line.
//!
//! # Why, and why not by default
//! A mapped range goes from the page cache to a socket without a copy of ours, and what waits there for a slow reader is
//! page cache and no memory of this process. It does not save work: the check reads the range through a small buffer
//! (below), as pread does, and page tables are built besides (measured with the check in the mapping itself, 8 MiB chunks in
//! the page cache, windows of 1 MiB, CPU-seconds per GB with the write to a loopback socket: 0.55 to 0.59, against 0.41 to
//! 0.55 of pread into a reused buffer). So `read_mode: pread` is the default.
//!
//! # Nobody looks at it
//! A page that the device cannot deliver is SIGBUS at the load, which ends the process, and a page that was delivered may be
//! dropped under memory pressure and be wanted again. So no instruction of ours loads from a mapping: its bytes are checked
//! in the page cache by pread before it is made, the checksums that go with them are those of the chunk's footer, and it is
//! handed to the socket. There the kernel copies it, and a page that fails is an error of the write (EFAULT), which closes
//! that connection. `MADV_POPULATE_READ` (Linux 5.14) makes the pages resident first, on an I/O thread, so that the one that
//! writes to the socket rarely waits for a disk; it says EFAULT, too, which is reported as an I/O error.
//!
//! # Why it is sound
//! A `&[u8]` over a mapping promises two more things that the kernel does not: that the bytes do not change, and that they
//! do not disappear.
//! 1. *They do not change.* Only committed chunk files are mapped: [`map_committed`] is called by the reader of a
//!    published name only. No code path opens such a file for writing, and [`DiskFile`](super::disk_io::DiskFile)s
//!    from `open` are read-only descriptors. Writers write to `tmp/`, under `O_EXCL`, and their descriptor is
//!    closed before the rename publishes the file. The files are mode 0600 in directories of mode 0700, and the
//!    exclusive lock on the data directory keeps other processes of ours out.
//! 2. *They do not disappear.* Committed files are only ever renamed (to quarantine) or unlinked, never truncated;
//!    both leave existing mappings whole, as the inode lives as long as the mapping does. (The temporary file is cut
//!    to its length before it is published, never after.)
//!
//! # Bounds
//! Mapped pages count as resident. A mapping lives exactly as long as the [`Bytes`] over it, so mapped memory is at
//! most what callers hold of answers, at most 1 MiB + 128 KiB each. Mappings are not cached: that is no faster than
//! pread, and the cache would be as large as the open files, outside every budget.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use bytes::Bytes;
use memmap2::{Advice, MmapOptions};

/// Maps `len` bytes of a committed chunk file at `offset` and brings every page of them into memory. Nobody but the kernel
/// may look at them.
///
/// The range must lie within the file, which the caller knows from its footer. `offset` should be a multiple of the
/// page size. Call it on an I/O thread: it waits for the disk.
///
/// # Errors
/// What the kernel says; EIO if a page cannot be read; [`io::ErrorKind::Unsupported`] on kernels before 5.14, where
/// only pread is safe.
pub(super) fn map_committed(file: &File, offset: u64, len: usize) -> io::Result<Bytes> {
    // SAFETY: the file is committed and so is neither written nor truncated while it is mapped, as argued in the
    // module's documentation (1 and 2); the mapping is read-only and is owned by the `Bytes` that borrows from it.
    let map = unsafe { MmapOptions::new().offset(offset).len(len).map(file)? };
    map.advise_range(Advice::PopulateRead, 0, len).map_err(explain)?;
    Ok(Bytes::from_owner(map))
}

/// MADV_POPULATE_READ says EFAULT or EHWPOISON where a load would have been killed by SIGBUS.
fn explain(error: io::Error) -> io::Error {
    use rustix::io::Errno;
    match Errno::from_io_error(&error) {
        Some(Errno::FAULT | Errno::HWPOISON) => io::Error::from_raw_os_error(Errno::IO.raw_os_error()),
        Some(Errno::INVAL) => io::Error::new(io::ErrorKind::Unsupported, error),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_mapping_outlives_the_descriptor_and_the_name() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[7; 10_000]).unwrap();
        let bytes = map_committed(file.as_file(), 4096, 5000).unwrap();
        file.close().unwrap();
        assert!(bytes.len() == 5000 && bytes.iter().all(|&b| b == 7));
    }

    #[test]
    fn a_page_that_cannot_be_read_is_an_error_and_not_a_signal() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(4096).unwrap();
        // Beyond the end of the file a load would be SIGBUS, as on a bad sector.
        let error = map_committed(file.as_file(), 0, 8192).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
    }
}
