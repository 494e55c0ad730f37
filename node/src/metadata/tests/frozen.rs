//! A metadata disk that does not answer: whoever changes something waits, whoever reads does not.

use std::io;
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use ::redb::StorageBackend;
use ::redb::backends::InMemoryBackend;
use dfs_actors::coordinator::metadata::table::store::{Batch, MetadataStore};

use crate::metadata::redb::{RedbOptions, RedbStore};

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
struct Gate {
    frozen: Mutex<Frozen>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Frozen {
    yes: bool,
    waiting: u32,
}

impl Gate {
    fn set(&self, frozen: bool) {
        self.frozen.lock().unwrap().yes = frozen;
        self.changed.notify_all();
    }

    /// What a frozen file system does with whoever changes something.
    fn pass(&self) {
        let mut frozen = self.frozen.lock().unwrap();
        frozen.waiting += 1;
        self.changed.notify_all();
        while frozen.yes {
            frozen = self.changed.wait(frozen).unwrap();
        }
        frozen.waiting -= 1;
    }

    fn wait_until_somebody_waits(&self) {
        let frozen = self.frozen.lock().unwrap();
        let (frozen, _) =
            self.changed.wait_timeout_while(frozen, PATIENCE, |frozen| frozen.waiting == 0).unwrap();
        assert!(frozen.waiting > 0, "the commit did not get to the disk");
    }
}

/// Can be read at any time; changes wait while it is frozen. Which ones is for each test to say.
#[derive(Debug)]
struct Freezable {
    inner: InMemoryBackend,
    gate: Arc<Gate>,
    growing_only: bool,
}

impl StorageBackend for Freezable {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.gate.pass();
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if !self.growing_only {
            self.gate.pass();
        }
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if !self.growing_only {
            self.gate.pass();
        }
        self.inner.write(offset, data)
    }
}

fn write(key: &[u8], value: Vec<u8>) -> Vec<Batch> {
    vec![Batch { conditions: Vec::new(), writes: vec![(key.to_vec(), Some(value))] }]
}

#[test]
fn readers_do_not_wait_for_a_commit_on_a_disk_that_does_not_answer() {
    for growing_only in [true, false] {
        let gate = Arc::new(Gate::default());
        let opener = Arc::clone(&gate);
        let backend =
            move || Ok(Freezable { inner: InMemoryBackend::new(), gate: Arc::clone(&opener), growing_only });
        let store =
            RedbStore::with_backend("a frozen disk", &RedbOptions::default(), backend, || Ok(()), || Ok(()));
        let store = Arc::new(store.unwrap());
        store.commit(&write(b"a", b"1".to_vec())).unwrap();
        gate.set(true);
        let committing = Arc::clone(&store);
        // So much that the file must grow.
        let commit = std::thread::spawn(move || {
            let much: Vec<Batch> = (0..64u8).flat_map(|n| write(&[b'b', n], vec![n; 60_000])).collect();
            committing.commit(&much).map(drop)
        });
        gate.wait_until_somebody_waits();
        let (reader, (told, heard)) = (Arc::clone(&store), channel());
        std::thread::spawn(move || {
            let snapshot = reader.snapshot().unwrap();
            told.send((snapshot.get(b"a").unwrap(), snapshot.get(b"b\x07").unwrap()))
        });
        let read = heard.recv_timeout(PATIENCE).expect("a reader waits for the disk");
        assert_eq!(read, (Some(b"1".to_vec()), None), "what was committed, and no more");
        gate.set(false);
        commit.join().unwrap().unwrap();
        assert_eq!(store.snapshot().unwrap().get(b"b\x07").unwrap(), Some(vec![7; 60_000]));
    }
}
