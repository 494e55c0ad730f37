//! `dfsctl dev logs`: prints the log of a node.

use std::fs;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use clap::Args as ClapArgs;
use serde::Serialize;

use super::ClusterDir;
use crate::complete::dev_nodes;
use crate::connect::invocation::Invocation;
use crate::dev_cluster::node::DevNode;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::list::List;

/// Time between two looks for more, with -f.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Prints the log of a node
///
///   dev logs datanode-1         all of it
///   dev logs -n 50 coordinator  its last 50 lines
///   dev logs -f datanode-2      and what is added, until Ctrl-C
#[derive(Debug, ClapArgs)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Name of the node, as 'dfsctl dev status' shows it
    #[arg(value_name = "NODE", add = dev_nodes())]
    node: String,
    /// Go on with what is added
    #[arg(short, long)]
    follow: bool,
    /// Only the last so many lines
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,
    #[command(flatten)]
    cluster: ClusterDir,
}

/// One line of a log.
#[derive(Debug, Serialize)]
pub(crate) struct LineView<'a> {
    /// The node's name.
    pub node: &'a str,
    /// The line, without its end.
    pub line: &'a str,
}

/// Runs `dfsctl dev logs`.
///
/// # Errors
/// If the node is unknown or its log cannot be read.
pub(crate) async fn run(invocation: &Invocation, args: &Args) -> Outcome<Exit> {
    let state = args.cluster.load()?;
    let index = state.indexes(std::slice::from_ref(&args.node))?;
    let Some(node) = index.first().and_then(|index| state.nodes.get(*index)) else {
        return Err(Failure::usage("no such node"));
    };
    let mut list = List::new(invocation.output, "lines");
    let mut log = Log::open(&node.log)?;
    let mut first = log.lines()?;
    if let Some(lines) = args.lines {
        first.drain(..first.len().saturating_sub(lines));
    }
    print(&mut list, node, &first)?;
    if !args.follow {
        list.finish()?;
        return Ok(Exit::Ok);
    }
    loop {
        list.flush()?;
        tokio::time::sleep(LOOK_EVERY).await;
        print(&mut list, node, &log.lines()?)?;
    }
}

fn print(list: &mut List, node: &DevNode, lines: &[String]) -> Outcome {
    lines.iter().try_for_each(|line| {
        let text = list.output().name_line(line);
        list.raw(&LineView { node: &node.name, line }, &text)
    })
}

/// A log that is read while it grows.
struct Log<'a> {
    path: &'a Path,
    reader: BufReader<fs::File>,
    /// The beginning of a line whose end is not written yet.
    begun: Vec<u8>,
}

impl<'a> Log<'a> {
    fn open(path: &'a Path) -> Outcome<Self> {
        let file = fs::File::open(path).map_err(|e| {
            Failure::local("read", path, &e)
                .hint("a node that was never started has no log: 'dfsctl dev up' starts it")
        })?;
        Ok(Self { path, reader: BufReader::new(file), begun: Vec::new() })
    }

    /// The whole lines that were added since; one that was cut off begins anew.
    fn lines(&mut self) -> Outcome<Vec<String>> {
        let mut lines = Vec::new();
        let mut read = || -> std::io::Result<()> {
            let at = self.reader.stream_position()?;
            if self.reader.get_ref().metadata()?.len() < at {
                self.reader.seek(SeekFrom::Start(0))?;
                self.begun.clear();
            }
            while self.reader.read_until(b'\n', &mut self.begun)? > 0 {
                if self.begun.pop_if(|byte| *byte == b'\n').is_some() {
                    lines.push(String::from_utf8_lossy(&self.begun).into_owned());
                    self.begun.clear();
                }
            }
            Ok(())
        };
        read().map_err(|e| Failure::local("read", self.path, &e))?;
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_log_is_read_line_by_line_while_it_grows_and_after_it_was_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        fs::write(&path, "one\ntw").unwrap();
        let mut log = Log::open(&path).unwrap();
        assert_eq!(log.lines().unwrap(), ["one"]);
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"o\nthree\n").unwrap();
        assert_eq!(log.lines().unwrap(), ["two", "three"]);
        fs::write(&path, "new\n").unwrap();
        assert_eq!(log.lines().unwrap(), ["new"]);
        assert!(Log::open(&dir.path().join("none")).is_err_and(|failure| failure.exit == Exit::NotFound));
    }
}
