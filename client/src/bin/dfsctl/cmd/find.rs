//! `dfsctl find`: finds files by name, kind, size and age.

use std::ffi::OsString;
use std::time::{Duration, SystemTime};

use clap::ValueEnum;
use dfs_wire::message::metadata::{EntryKind, FileStat};

use crate::args;
use crate::connect::invocation::Invocation;
use crate::operands::{Operands, or_root};
use crate::output::exit::Exit;
use crate::output::failure::Outcome;
use crate::output::list::List;
use crate::output::views::{EntryView, Shape};
use crate::paths::glob::NamePattern;
use crate::paths::walk::Walk;

/// Finds files by name, kind, size and age
///
/// Prints the path of everything below PATH that meets all conditions. -name, -type and
/// -print0 are understood as well.
///
///   find / --name '*.jpg' --larger 1MiB  files by name and size
///   find /logs -type f --older 30days    what was not modified for long
///   find / -name '*.tmp' -print0 | xargs -0 dfsctl rm --literal
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
#[command(mut_arg("paths", or_root("Where to look: directories or patterns [default: /]")))]
pub(crate) struct Args {
    /// Its name matches this pattern
    #[arg(long, value_name = "PATTERN", value_parser = NamePattern::parse)]
    name: Option<NamePattern>,
    /// It is a file (f) or a directory (d)
    #[arg(long, value_name = "KIND", value_enum)]
    r#type: Option<Kind>,
    /// It is larger than this
    #[arg(long, value_name = "SIZE", value_parser = args::size)]
    larger: Option<u64>,
    /// It is smaller than this
    #[arg(long, value_name = "SIZE", value_parser = args::size)]
    smaller: Option<u64>,
    /// It was modified within this time
    #[arg(long, value_name = "TIME", value_parser = args::duration)]
    newer: Option<Duration>,
    /// It was last modified longer ago than this
    #[arg(long, value_name = "TIME", value_parser = args::duration)]
    older: Option<Duration>,
    /// Size and time too, as ls prints them
    #[arg(short, long)]
    long: bool,
    /// End each path with a NUL character, for xargs -0
    #[arg(short = '0', long, conflicts_with = "long")]
    print0: bool,
    #[command(flatten)]
    operands: Operands,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A file
    #[value(name = "f", alias = "file")]
    File,
    /// A directory
    #[value(name = "d", aliases = ["dir", "directory"])]
    Directory,
}

impl Args {
    fn matches(&self, stat: &FileStat, now_ms: u64) -> bool {
        let kind = match self.r#type {
            None => true,
            Some(Kind::File) => stat.kind == EntryKind::File,
            Some(Kind::Directory) => stat.kind == EntryKind::Directory,
        };
        let sized = self.larger.is_some() || self.smaller.is_some();
        let size = (!sized || stat.kind == EntryKind::File)
            && self.larger.is_none_or(|bound| stat.size > bound)
            && self.smaller.is_none_or(|bound| stat.size < bound);
        let age = i128::from(now_ms) * 1_000_000 - i128::from(stat.mtime_ns);
        let age = Duration::from_nanos_u128(u128::try_from(age).unwrap_or(0));
        let name = self.name.as_ref().is_none_or(|glob| glob.is_match(stat.path.name().unwrap_or("/")));
        kind && size
            && name
            && self.newer.is_none_or(|bound| age <= bound)
            && self.older.is_none_or(|bound| age > bound)
    }

    fn push(&self, list: &mut List, stat: &FileStat) -> Outcome {
        let view = EntryView::from(stat);
        match (self.print0, self.long) {
            (true, _) => list.raw(&view, &format!("{}\0", view.path)),
            (false, true) => {
                let shape = Shape::new(list.output(), false);
                list.push(&view, |paint| view.line(paint, &view.path, shape))
            }
            (false, false) => {
                let line = list.output().name_line(&view.path);
                list.raw(&view, &line)
            }
        }
    }
}

/// The command line with the long flags that the Unix find writes with one dash, if it is one of `find`.
pub(crate) fn with_unix_flags(mut args: Vec<OsString>) -> Vec<OsString> {
    const VALUED: [&str; 6] = ["--endpoint", "--context", "--output", "--color", "--timeout", "-o"];
    let mut value = false;
    let verb = args.iter().skip(1).position(|arg| {
        let flag = value || arg.to_str().is_some_and(|arg| arg.starts_with('-'));
        value = !value && VALUED.iter().any(|valued| arg == valued);
        !flag
    });
    let Some((verb, rest)) = verb.and_then(|at| args.get_mut(at + 1..)?.split_first_mut()) else {
        return args;
    };
    if verb == "find" {
        for arg in rest.iter_mut().take_while(|arg| *arg != "--") {
            if let Some(flag @ ("-name" | "-type" | "-print0")) = arg.to_str() {
                *arg = format!("-{flag}").into();
            }
        }
    }
    args
}

/// Runs `dfsctl find`.
///
/// # Errors
/// If a place to look is not there. That nothing is found is not an error.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let client = invocation.client().await?;
    let (paths, mut tally) = args.operands.expand(invocation, &client).await;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let mut list = List::new(invocation.output, "entries");
    for path in &paths {
        let mut walk = Walk::new(&client, path, true);
        let outcome = loop {
            match walk.next().await {
                Ok(Some(stat)) if args.matches(&stat, now_ms) => {
                    if let Err(failure) = args.push(&mut list, &stat) {
                        break Err(failure);
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(failure) => break Err(failure),
            }
        };
        tally.count(outcome);
    }
    list.finish_after(&tally)?;
    tally.finish("paths")?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::output::views::tests::file;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn matches(line: &str, stat: &FileStat) -> bool {
        let words = std::iter::once("find").chain(line.split(' ').filter(|word| !word.is_empty()));
        Line::try_parse_from(words)
            .unwrap()
            .args
            .matches(stat, u64::try_from(stat.mtime_ns / 1_000_000).unwrap() + 60_000)
    }

    #[test]
    fn the_flags_of_the_unix_find_are_understood() {
        let said = |line: &str| {
            let args = with_unix_flags(line.split(' ').map(OsString::from).collect());
            args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(said("dfsctl find / -name x -type f -print0"), "dfsctl find / --name x --type f --print0");
        assert_eq!(said("dfsctl -o json find -name x -- -name"), "dfsctl -o json find --name x -- -name");
        for other in ["dfsctl ls -name", "dfsctl -o find -name", "dfsctl", "dfsctl put find -name"] {
            assert_eq!(said(other), other);
        }
    }

    #[test]
    fn all_conditions_must_hold() {
        let stat = file("/a/b.txt", 2048);
        for line in ["", "--name *.txt", "--type f", "--larger 2047", "--smaller 3KiB", "--newer 1min"] {
            assert!(matches(line, &stat), "{line}");
        }
        for line in ["--name b", "--type d", "--larger 2KiB", "--smaller 2KiB", "--newer 59s", "--older 1min"]
        {
            assert!(!matches(line, &stat), "{line}");
        }
        let directory = FileStat { kind: EntryKind::Directory, size: 0, ..stat };
        assert!(matches("--type directory", &directory) && !matches("--smaller 1GiB", &directory));
    }
}
