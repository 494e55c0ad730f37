//! `dfsctl man`: the manual pages, one for each verb.

use std::fs;
use std::path::PathBuf;

use clap::Command;
use serde::Serialize;

use crate::connect::invocation::Invocation;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::page::Page;
use crate::output::text::{count, plain};
use crate::output::{View, write_stdout};

/// Writes the manual pages
///
/// Without a directory the page of dfsctl itself goes to standard output.
///
///   man | man -l -                               read it
///   man --dir ~/.local/share/man/man1            install all: 'man dfsctl-put' then works
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Write one page for each verb into this directory, which is made
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Say what would be done and do nothing
    #[arg(long, requires = "dir")]
    dry_run: bool,
}

/// What `man --dir` prints.
#[derive(Debug, Serialize)]
pub(crate) struct ManView {
    pub dir: String,
    /// Names of the pages in it.
    pub pages: Vec<String>,
    /// Whether nothing was done because of --dry-run.
    pub dry_run: bool,
}

impl View for ManView {
    fn page(&self, page: &mut Page) {
        let verb = if self.dry_run { "would write" } else { "wrote" };
        page.line(format!("{verb} {} into {}", count(self.pages.len() as u64, "page"), plain(&self.dir)));
    }
}

/// Runs `dfsctl man`: the pages of `command`.
///
/// # Errors
/// If a page cannot be written.
pub(crate) fn run(invocation: &Invocation, args: &Args, command: Command) -> Outcome<Exit> {
    let pages = pages(command)?;
    let Some(dir) = &args.dir else {
        // The command itself comes first.
        write_stdout(pages.first().map_or(&[][..], |(_, text)| text))?;
        return Ok(Exit::Ok);
    };
    if !args.dry_run {
        fs::create_dir_all(dir).map_err(|e| Failure::local("make the directory", dir, &e))?;
        for (name, text) in &pages {
            let path = dir.join(name);
            fs::write(&path, text).map_err(|e| Failure::local("write", &path, &e))?;
        }
    }
    invocation.output.print(&ManView {
        dir: dir.display().to_string(),
        pages: pages.into_iter().map(|(name, _)| name).collect(),
        dry_run: args.dry_run,
    })?;
    Ok(Exit::Ok)
}

/// The name and the text of each page.
fn pages(command: Command) -> Outcome<Vec<(String, Vec<u8>)>> {
    let mut root = command.disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    let mut open = vec![("dfsctl".to_owned(), root)];
    while let Some((name, command)) = open.pop() {
        let below = command.get_subcommands().filter(|verb| !verb.is_hide_set());
        open.extend(below.map(|verb| (format!("{name}-{}", verb.get_name()), verb.clone())));
        let mut text = Vec::new();
        let page = clap_mangen::Man::new(command.display_name(name.clone()).bin_name(name.replace('-', " ")));
        page.title(name.to_uppercase()).render(&mut text).map_err(|e| Failure::stdout(&e))?;
        pages.push((format!("{name}.1"), text));
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_verb_has_a_page_with_its_flags() {
        let pages = pages(Cli::command()).unwrap();
        let text = |name: &str| {
            let page = pages.iter().find(|(page, _)| page == name);
            String::from_utf8(page.unwrap_or_else(|| panic!("no {name}")).1.clone()).unwrap()
        };
        assert_eq!(pages.first().map(|(name, _)| name.as_str()), Some("dfsctl.1"));
        assert!(text("dfsctl-put.1").contains("recursive") && text("dfsctl-dev-up.1").contains("here"));
        assert!(pages.iter().all(|(name, _)| !name.contains("exec")), "hidden verbs have none");
    }
}
