//! The `dfsctl` command: one file per verb (`cmd/`) over the SDK, rooms for what the verbs share. Its promises are the
//! command line, the output formats and the exit codes.

mod args;
mod cli;
mod cmd;
mod complete;
mod connect;
mod dev;
mod dev_cluster;
mod global;
mod job;
mod operands;
mod output;
mod paths;
mod rehearse;
mod revoke;
mod transfer;
mod watch;

use std::ffi::OsString;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Cli, Verb};
use crate::cmd::{
    actors, balance, cat, chaos, checksum, completion, cp, df, diff, du, events, explain, find, fsck, gc,
    get, head, health, jobs, ls, maintenance, man, mkdir, mv, nodes, put, replication, rm, scrub, stat,
    status, sync, trash, tree, undelete, users, verify, version,
};
use crate::connect::environment;
use crate::connect::invocation::Invocation;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome, reason};
use crate::output::page::Paint;
use crate::output::{Color, Format, Output};

/// How long what was begun may take to be given up when a command fails or is interrupted: the coordinator is told
/// of abandoned uploads, which else would last until their lease ends.
const WIND_DOWN: Duration = Duration::from_millis(300);

const _: () =
    assert!(!dfs_wire::bugs::PLANTABLE, "the feature `bugs` is for tests: no binary is built with it");

/// Runs dfsctl with the arguments of the process.
fn main() -> ExitCode {
    completion::answer_shell(Cli::command);
    let args = find::with_unix_flags(std::env::args_os().collect());
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(answer_usage(&error, &args).number()),
    };
    let global = cli.global;
    let output = Output::new(global.output, global.color, global.quiet, global.verbose);
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let outcome = environment::check(names).and_then(|()| run(cli.verb, &global.invocation(output)));
    let exit = outcome.unwrap_or_else(|failure| {
        output.failure(&failure);
        failure.exit
    });
    ExitCode::from(exit.number())
}

/// Help and version go to standard output; a wrong command line is explained, in JSON if that was asked for.
fn answer_usage(error: &clap::Error, args: &[OsString]) -> Exit {
    let wanted = AnswerStyle::read(args);
    let output = Output::new(wanted.format, wanted.color, false, 0);
    let rendered = error.render();
    let text = |paint: Paint| match paint.enabled() {
        true => rendered.ansi().to_string(),
        false => rendered.to_string(),
    };
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let written = output::write_stdout(text(output.paint).as_bytes());
        return written.map_or_else(
            |failure| {
                output.failure(&failure);
                failure.exit
            },
            |()| Exit::Ok,
        );
    }
    if output.is_table() {
        output::complain(&text(output.paint_err));
        return Exit::Usage;
    }
    let text = rendered.to_string();
    let mut parts = text.trim().split("\n\n");
    let message = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => "the command line is not complete",
        _ => parts.next().unwrap_or_default().trim_start_matches("error: "),
    };
    let tip = parts.find_map(|part| part.trim().strip_prefix("tip: "));
    output.failure(&Failure::usage(message).hint(tip.unwrap_or("dfsctl help says more")));
    Exit::Usage
}

/// How the answer to a command line that could not be read is to look, as far as it says.
#[derive(Debug, Default, PartialEq, Eq)]
struct AnswerStyle {
    format: Format,
    color: Color,
}

impl AnswerStyle {
    fn read(args: &[OsString]) -> Self {
        let mut wanted = Self::default();
        let texts: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
        for (index, text) in texts.iter().enumerate().skip(1).take_while(|(_, text)| *text != "--") {
            let next = texts.get(index + 1).map(AsRef::as_ref);
            if let Some(value) = long(text, "--color", next) {
                wanted.color = Color::from_str(value, true).unwrap_or(wanted.color);
            }
            if let Some(value) = long(text, "--output", next).or_else(|| short_output(text, next)) {
                wanted.format = Format::from_str(value, true).unwrap_or(wanted.format);
            }
        }
        wanted
    }
}

/// The value of `--flag value` or `--flag=value`.
fn long<'a>(text: &'a str, flag: &str, next: Option<&'a str>) -> Option<&'a str> {
    match text.strip_prefix(flag)? {
        "" => next,
        rest => rest.strip_prefix('='),
    }
}

/// The value of `-o value`, `-ovalue`, `-o=value`, also after other letters: `-qo value`.
fn short_output<'a>(text: &'a str, next: Option<&'a str>) -> Option<&'a str> {
    let (flags, value) = text.strip_prefix('-')?.split_once('o')?;
    match value {
        _ if !flags.chars().all(|flag| matches!(flag, 'q' | 'v')) => None,
        "" => next,
        value => Some(value.strip_prefix('=').unwrap_or(value)),
    }
}

fn run(verb: Verb, invocation: &Invocation) -> Outcome<Exit> {
    match &verb {
        // These two need no runtime.
        Verb::Completion(args) => return completion::run(args),
        Verb::Dev(args) => {
            if let Some(program) = args.program() {
                return Err(dev::launch::become_program(program));
            }
        }
        _ => {}
    }
    start_log(invocation.output.verbose);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Exit::Other, "Internal", format!("cannot start: {}", reason(&e))))?;
    let outcome = runtime.block_on(async {
        let outcome = until_signal(dispatch(verb, invocation)).await;
        if matches!(&outcome, Err(failure) if matches!(failure.exit, Exit::Interrupted | Exit::Terminated)) {
            tokio::time::sleep(WIND_DOWN).await;
            // Only what really lies there is said to be kept.
            let kept = invocation.begun.has_left_something();
            return if kept { outcome.map_err(|failure| failure.hint(get::RESUME)) } else { outcome };
        }
        outcome
    });
    // A thread may still wait for standard input: nobody waits for it.
    runtime.shutdown_background();
    outcome
}

/// With `-vv`, the client's own log goes to standard error.
fn start_log(verbose: u8) {
    let level = match verbose {
        0 | 1 => return,
        2 => tracing::Level::DEBUG,
        _ => tracing::Level::TRACE,
    };
    let builder = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    if builder.try_init().is_err() {
        tracing::debug!("a log is set up already");
    }
}

/// Runs the command until it ends or the user has had enough.
async fn until_signal(command: Pin<Box<dyn Future<Output = Outcome<Exit>> + '_>>) -> Outcome<Exit> {
    let listen = |kind| signal(kind).map_err(|e| Failure::new(Exit::Other, "Internal", e.to_string()));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    tokio::select! {
        biased;
        _ = interrupt.recv() => Err(Failure::new(Exit::Interrupted, "Interrupted", "interrupted")),
        _ = terminate.recv() => Err(Failure::new(Exit::Terminated, "Terminated", "terminated")),
        outcome = command => outcome,
    }
}

fn dispatch<'a>(verb: Verb, invocation: &'a Invocation) -> Pin<Box<dyn Future<Output = Outcome<Exit>> + 'a>> {
    match verb {
        Verb::Put(args) => Box::pin(put::run(invocation, args)),
        Verb::Get(args) => Box::pin(get::run(invocation, args)),
        Verb::Checksum(args) => Box::pin(checksum::run(invocation, args)),
        Verb::Cp(args) => Box::pin(cp::run(invocation, args)),
        Verb::Cat(args) => Box::pin(cat::run(invocation, args)),
        Verb::Head(args) => Box::pin(head::head(invocation, args)),
        Verb::Tail(args) => Box::pin(head::tail(invocation, args)),
        Verb::Sync(args) => Box::pin(sync::run(invocation, args)),
        Verb::Diff(args) => Box::pin(diff::run(invocation, args)),
        Verb::Ls(args) => Box::pin(ls::run(invocation, args)),
        Verb::Stat(args) => Box::pin(stat::run(invocation, args)),
        Verb::Rm(args) => Box::pin(rm::run(invocation, args)),
        Verb::Mv(args) => Box::pin(mv::run(invocation, args)),
        Verb::Mkdir(args) => Box::pin(mkdir::run(invocation, args)),
        Verb::Du(args) => Box::pin(du::run(invocation, args)),
        Verb::Tree(args) => Box::pin(tree::run(invocation, args)),
        Verb::Find(args) => Box::pin(find::run(invocation, args)),
        Verb::Df(args) => Box::pin(df::run(invocation, args)),
        Verb::Trash(args) => Box::pin(trash::run(invocation, args)),
        Verb::Undelete(args) => Box::pin(undelete::run(invocation, args)),
        Verb::Status(args) => Box::pin(status::run(invocation, args)),
        Verb::Health(args) => Box::pin(health::run(invocation, args)),
        Verb::Events(args) => Box::pin(events::run(invocation, args)),
        Verb::Nodes(args) => Box::pin(nodes::run(invocation, args)),
        Verb::Users(args) => Box::pin(users::run(invocation, args)),
        Verb::Maintenance(args) => Box::pin(maintenance::run(invocation, args)),
        Verb::Balance(args) => Box::pin(balance::run(invocation, args)),
        Verb::Replication(args) => Box::pin(replication::run(invocation, args)),
        Verb::Jobs(args) => Box::pin(jobs::run(invocation, args)),
        Verb::Explain(args) => Box::pin(explain::run(invocation, args)),
        Verb::Verify(args) => Box::pin(verify::run(invocation, args)),
        Verb::Fsck(args) => Box::pin(fsck::run(invocation, args)),
        Verb::Gc(args) => Box::pin(gc::run(invocation, args)),
        Verb::Scrub(args) => Box::pin(scrub::run(invocation, args)),
        Verb::Chaos(args) => Box::pin(chaos::run(invocation, args)),
        Verb::Actors(args) => Box::pin(actors::run(invocation, args)),
        Verb::Context(args) => Box::pin(async move { cmd::context::run(invocation, args) }),
        Verb::Dev(args) => Box::pin(dev::run(invocation, args)),
        Verb::Man(args) => Box::pin(async move { man::run(invocation, &args, Cli::command()) }),
        Verb::Completion(args) => Box::pin(async move { completion::run(&args) }),
        Verb::Version(args) => Box::pin(version::run(invocation, args)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_and_colour_are_known_even_when_the_rest_makes_no_sense() {
        let wanted = |line: &str| AnswerStyle::read(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        for line in [
            "dfsctl -o json lss",
            "dfsctl lss --output json",
            "dfsctl lss --output=json",
            "dfsctl -ojson lss",
            "dfsctl -o=json lss",
            "dfsctl -qo json lss",
            "dfsctl -vvqojson lss",
        ] {
            assert_eq!(wanted(line).format, Format::Json, "{line}");
        }
        for line in
            ["dfsctl lss -o", "dfsctl lss", "dfsctl lss -- -o json", "dfsctl -xo json", "dfsctl -o jso"]
        {
            assert_eq!(wanted(line), AnswerStyle::default(), "{line}");
        }
        assert_eq!(wanted("dfsctl --color never lss").color, Color::Never);
        assert_eq!(wanted("dfsctl lss --color=always").color, Color::Always);
    }
}
