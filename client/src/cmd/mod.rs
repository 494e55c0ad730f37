//! The `dfsctl` command: one file per verb over the SDK. Not part of the SDK's promises; its own are the command
//! line, the output formats and the exit codes.

pub mod actors;
pub mod args;
pub mod cat;
pub mod cli;
pub mod completion;
pub mod context;
pub mod dev;
pub mod df;
pub mod du;
pub mod endpoint;
pub mod exit;
pub mod explain;
pub mod failure;
pub mod find;
pub mod fsck;
pub mod get;
pub mod glob;
pub mod local;
pub mod ls;
pub mod mkdir;
pub mod mv;
pub mod nodes;
pub mod output;
pub mod place;
pub mod progress;
pub mod put;
pub mod rehearse;
pub mod remote;
pub mod rm;
pub mod stat;
pub mod status;
pub mod transfer;
pub mod trash;
pub mod tree;
pub mod undelete;
pub mod verify;
pub mod version;
pub mod walk;

use std::ffi::OsString;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use clap::error::ErrorKind;
use tokio::signal::unix::{SignalKind, signal};

use self::cli::{Cli, Verb};
use self::context::Context;
use self::exit::Exit;
use self::failure::{Failure, Outcome};
use self::output::{Color, Format, Output};

/// How long what was begun may take to be given up when a command fails or is interrupted: the coordinator is told
/// of abandoned uploads, which else would last until their lease ends.
const WIND_DOWN: Duration = Duration::from_millis(300);

/// Runs dfsctl with the arguments of the process.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(answer_usage(&error, &args).number()),
    };
    let global = cli.global;
    let output = Output::new(global.output, global.color, global.quiet, global.verbose);
    let outcome = run(cli.verb, &Context::new(global, output));
    let exit = outcome.unwrap_or_else(|failure| {
        output.failure(&failure);
        failure.exit
    });
    ExitCode::from(exit.number())
}

/// Help and version go to standard output; a wrong command line is explained, in JSON if that was asked for.
fn answer_usage(error: &clap::Error, args: &[OsString]) -> Exit {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return match error.print() {
            Ok(()) => Exit::Ok,
            Err(e) => Failure::stdout(&e).exit,
        };
    }
    let output = Output::new(wanted_format(args), Color::Auto, false, 0);
    if output.is_table() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // Nobody is left to tell if standard error is gone too; the exit code says it.
        error.print().unwrap_or_default();
    } else {
        let text = error.render().to_string();
        let mut parts = text.trim().split("\n\n");
        let message = parts.next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let tip = parts.find_map(|part| part.trim().strip_prefix("tip: ").map(str::to_owned));
        output.failure(
            &Failure::usage(message).hint(tip.unwrap_or_else(|| "dfsctl help says more".to_owned())),
        );
    }
    Exit::Usage
}

/// The format asked for in a command line that could not be read.
fn wanted_format(args: &[OsString]) -> Format {
    let texts: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
    let follows =
        |flag: &str| texts.iter().skip_while(|text| *text != flag).nth(1).map(|text| text.to_string());
    let joined = texts.iter().find_map(|text| text.strip_prefix("--output=").or(text.strip_prefix("-o")));
    match follows("-o").or_else(|| follows("--output")).as_deref().or(joined) {
        Some("json") => Format::Json,
        Some("jsonl") => Format::Jsonl,
        _ => Format::Table,
    }
}

fn run(verb: Verb, context: &Context) -> Outcome<Exit> {
    match &verb {
        // These two need no runtime.
        Verb::Completion(args) => return completion::run(args),
        Verb::Dev(args) => {
            if let Some(program) = args.program() {
                return Err(dev::process::become_program(program));
            }
        }
        _ => {}
    }
    start_log(context.output.verbose);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| {
        Failure::new(Exit::Other, "Internal", format!("cannot start: {}", failure::reason(&e)))
    })?;
    let resumable = matches!(&verb, Verb::Get(args) if args.keeps());
    let outcome = runtime.block_on(async {
        let outcome = until_signal(dispatch(verb, context)).await;
        if matches!(&outcome, Err(failure) if matches!(failure.exit, Exit::Interrupted | Exit::Terminated)) {
            tokio::time::sleep(WIND_DOWN).await;
            return if resumable { outcome.map_err(|failure| failure.hint(get::RESUME)) } else { outcome };
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

fn dispatch<'a>(verb: Verb, context: &'a Context) -> Pin<Box<dyn Future<Output = Outcome<Exit>> + 'a>> {
    match verb {
        Verb::Put(args) => Box::pin(put::run(context, args)),
        Verb::Get(args) => Box::pin(get::run(context, args)),
        Verb::Cat(args) => Box::pin(cat::run(context, args)),
        Verb::Ls(args) => Box::pin(ls::run(context, args)),
        Verb::Stat(args) => Box::pin(stat::run(context, args)),
        Verb::Rm(args) => Box::pin(rm::run(context, args)),
        Verb::Mv(args) => Box::pin(mv::run(context, args)),
        Verb::Mkdir(args) => Box::pin(mkdir::run(context, args)),
        Verb::Du(args) => Box::pin(du::run(context, args)),
        Verb::Tree(args) => Box::pin(tree::run(context, args)),
        Verb::Find(args) => Box::pin(find::run(context, args)),
        Verb::Df(args) => Box::pin(df::run(context, args)),
        Verb::Trash(args) => Box::pin(trash::run(context, args)),
        Verb::Undelete(args) => Box::pin(undelete::run(context, args)),
        Verb::Status(args) => Box::pin(status::run(context, args)),
        Verb::Nodes(args) => Box::pin(nodes::run(context, args)),
        Verb::Explain(args) => Box::pin(explain::run(context, args)),
        Verb::Verify(args) => Box::pin(verify::run(context, args)),
        Verb::Fsck(args) => Box::pin(fsck::run(context, args)),
        Verb::Actors(args) => Box::pin(actors::run(context, args)),
        Verb::Dev(args) => Box::pin(dev::run(context, args)),
        Verb::Completion(args) => Box::pin(async move { completion::run(&args) }),
        Verb::Version(args) => Box::pin(version::run(context, args)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_known_even_when_the_rest_makes_no_sense() {
        let format = |line: &str| wanted_format(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert_eq!(format("dfsctl -o json lss"), Format::Json);
        assert_eq!(format("dfsctl lss --output=jsonl"), Format::Jsonl);
        assert_eq!(format("dfsctl lss -ojson"), Format::Json);
        assert_eq!(format("dfsctl lss -o"), Format::Table);
    }
}
