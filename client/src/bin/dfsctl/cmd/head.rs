//! `dfsctl head` and `dfsctl tail`: print the beginning or the end of files.

use std::ops::Range;

use dfs_wire::path::DfsPath;

use crate::args;
use crate::connect::invocation::Invocation;
use crate::operands::Operands;
use crate::output::exit::Exit;
use crate::output::failure::Outcome;
use crate::output::text::plain;
use crate::output::write_stdout;
use crate::paths::pinned::Pinned;
use dfs_client::Client;

/// Lines that are printed unless the user says otherwise, as with the Unix tools.
const LINES_DEFAULT: u64 = 10;
/// Bytes that are looked at at once while lines are counted.
const WINDOW: u64 = 256 * 1024;

/// Prints the beginning of files
///
/// Every byte is verified before it is printed. Only what is needed is read.
///
///   head /log.txt            the first 10 lines
///   head -n 3 '/logs/*.txt'  the first 3 lines of each, with its name above
///   head -c 4KiB /data.bin   the first 4096 bytes
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct HeadArgs {
    #[command(flatten)]
    part: Part,
}

/// Prints the end of files
///
/// Every byte is verified before it is printed. Only what is needed is read.
///
///   tail /log.txt            the last 10 lines
///   tail -n 100 /log.txt     the last 100 lines
///   tail -c 1MiB /data.bin   the last 1048576 bytes
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct TailArgs {
    #[command(flatten)]
    part: Part,
}

/// A number of lines. With a sign it means something else to `head` and `tail` of the system, so it is refused.
fn so_many(text: &str) -> Result<u64, String> {
    let number = text.starts_with(|first: char| first.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| format!("'{text}' is not a number of lines; write it without a sign, as 10"))
}

/// How much of which files.
#[derive(Debug, clap::Args)]
struct Part {
    /// So many lines [default: 10]
    #[arg(short = 'n', long, value_name = "N", value_parser = so_many, conflicts_with = "bytes")]
    lines: Option<u64>,
    /// So many bytes
    #[arg(short = 'c', long, value_name = "SIZE", value_parser = args::size)]
    bytes: Option<u64>,
    #[command(flatten)]
    operands: Operands,
}

/// Which end of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    First,
    Last,
}

/// Runs `dfsctl head`.
///
/// # Errors
/// If a file is not there or cannot be read.
pub(crate) async fn head(invocation: &Invocation, args: HeadArgs) -> Outcome<Exit> {
    run(invocation, args.part, End::First).await
}

/// Runs `dfsctl tail`.
///
/// # Errors
/// If a file is not there or cannot be read.
pub(crate) async fn tail(invocation: &Invocation, args: TailArgs) -> Outcome<Exit> {
    run(invocation, args.part, End::Last).await
}

async fn run(invocation: &Invocation, part: Part, end: End) -> Outcome<Exit> {
    let client = invocation.client().await?;
    let (paths, mut tally) = part.operands.expand(invocation, &client).await;
    let headed = paths.len() > 1 && !invocation.output.quiet;
    for (index, path) in paths.iter().enumerate() {
        let gap = if index == 0 { "" } else { "\n" };
        let title = headed.then(|| format!("{gap}==> {} <==\n", plain(path.as_str())));
        tally.add(one(&client, path, &part, end, title).await);
        if tally.unread() {
            break;
        }
    }
    tally.finish("files")?;
    Ok(Exit::Ok)
}

async fn one(client: &Client, path: &DfsPath, part: &Part, end: End, title: Option<String>) -> Outcome {
    let file = Pinned::open(client, path).await?;
    write_stdout(title.unwrap_or_default().as_bytes())?;
    let size = file.len();
    let wanted = match (part.bytes, end) {
        (Some(bytes), End::First) => 0..bytes.min(size),
        (Some(bytes), End::Last) => size.saturating_sub(bytes)..size,
        (None, end) => {
            let mut count = LineCount::new(part.lines.unwrap_or(LINES_DEFAULT), end, size);
            while let Some(window) = count.next() {
                let bytes = file.read(window).await?;
                count.look(&bytes);
            }
            count.range()
        }
    };
    file.print(wanted).await
}

/// Finds where so many lines end, or begin, looking at one window of the file after the other.
#[derive(Debug)]
struct LineCount {
    left: u64,
    end: End,
    size: u64,
    /// Up to where, or from where on, all belongs to the lines.
    at: u64,
    done: bool,
}

impl LineCount {
    fn new(lines: u64, end: End, size: u64) -> Self {
        let at = if end == End::First { 0 } else { size };
        Self { left: lines, end, size, at, done: lines == 0 || size == 0 }
    }

    /// The window to look at now.
    fn next(&self) -> Option<Range<u64>> {
        match (self.done, self.end) {
            (true, _) => None,
            (false, End::First) => Some(self.at..self.size.min(self.at + WINDOW)),
            (false, End::Last) => Some(self.at.saturating_sub(WINDOW)..self.at),
        }
    }

    fn look(&mut self, bytes: &[u8]) {
        let len = bytes.len() as u64;
        let newlines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at as u64);
        match self.end {
            End::First => {
                match newlines.take(usize::try_from(self.left).unwrap_or(usize::MAX)).enumerate().last() {
                    Some((index, at)) if index as u64 + 1 == self.left => self.stop(self.at + at + 1),
                    found => {
                        self.left -= found.map_or(0, |(index, _)| index as u64 + 1);
                        self.at += len;
                    }
                }
            }
            End::Last => {
                let (start, whole) = (self.at - len, self.at == self.size);
                // A newline at the very end closes the last line; it begins none.
                let begins = newlines.filter(|at| !(whole && at + 1 == len));
                let begins: Vec<u64> = begins.collect();
                match begins.len().checked_sub(usize::try_from(self.left).unwrap_or(usize::MAX)) {
                    Some(index) => self.stop(start + begins.get(index).map_or(0, |at| at + 1)),
                    None => {
                        self.left -= begins.len() as u64;
                        self.at = start;
                    }
                }
            }
        }
        let over = if self.end == End::First { self.at >= self.size } else { self.at == 0 };
        self.done |= over || len == 0;
    }

    fn stop(&mut self, at: u64) {
        (self.at, self.done) = (at, true);
    }

    fn range(&self) -> Range<u64> {
        match self.end {
            End::First => 0..self.at,
            End::Last => self.at..self.size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, lines: u64, end: End) -> &str {
        let mut count = LineCount::new(lines, end, text.len() as u64);
        while let Some(window) = count.next() {
            // Windows of one to three bytes find what one window does.
            let (start, stop) = (window.start as usize, window.end as usize);
            let (start, stop) = match end {
                End::First => (start, stop.min(start + 3)),
                End::Last => (start.max(stop.saturating_sub(3)), stop),
            };
            count.look(text.as_bytes().get(start..stop).unwrap());
        }
        let range = count.range();
        text.get(range.start as usize..range.end as usize).unwrap()
    }

    #[test]
    fn a_number_of_lines_with_a_sign_is_refused_and_not_taken_for_one_without() {
        assert_eq!(so_many("3"), Ok(3));
        for text in ["+3", "-3", "", "x", "3x"] {
            assert!(so_many(text).is_err_and(|why| why.contains("not a number of lines")), "{text}");
        }
    }

    #[test]
    fn lines_are_counted_as_head_and_tail_count_them() {
        let text = "one\ntwo\n\nfour";
        assert_eq!(lines(text, 2, End::First), "one\ntwo\n");
        assert_eq!(lines(text, 3, End::First), "one\ntwo\n\n");
        assert_eq!(lines(text, 9, End::First), text);
        assert_eq!(lines(text, 0, End::First), "");
        assert_eq!(lines(text, 1, End::Last), "four");
        assert_eq!(lines(text, 2, End::Last), "\nfour");
        assert_eq!(lines(text, 3, End::Last), "two\n\nfour");
        assert_eq!(lines(text, 9, End::Last), text);
        assert_eq!(lines("a\nb\n", 1, End::Last), "b\n");
        assert_eq!(lines("a\nb\n", 2, End::Last), "a\nb\n");
        assert_eq!(lines("\n\n", 1, End::Last), "\n");
        assert_eq!(
            (lines("", 5, End::First), lines("", 5, End::Last), lines("a\n", 0, End::Last)),
            ("", "", "")
        );
    }
}
