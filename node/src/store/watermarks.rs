//! When a disk is full. Pure arithmetic over the latest numbers; nothing is remembered between two questions.
//!
//! ```text
//! |<------------------------- capacity ------------------------->|
//! |  used (ours and others')  |<----------- available ---------->|
//!                             |  promised  |  usable  | reserve  |
//! ```
//! A new chunk must fit into `usable`. `promised` is what open writers were promised and have not allocated yet: what
//! is allocated has already left `available`. The reserve keeps deletes, renames and the metadata of other roles on
//! the same disk working; a delete never asks for space here.

/// Free space as the file system last reported it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Space {
    /// Size of the file system.
    pub capacity: u64,
    /// Free to this process.
    pub available: u64,
}

/// The refusal, with its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// Bytes asked for.
    pub needed: u64,
    /// Bytes free and promised to nobody, reserve included.
    pub available: u64,
    /// Bytes kept free.
    pub reserve: u64,
}

/// The reserve in force: as configured, but never more than 5 % of the disk.
pub fn reserve_of(capacity: u64, configured: u64) -> u64 {
    configured.min(capacity / 20)
}

/// Whether `needed` more bytes may be promised.
///
/// # Errors
/// [`Full`] if they would eat into the reserve.
pub fn admit(space: Space, promised: u64, reserve: u64, needed: u64) -> Result<(), Full> {
    let available = space.available.saturating_sub(promised);
    match available.checked_sub(needed) {
        Some(left) if left >= reserve => Ok(()),
        _ => Err(Full { needed, available, reserve }),
    }
}

/// Whether the disk counts as full: not even one more byte may be promised.
pub fn is_full(space: Space, promised: u64, reserve: u64) -> bool {
    admit(space, promised, reserve, 1).is_err()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_reserve_scales_down_on_small_disks() {
        assert_eq!(reserve_of(1 << 40, 1 << 30), 1 << 30);
        assert_eq!(reserve_of(1000, 1 << 30), 50);
        assert_eq!(reserve_of(0, 1 << 30), 0);
    }

    #[test]
    fn a_refusal_names_its_numbers_and_is_not_latched() {
        let space = Space { capacity: 1000, available: 100 };
        assert_eq!(admit(space, 30, 50, 21), Err(Full { needed: 21, available: 70, reserve: 50 }));
        assert_eq!(admit(space, 30, 50, 20), Ok(()));
        assert!(is_full(space, 50, 50) && !is_full(space, 49, 50));
        assert_eq!(admit(space, 200, 0, 0), Ok(()), "an empty chunk needs nothing beyond the reserve");
    }

    proptest! {
        #[test]
        fn what_is_admitted_never_eats_the_reserve(available: u64, promised: u64, reserve: u64, needed: u64) {
            let space = Space { capacity: u64::MAX, available };
            let sum = u128::from(promised) + u128::from(needed) + u128::from(reserve);
            let admitted = admit(space, promised, reserve, needed).is_ok();
            if admitted && reserve > 0 {
                prop_assert!(sum <= u128::from(available));
            }
            if sum <= u128::from(available) {
                prop_assert!(admitted);
            }
        }
    }
}
