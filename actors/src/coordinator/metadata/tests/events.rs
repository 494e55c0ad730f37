//! What happened is kept by number, the last of it.

use dfs_wire::message::admin::{HealthLevel, ReadEvents};

use super::*;
use crate::coordinator::metadata::model::records::{EventRecord, HealthBook};
use crate::coordinator::metadata::ops::events::EVENTS_MAX;

impl Lab {
    fn note(&mut self, texts: std::ops::Range<u64>) {
        let event = |number| EventRecord {
            wall_ms: number,
            kind: "node".to_owned(),
            level: HealthLevel::Ok,
            subject: String::new(),
            text: format!("the event {number}"),
        };
        let book = HealthBook { epoch: self.reign.epoch, ..HealthBook::default() };
        self.apply(&Mutation::NoteEvents(texts.map(event).collect(), book)).unwrap();
    }

    fn events(&self, after: Option<u64>, most: u32) -> Vec<u64> {
        let events = self.reader().events(&ReadEvents { after, most }, 1_000_000).unwrap();
        for event in &events {
            assert_eq!(
                (event.text.as_str(), event.age_ms),
                (format!("the event {}", event.number).as_str(), 1_000_000 - event.number)
            );
        }
        events.into_iter().map(|event| event.number).collect()
    }
}

#[test]
fn the_last_events_are_kept_and_read_on_from_any_of_them() {
    let mut lab = Lab::new();
    assert_eq!(lab.events(None, 10), [0_u64; 0]);
    lab.note(1..4);
    assert_eq!((lab.events(None, 2), lab.events(None, 10)), (vec![2, 3], vec![1, 2, 3]));
    assert_eq!((lab.events(Some(0), 1), lab.events(Some(3), 10)), (vec![1], vec![]));
    for first in (4..EVENTS_MAX + 20).step_by(20) {
        lab.note(first..first + 20);
    }
    let (rows, last) = (lab.count(b"E") as u64, *lab.events(None, 1).last().unwrap());
    assert_eq!(rows, EVENTS_MAX);
    assert_eq!(lab.events(Some(0), 1), [last + 1 - EVENTS_MAX], "what is gone is passed over");
    let book = lab.reader().health_book().unwrap();
    assert_eq!((book.next_event, book.epoch), (last + 1, lab.reign.epoch));
    lab.assert_consistent();
}
