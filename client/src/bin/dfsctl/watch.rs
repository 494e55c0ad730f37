//! `--watch`: the same page again and again, until the user has seen enough.

use std::time::Duration;

use crate::connect::invocation::Invocation;
use crate::output::View;
use crate::output::exit::Exit;
use crate::output::failure::Outcome;
use crate::output::write_stdout;

/// Moves to the top left of a terminal and clears what is below.
const CLEAR: &str = "\u{1b}[H\u{1b}[J";

/// Prints what `look` finds, every `interval`. On a terminal each page takes the place of the one before; elsewhere an
/// empty line is between them. A look that fails is told, and the next one follows all the same.
///
/// # Errors
/// If standard output cannot be written.
pub(crate) async fn watch<V, F>(
    invocation: &Invocation,
    interval: Duration,
    look: impl Fn() -> F,
) -> Outcome<Exit>
where
    V: View,
    F: Future<Output = Outcome<V>>,
{
    let output = invocation.output;
    let mut first = true;
    loop {
        let looked = look().await;
        let before = match (output.is_table(), output.columns, first) {
            (true, Some(_), _) => CLEAR,
            (true, None, false) => "\n",
            _ => "",
        };
        first = false;
        write_stdout(before.as_bytes())?;
        match looked {
            Ok(view) => output.print(&view)?,
            Err(failure) => output.failure(&failure),
        }
        tokio::time::sleep(interval).await;
    }
}

/// Reads the seconds between two pages.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    let plain_seconds =
        text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let interval = plain_seconds.map_or_else(|| crate::args::duration(text), Ok)?;
    match interval >= Duration::from_millis(100) {
        true => Ok(interval),
        false => Err("a tenth of a second is the shortest".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_in_seconds_unless_it_says_otherwise() {
        assert_eq!(interval("2"), Ok(Duration::from_secs(2)));
        assert_eq!(interval("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(interval("1min"), Ok(Duration::from_secs(60)));
        for wrong in ["", "0", "-1", "x", "1ms", "inf"] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }
}
