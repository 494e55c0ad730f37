//! The command line: one verb each, the same names and flags as the Unix tools they resemble.

use clap::{Parser, Subcommand};

use crate::cmd::{
    actors, balance, cat, chaos, checksum, completion, context, cp, df, diff, du, events, explain, find,
    fsck, gc, get, head, health, jobs, ls, maintenance, man, mkdir, mv, nodes, put, replication, rm, scrub,
    stat, status, sync, trash, tree, undelete, users, verify, version,
};
use crate::dev;
use crate::global::Global;
use crate::output::exit::Exit;

const ABOUT: &str = "Stores and reads files of a dfs cluster, and shows how it is.";

const PATHS: &str = "\
Paths:
  A path of the cluster is written /a/b or dfs:/a/b; '-' is standard input or output.
  * ? [] {} and ** are patterns on paths of the cluster: quote them from the shell.
  A path that exists just as it is written is that path alone, never a pattern.

Where the cluster is, the first that is said:
  --endpoint, --context, DFS_ENDPOINT, DFS_CONTEXT, COORDINATOR_HOST and COORDINATOR_PORT,
  the cluster of 'dfsctl dev up' in this directory or one above, the current context
  ('dfsctl context use'), localhost:8080

Examples:
  dfsctl dev up                        start a local cluster
  dfsctl put report.pdf /              store a file
  dfsctl put -r photos /backup/        store a directory
  tar c src | dfsctl put - /src.tar    store a stream
  dfsctl ls '/backup/**/*.jpg'         list
  dfsctl get -r /backup/photos .       fetch
  dfsctl status                        is all well?
";

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "dfsctl",
    version,
    about = ABOUT,
    max_term_width = 110,
    after_help = format!("{PATHS}\n{}", Exit::table()),
    disable_help_subcommand = false,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    /// Flags of every verb.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Every verb. What each does is said where its arguments are: a comment here would hide it.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Put(put::Args),
    Get(get::Args),
    Cat(cat::Args),
    Checksum(checksum::Args),
    Head(head::HeadArgs),
    Tail(head::TailArgs),
    Diff(diff::Args),
    Sync(sync::Args),
    Ls(ls::Args),
    Stat(stat::Args),
    Rm(rm::Args),
    Cp(cp::Args),
    Mv(mv::Args),
    Mkdir(mkdir::Args),
    Du(du::Args),
    Tree(tree::Args),
    Find(find::Args),
    Df(df::Args),
    Trash(trash::Args),
    Undelete(undelete::Args),
    Status(status::Args),
    Health(health::Args),
    Events(events::Args),
    Nodes(nodes::Args),
    Users(users::Args),
    Maintenance(maintenance::Args),
    Balance(balance::Args),
    Replication(replication::Args),
    Jobs(jobs::Args),
    Explain(explain::Args),
    Verify(verify::Args),
    Fsck(fsck::Args),
    Gc(gc::Args),
    Scrub(scrub::Args),
    Actors(actors::Args),
    Chaos(chaos::Args),
    Context(context::Args),
    Dev(dev::Args),
    Man(man::Args),
    Completion(completion::Args),
    Version(version::Args),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_and_flag_is_explained() {
        fn check(command: &clap::Command, path: &str) {
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                assert!(argument.get_help().is_some(), "{path}: {} has no help", argument.get_id());
            }
            for verb in command.get_subcommands() {
                let path = format!("{path} {}", verb.get_name());
                assert!(verb.get_about().is_some(), "{path} has no help");
                check(verb, &path);
            }
        }
        check(&Cli::command(), "dfsctl");
    }

    #[test]
    fn the_help_of_a_verb_has_its_examples() {
        let mut put = Cli::command().find_subcommand("put").cloned().unwrap_or_default();
        assert!(put.render_long_help().to_string().contains("  put -r DIR PATH "));
    }

    #[test]
    fn help_that_is_laid_out_by_hand_fits_the_narrowest_usual_terminal() {
        fn check(command: &clap::Command, path: &str) {
            let about = command.get_long_about().map(ToString::to_string).unwrap_or_default();
            // Lines that begin with blanks are examples: clap leaves the layout alone then.
            for line in about.lines().filter(|_| about.contains("\n  ")) {
                assert!(line.chars().count() <= 98, "{path}: {line}");
            }
            command.get_subcommands().for_each(|verb| check(verb, &format!("{path} {}", verb.get_name())));
        }
        check(&Cli::command(), "dfsctl");
    }

    #[test]
    fn the_help_lists_the_exit_codes() {
        let help = Cli::command().render_help().to_string();
        let codes = help.split("Exit codes:\n").nth(1).unwrap_or_default();
        let expected = "    0  success
    1  another failure
    2  wrong usage
    3  not found, or a pattern matched nothing
    4  exists already, or a condition does not hold
    5  denied
    6  unavailable, nothing was done: safe to repeat
    7  integrity: bytes do not match their checksum
    8  partial: some items failed, the summary says which
    9  no space
   10  health warning: data is safe, something needs attention
   11  health error: data is lost or cannot be reached
   12  protocol or version mismatch
   13  outcome unknown: look before repeating
   14  the source changed while it was read: nothing was stored
   78  configuration error
  130  interrupted (SIGINT)
  141  the reader of standard output went away (SIGPIPE)
  143  terminated (SIGTERM)
";
        assert_eq!(codes, expected);
    }
}
