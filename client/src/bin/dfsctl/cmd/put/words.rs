//! What a put says beside its data: what was left out, what is not as it should be, what to do next.

use crate::connect::invocation::Invocation;
use crate::output::failure::Failure;
use crate::output::text::{count, plain};
use crate::transfer::Summary;

/// The sentences at the end.
pub(super) fn last_words(invocation: &Invocation, summary: &Summary, words: &str) {
    let output = invocation.output;
    let degraded: u64 = summary.files.iter().map(|file| file.degraded_chunks).sum();
    if degraded > 0 {
        output.warn(format!(
            "{} durable, but with fewer copies than asked for: the others are made up once enough datanodes are up ('dfsctl status')",
            if degraded == 1 { "1 chunk is".to_owned() } else { format!("{degraded} chunks are") }
        ));
    }
    let changed: Vec<_> = summary.files.iter().filter(|file| file.source_changed).collect();
    if let Some(first) = changed.first() {
        let more =
            if changed.len() > 1 { format!(", and {} more", changed.len() - 1) } else { String::new() };
        output.warn(format!("stored though it changed while it was read: {}{more}", first.source));
    }
    match summary.files.as_slice() {
        [] => {}
        [only] => output.note(format!("stored {}: {words}", plain(&only.target))),
        files => output.note(format!("stored {}: {words}", count(files.len() as u64, "file"))),
    }
}

/// What to do about a file that somebody writes to.
const CHANGING: &str = "put it again when nobody writes to it; --allow-changing stores what was read";

/// Adds what to do next, as far as the command line can do it.
pub(super) fn hinted(failure: Failure, parents: bool, absent: bool) -> Failure {
    match failure.code {
        "PreconditionFailed" if absent => {
            failure.hint("without --if-absent a file that is there is replaced")
        }
        "NotFound" if !parents => failure.hint("-p makes missing directories on the way"),
        "PreconditionFailed" => {
            failure.hint("somebody changed it since; 'dfsctl stat PATH' prints the current version")
        }
        "SourceChanged" => Failure { hint: CHANGING.to_owned(), ..failure },
        "IsADirectory" => failure.hint("end the path with a slash to put the file into the directory"),
        _ => failure,
    }
}
