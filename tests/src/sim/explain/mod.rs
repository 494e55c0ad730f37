//! A run, drawn as a timeline: one lane for each host, from top to bottom, as text and as SVG.
//!
//! ```text
//!  rows.rs    events -> rows: what belongs together is one, what goes on all the time is left out
//!  spans.rs   events -> from when to when a host was down, or cut off, or its disk was ill
//!  text.rs    both -> text
//!  svg.rs     both -> a picture, with more to read under the pointer; canvas.rs draws its shapes
//! ```
//! Times are those of the plan's faults: seconds since the load began.

mod canvas;
mod page;
mod rows;
mod spans;
mod svg;
mod text;

pub use page::{Page, View};

impl Page {
    /// The timeline as lines of text.
    pub fn text(&self) -> String {
        text::draw(self)
    }

    /// The timeline as a picture.
    pub fn svg(&self) -> String {
        svg::draw(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::plan::Plan;
    use crate::sim::run::run;

    const PLAN: &str = "--seed 3 --nodes 4 --clients 2 --ops 6 --faults '0.4 part c1 co; 0.5 kill d2; 1.2 start d2; 3 join c1 co'";

    fn page(view: View) -> Page {
        let plan = Plan { keep: true, ..PLAN.parse().expect("a plan") };
        Page::of(&plan, &run(&plan), view)
    }

    #[test]
    fn a_put_can_be_followed_from_its_call_over_all_copies_to_its_end() {
        let text = page(View::default()).text();
        let words = |line: &str| {
            line.get(12..)
                .unwrap_or_default()
                .trim_start_matches(|c: char| !c.is_ascii_alphanumeric())
                .to_owned()
        };
        let mut lines = text.lines().map(words);
        for step in [
            "put",
            "open_upload /h/p",
            "write",
            "data",
            "disk: write",
            "replicate",
            "data",
            "disk: write",
            "replicate",
            "write",
            "commit_upload",
            "done",
        ] {
            assert!(lines.any(|line| line.contains(step)), "no {step}:\n{text}");
        }
    }

    #[test]
    fn what_was_wrong_and_for_how_long_is_there() {
        let page = page(View::default());
        let text = page.text();
        for part in [
            "FAULT part c1 co",
            "FAULT kill d2",
            "d2 is killed",
            "(held back)",
            "--- all faults are over",
            "clean",
        ] {
            assert!(text.contains(part), "no {part}:\n{text}");
        }
        assert!(!text.contains("heartbeat"), "{text}");
        let down = page.spans.iter().find(|span| span.text == "is killed").expect("d2 was down");
        assert!((400_000..800_000).contains(&(down.to - down.from)), "{down:?}");
    }

    #[test]
    fn a_part_of_a_run_can_be_seen_alone_and_with_what_goes_on_all_the_time() {
        let part = page(View { from: Some(0.3), to: Some(0.9), all: true });
        assert!(part.rows.iter().all(|row| row.until >= 300_000 && row.at <= 900_000));
        assert!(part.text().contains("d2 is killed"));
        assert!(part.text().lines().count() < page(View::default()).text().lines().count());
        assert!(page(View { all: true, ..View::default() }).text().contains("heartbeat"));
    }

    #[test]
    fn a_picture_is_whole_and_not_too_wide() {
        let svg = page(View::default()).svg();
        for element in ["svg", "g", "title", "text", "style"] {
            let count = |tag: String| svg.matches(&tag).count();
            let opened = count(format!("<{element} ")) + count(format!("<{element}>"));
            assert_eq!(opened, count(format!("</{element}>")), "{element}");
        }
        let width = svg.split('"').nth(3).and_then(|width| width.parse::<u32>().ok());
        assert!(width.is_some_and(|width| width <= 1_600), "{width:?}");
        for part in ["put 1 at p", "is killed, until", "part c1 co, until", "held back", "clean"] {
            assert!(svg.contains(part), "no {part}");
        }
    }
}
