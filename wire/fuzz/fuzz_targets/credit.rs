//! The two ends of a credited stream under any order of sending, releasing, and windows late, lost or repeated.
#![no_main]

use dfs_wire::credit::{RecvCredit, SendCredit};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&[w0, w1], steps)) = data.split_first_chunk::<2>() else { return };
    let window = u64::from(u16::from_le_bytes([w0, w1])) + 1;
    let (mut sender, mut receiver) = (SendCredit::new(0), RecvCredit::new(window));
    let (mut windows, mut held) = (vec![], 0_u64);
    for step in steps.chunks_exact(2) {
        let amount = u64::from(step[1]) * u64::from(step[1]);
        windows.extend(receiver.window_due());
        match step[0] % 5 {
            0 => {
                let amount = amount.min(sender.available());
                assert!(sender.spend(amount));
                assert!(receiver.receive(amount).is_ok());
                held += amount;
            }
            1 => {
                receiver.release(amount.min(held));
                held -= amount.min(held);
            }
            2 => {
                // More than is there, as a broken consumer would.
                receiver.release(held.saturating_add(amount));
                held = 0;
            }
            3 => {
                let before = receiver;
                let too_much = before.outstanding() + amount + 1;
                assert!(receiver.receive(too_much).is_err());
                assert_eq!(receiver, before, "a refusal changes nothing");
            }
            _ => {
                let which = windows.get(usize::from(step[1]) % windows.len().max(1)).copied();
                let before = sender.available();
                sender.grant(which.unwrap_or(0));
                assert!(sender.available() >= before, "a window never takes anything back");
            }
        }
        assert!(receiver.outstanding() <= window, "more granted than reserved");
        assert_eq!(sender.sent(), receiver.received());
    }
    receiver.release(held);
    windows.extend(receiver.window_due());
    for limit in windows {
        sender.grant(limit);
    }
    assert!(sender.available() > 0, "both wait for each other");
});
