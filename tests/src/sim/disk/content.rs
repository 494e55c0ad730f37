//! The contents of one file: as they are now, and as they are durable.

use std::collections::BTreeSet;

const BLOCK: usize = 512;

#[derive(Clone, Default)]
pub(super) struct File {
    pub(super) now: Vec<u8>,
    pub(super) durable: Vec<u8>,
    /// Blocks of which the two differ.
    pub(super) dirty: BTreeSet<usize>,
    /// Blocks that a failed sync should have written: no later one will.
    pub(super) lost: BTreeSet<usize>,
}

impl File {
    pub(super) fn resize(&mut self, len: usize) {
        let (from, to) = (self.now.len().min(len), self.now.len().max(len));
        self.now.resize(len, 0);
        self.touch(from, to);
    }

    pub(super) fn touch(&mut self, from: usize, to: usize) {
        self.dirty.extend(from / BLOCK..to.div_ceil(BLOCK));
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
