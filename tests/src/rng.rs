//! Randomness that can be played again. The generator is written out (SplitMix64), so that a seed means the same
//! schedule whatever version of a library is in use.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::{Duration, SystemTime},
};

/// A small, seeded generator.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// The generator of a test: seeded from `DFS_TEST_SEED` if that is set, else by chance. Prints the seed, which cargo
    /// shows when the test fails.
    pub fn for_test(name: &str) -> Self {
        let given = std::env::var("DFS_TEST_SEED").ok();
        let seed = match &given {
            Some(text) => text.parse().unwrap_or_else(|_| panic!("DFS_TEST_SEED={text} is not a number")),
            None => Self::from_entropy().draw(),
        };
        println!("{name}: seed {seed} (replay with DFS_TEST_SEED={seed})");
        Self::from_seed(seed)
    }

    /// The generator of a seed.
    pub fn from_seed(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A generator that nobody has had before.
    pub fn from_entropy() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self::from_seed(RandomState::new().hash_one((now, std::process::id())))
    }

    /// A generator of its own for a part of the test, so that parts do not depend on each other's pace.
    pub fn fork(&mut self) -> Self {
        Self::from_seed(self.draw())
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }

    /// One of `items`, of which there is at least one.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[usize::try_from(self.below(items.len() as u64)).expect("an index")]
    }

    /// A time between nothing and `most`.
    pub fn up_to(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(most.as_micros()).unwrap_or(u64::MAX).max(1)))
    }

    /// So many random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| self.draw().to_le_bytes()).collect();
        bytes.truncate(len);
        bytes
    }
}

/// The finalizer of SplitMix64: every bit of the input moves half of the output.
pub(crate) const fn mix(value: u64) -> u64 {
    let z = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_schedule_again_and_another_seed_another() {
        let draw = |seed| {
            let mut rng = Rng::from_seed(seed);
            let mut fork = rng.fork();
            (rng.below(1000), fork.below(1000), rng.bytes(9), *rng.pick(&[1, 2, 3]))
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        // The reference values of SplitMix64 with seed 0.
        let mut rng = Rng::from_seed(0);
        assert_eq!((rng.draw(), rng.draw()), (0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4));
    }
}
