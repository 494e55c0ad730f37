//! Power cuts under redb: writes that were not synced are lost, kept or torn at 512 bytes, in any combination.
//! Every acknowledged commit survives; an unacknowledged one is there whole or not at all.
//!
//! A sync that fails does as Linux does: what it should have written is lost, readers go on seeing it, and the next sync
//! knows nothing of it.

use std::io;
use std::sync::{Arc, Mutex};

use ::redb::StorageBackend;
use dfs_actors::coordinator::metadata::table::store::{Batch, KeyRange, MetaStoreError, MetadataStore};

use crate::metadata::redb::{RedbOptions, RedbStore};

const SECTOR: usize = 512;

/// What happened since the last sync, in order.
#[derive(Debug, Clone)]
enum Unsynced {
    Len(u64),
    Write(u64, Vec<u8>),
}

#[derive(Debug, Default)]
struct Disk {
    /// What a power cut leaves for sure.
    durable: Vec<u8>,
    /// What the running process reads back.
    cached: Vec<u8>,
    unsynced: Vec<Unsynced>,
    /// What a sync failed to write: no later one will, but the disk may have got to some of it.
    lost: Vec<Unsynced>,
    /// Calls that change the disk until all of them fail; `None` for never.
    fail_after: Option<u32>,
    /// Syncs until one fails, once, and whether for want of space.
    fail_sync_after: Option<u32>,
    full_at_sync: bool,
    /// Writes until there is no room; `None` for never.
    full_after: Option<u32>,
    /// How often it was opened.
    opened: u32,
}

/// A disk that remembers what was synced. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(super) struct TornDisk(Arc<Mutex<Disk>>);

pub(super) struct SmallRng(pub(super) u64);

impl SmallRng {
    /// xorshift64*: the seed in a failure's message replays it.
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

impl Disk {
    fn spend(&mut self) -> io::Result<()> {
        match &mut self.fail_after {
            Some(0) => Err(io::Error::other("injected disk failure")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn spend_sync(&mut self) -> io::Result<()> {
        match self.fail_sync_after {
            Some(0) => {
                self.fail_sync_after = None;
                match self.full_at_sync {
                    true => Err(io::Error::from(rustix::io::Errno::DQUOT)),
                    false => Err(io::Error::other("injected sync failure")),
                }
            }
            left => {
                self.fail_sync_after = left.map(|left| left - 1);
                Ok(())
            }
        }
    }

    fn spend_room(&mut self) -> io::Result<()> {
        match &mut self.full_after {
            Some(0) => Err(io::Error::from(rustix::io::Errno::NOSPC)),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn write_at(bytes: &mut [u8], offset: usize, data: &[u8]) {
    let end = bytes.len().min(offset + data.len());
    if offset < end {
        bytes[offset..end].copy_from_slice(&data[..end - offset]);
    }
}

impl TornDisk {
    /// Lets so many changes through, then fails all.
    pub(super) fn fail_after(&self, calls: u32) {
        self.0.lock().unwrap().fail_after = Some(calls);
    }

    /// Lets so many syncs through, then fails one.
    pub(super) fn fail_sync_after(&self, syncs: u32) {
        self.0.lock().unwrap().fail_sync_after = Some(syncs);
    }

    /// Lets so many syncs through, then finds in one that there is no room for what was written.
    pub(super) fn full_at_sync_after(&self, syncs: u32) {
        let mut disk = self.0.lock().unwrap();
        (disk.fail_sync_after, disk.full_at_sync) = (Some(syncs), true);
    }

    /// Lets so many writes through, then has no room for any.
    pub(super) fn full_after(&self, writes: u32) {
        self.0.lock().unwrap().full_after = Some(writes);
    }

    pub(super) fn heal(&self) {
        let mut disk = self.0.lock().unwrap();
        (disk.fail_after, disk.fail_sync_after, disk.full_after) = (None, None, None);
    }

    /// What a new process finds that does as `open_file` does: sync, then forget what the kernel keeps.
    fn settled(&self) -> io::Result<Self> {
        self.sync_data()?;
        let mut disk = self.0.lock().unwrap();
        disk.cached = disk.durable.clone();
        disk.lost.clear();
        disk.opened += 1;
        Ok(self.clone())
    }

    pub(super) fn opened(&self) -> u32 {
        self.0.lock().unwrap().opened
    }

    /// What the next start finds: the synced state, and of the rest whatever subset the disk had got to.
    pub(super) fn after_power_cut(&self, rng: &mut SmallRng) -> Self {
        let disk = self.0.lock().unwrap();
        let mut left = disk.durable.clone();
        for change in disk.lost.iter().chain(&disk.unsynced) {
            match change {
                Unsynced::Len(len) if rng.next().is_multiple_of(2) => left.resize(*len as usize, 0),
                Unsynced::Len(_) => {}
                Unsynced::Write(offset, data) => {
                    for (i, sector) in data.chunks(SECTOR).enumerate() {
                        if rng.next().is_multiple_of(2) {
                            write_at(&mut left, *offset as usize + i * SECTOR, sector);
                        }
                    }
                }
            }
        }
        Self(Arc::new(Mutex::new(Disk { cached: left.clone(), durable: left, ..Disk::default() })))
    }
}

impl StorageBackend for TornDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.0.lock().unwrap();
        let from = offset as usize;
        let data = disk.cached.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(data);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.spend()?;
        disk.cached.resize(len as usize, 0);
        disk.unsynced.push(Unsynced::Len(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        let unsynced = std::mem::take(&mut disk.unsynced);
        if let Err(error) = disk.spend().and_then(|()| disk.spend_sync()) {
            disk.lost.extend(unsynced);
            return Err(error);
        }
        for change in unsynced {
            match change {
                Unsynced::Len(len) => disk.durable.resize(len as usize, 0),
                Unsynced::Write(offset, data) => write_at(&mut disk.durable, offset as usize, &data),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.spend()?;
        disk.spend_room()?;
        write_at(&mut disk.cached, offset as usize, data);
        disk.unsynced.push(Unsynced::Write(offset, data.to_vec()));
        Ok(())
    }
}

pub(super) fn open(disk: &TornDisk) -> Result<RedbStore, MetaStoreError> {
    let disk = disk.clone();
    RedbStore::with_backend(
        "a torn disk",
        &RedbOptions::default(),
        move || disk.settled(),
        || Ok(()),
        || Ok(()),
    )
}

/// Round `n` writes `n` to eight keys: a mixture of two rounds would be a torn commit.
fn round(n: u64) -> Vec<Batch> {
    let write = |key: u8| (vec![key; 300], Some(n.to_be_bytes().repeat(40)));
    (0..8u8).map(|key| Batch { conditions: Vec::new(), writes: vec![write(key)] }).collect()
}

fn read_round(store: &RedbStore) -> u64 {
    let pairs = store.snapshot().unwrap().scan(&KeyRange::prefix(b""), 100).unwrap();
    let rounds: Vec<u64> =
        pairs.iter().map(|(_, v)| u64::from_be_bytes(v[..8].try_into().unwrap())).collect();
    assert!(rounds.is_empty() || rounds.len() == 8, "a part of a commit: {rounds:?}");
    assert!(rounds.windows(2).all(|w| w[0] == w[1]), "two commits mixed: {rounds:?}");
    rounds.first().copied().unwrap_or(0)
}

#[test]
fn every_acknowledged_commit_survives_a_power_cut_at_any_write() {
    let mut cuts_in_a_commit = 0;
    for seed in 1..=120u64 {
        let mut rng = SmallRng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut disk = TornDisk::default();
        let mut acknowledged = 0;
        drop(open(&disk).unwrap());
        for _life in 0..3 {
            let store = open(&disk).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            let found = read_round(&store);
            assert!(
                found == acknowledged || found == acknowledged + 1,
                "seed {seed}: {found} found, {acknowledged} acknowledged"
            );
            acknowledged = found;
            disk.fail_after((rng.next() % 60) as u32);
            while store.commit(&round(acknowledged + 1)).is_ok() {
                acknowledged += 1;
            }
            cuts_in_a_commit += 1;
            assert!(matches!(store.snapshot(), Err(MetaStoreError::Failed { .. })), "seed {seed}");
            let after = disk.after_power_cut(&mut rng);
            drop(store);
            disk = after;
        }
    }
    assert_eq!(cuts_in_a_commit, 360);
}

#[test]
fn a_lost_write_fails_the_store_until_the_process_starts_anew() {
    let disk = TornDisk::default();
    let store = open(&disk).unwrap();
    store.commit(&round(1)).unwrap();
    disk.fail_after(0);
    let failed = store.commit(&round(2)).unwrap_err();
    assert!(matches!(failed, MetaStoreError::Io { .. }), "{failed}");
    disk.heal();
    assert!(matches!(store.commit(&round(2)), Err(MetaStoreError::Failed { .. })));
    assert!(matches!(store.reopen(), Err(MetaStoreError::Failed { .. })), "however well the disk does now");
    assert!(matches!(store.snapshot(), Err(MetaStoreError::Failed { .. })));
    drop(store);
    let store = open(&disk).unwrap();
    assert_eq!(read_round(&store), 1);
    store.commit(&round(3)).unwrap();
    assert_eq!(read_round(&store), 3);
}

#[test]
fn readers_do_not_wait_for_a_store_that_is_being_opened() {
    let disk = TornDisk::default();
    let (begun, at_the_gate) = std::sync::mpsc::channel();
    let (open_gate, gate) = std::sync::mpsc::channel::<()>();
    let (gate, opener) = (Mutex::new(gate), disk.clone());
    let settle = move || {
        if opener.opened() > 0 {
            begun.send(()).unwrap();
            gate.lock().unwrap().recv().unwrap();
        }
        opener.settled()
    };
    let store = RedbStore::with_backend("a slow disk", &RedbOptions::default(), settle, || Ok(()), || Ok(()));
    let store = Arc::new(store.unwrap());
    store.commit(&round(1)).unwrap();
    let reopening = Arc::clone(&store);
    let reopened = std::thread::spawn(move || reopening.reopen());
    at_the_gate.recv().unwrap();
    assert!(matches!(store.snapshot(), Err(MetaStoreError::Poisoned { .. })), "told at once");
    open_gate.send(()).unwrap();
    reopened.join().unwrap().unwrap();
    assert_eq!(read_round(&store), 1);
}

#[test]
fn a_failed_sync_of_an_opening_is_not_repeated() {
    let disk = TornDisk::default();
    let store = open(&disk).unwrap();
    store.commit(&round(1)).unwrap();
    disk.fail_sync_after(0);
    assert!(matches!(store.reopen(), Err(MetaStoreError::Failed { .. })));
    assert!(matches!(store.reopen(), Err(MetaStoreError::Failed { .. })), "the next sync would succeed");
    drop(store);
    assert_eq!(read_round(&open(&disk).unwrap()), 1);
}

#[test]
fn a_full_disk_is_a_definite_failure_if_nothing_was_synced_and_room_is_all_it_takes() {
    let mut definite = 0;
    for writes in 0..40 {
        let disk = TornDisk::default();
        let store = open(&disk).unwrap();
        store.commit(&round(1)).unwrap();
        disk.full_after(writes);
        let Err(error) = store.commit(&round(2)) else { continue };
        let full = matches!(error, MetaStoreError::NoSpace { .. });
        definite += u32::from(full);
        assert!(matches!(store.snapshot(), Err(MetaStoreError::Poisoned { .. })), "{writes}");
        disk.heal();
        store.reopen().unwrap();
        let found = read_round(&store);
        assert!(found == 1 || (found == 2 && !full), "{writes}: {found} after {error}");
        store.commit(&round(3)).unwrap();
        drop(store);
        let left = disk.after_power_cut(&mut SmallRng(7));
        assert_eq!(read_round(&open(&left).unwrap()), 3);
    }
    assert!(definite > 2, "{definite}");
}

#[test]
fn a_disk_that_is_found_full_at_a_sync_loses_nothing_acknowledged_and_is_opened_anew() {
    for syncs in 0..4 {
        for seed in 1..=8 {
            let disk = TornDisk::default();
            let store = open(&disk).unwrap();
            store.commit(&round(1)).unwrap();
            disk.full_at_sync_after(syncs);
            let mut acknowledged = 1;
            while store.commit(&round(acknowledged + 1)).is_ok() {
                acknowledged += 1;
            }
            assert!(matches!(store.snapshot(), Err(MetaStoreError::Poisoned { .. })), "full, and not failed");
            store.reopen().unwrap();
            let found = read_round(&store);
            assert!(found == acknowledged || found == acknowledged + 1, "{found} of {acknowledged}");
            store.commit(&round(found + 1)).unwrap();
            drop(store);
            let left = disk.after_power_cut(&mut SmallRng(seed));
            assert_eq!(read_round(&open(&left).unwrap()), found + 1);
        }
    }
}
