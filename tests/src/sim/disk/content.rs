//! The contents of one file: as they are now, and as they are durable.

use std::collections::BTreeSet;

const BLOCK: usize = 512;

#[derive(Clone, Default)]
pub(super) struct File {
    pub(super) now: Vec<u8>,
    pub(super) durable: Vec<u8>,
    /// Blocks of which the two differ.
    pub(super) dirty: BTreeSet<usize>,
    /// Blocks that a failed sync should have written: no later one will, unless they are written to again.
    pub(super) lost: BTreeSet<usize>,
}

impl File {
    pub(super) fn resize(&mut self, len: usize) {
        let (from, to) = (self.now.len().min(len), self.now.len().max(len));
        self.now.resize(len, 0);
        self.touch(from, to);
    }

    pub(super) fn touch(&mut self, from: usize, to: usize) {
        for block in from / BLOCK..to.div_ceil(BLOCK) {
            self.dirty.insert(block);
            self.lost.remove(&block);
        }
    }

    /// A sync fails: what it should have written looks as if it had been.
    pub(super) fn fail_sync(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        self.lost.append(&mut dirty);
    }

    /// Forgets what only memory has and nobody will write: from now on it is as it is durable.
    pub(super) fn forget_lost(&mut self) {
        for block in std::mem::take(&mut self.lost) {
            let (from, to) = (block * BLOCK, ((block + 1) * BLOCK).min(self.now.len()));
            for (at, byte) in self.now.iter_mut().enumerate().take(to).skip(from) {
                *byte = self.durable.get(at).copied().unwrap_or_default();
            }
        }
    }

    /// Reads from `at` what there is.
    pub(super) fn read(&self, at: usize, out: &mut [u8]) -> usize {
        let there = self.now.get(at..).unwrap_or_default();
        let len = out.len().min(there.len());
        out[..len].copy_from_slice(&there[..len]);
        len
    }

    pub(super) fn write(&mut self, at: usize, data: &[u8]) {
        if self.now.len() < at + data.len() {
            self.now.resize(at + data.len(), 0);
        }
        self.now[at..at + data.len()].copy_from_slice(data);
        self.touch(at, at + data.len());
    }

    /// Makes a block durable as it is now.
    pub(super) fn settle(&mut self, block: usize) {
        let (from, to) = (block * BLOCK, ((block + 1) * BLOCK).min(self.now.len()));
        if from < to {
            if self.durable.len() < to {
                self.durable.resize(to, 0);
            }
            self.durable[from..to].copy_from_slice(&self.now[from..to]);
        }
    }

    pub(super) fn sync(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        self.durable.resize(self.now.len(), 0);
        dirty.into_iter().for_each(|block| self.settle(block));
    }

    /// Each group of blocks is the old or the new one, and so is the length.
    pub(super) fn tear(&mut self, grain: usize, mut coin: impl FnMut() -> bool) {
        let mut blocks = std::mem::take(&mut self.dirty);
        blocks.append(&mut self.lost);
        if blocks.is_empty() && self.now.len() == self.durable.len() {
            return;
        }
        let len = if coin() { self.now.len() } else { self.durable.len() };
        let mut fate = (usize::MAX, false);
        for block in blocks {
            if fate.0 != block / grain {
                fate = (block / grain, coin());
            }
            if fate.1 {
                self.settle(block);
            }
        }
        self.durable.resize(len, 0);
        self.now = self.durable.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_failed_sync_lost_is_seen_until_the_device_is_asked() {
        let mut file = File::default();
        file.write(0, &[1; 2 * BLOCK]);
        file.sync();
        file.write(0, &[2; 2 * BLOCK]);
        file.fail_sync();
        file.write(BLOCK, &[3; 4]);
        file.sync();
        let mut seen = [0; 2 * BLOCK];
        assert_eq!((file.read(0, &mut seen), seen[0]), (2 * BLOCK, 2), "memory has it");
        file.forget_lost();
        assert_eq!(file.read(0, &mut seen), 2 * BLOCK);
        assert_eq!(seen[..BLOCK], [1; BLOCK], "nobody wrote it");
        assert_eq!((seen[BLOCK], seen[2 * BLOCK - 1]), (3, 2), "written to again, and synced whole");
        assert_eq!(file.read(2 * BLOCK - 1, &mut seen), 1);
        assert_eq!(file.read(2 * BLOCK, &mut seen), 0);
    }
}
