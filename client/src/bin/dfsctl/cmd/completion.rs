//! `dfsctl completion`: what makes a shell complete words of dfsctl.

use clap::{Command, ValueEnum};
use clap_complete::env::{CompleteEnv, Shells};

use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::write_stdout;

/// The variable by which a shell asks for completions.
const VARIABLE: &str = "COMPLETE";

/// Prints what makes a shell complete words: verbs, flags, paths of the cluster, nodes, contexts
///
///   bash  source <(dfsctl completion bash)     in ~/.bashrc
///   zsh   source <(dfsctl completion zsh)      in ~/.zshrc
///   fish  dfsctl completion fish | source      in ~/.config/fish/config.fish
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Which shell
    #[arg(value_enum)]
    shell: For,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum For {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

/// Answers a shell that asks for completions of `command`, and ends the process then.
pub(crate) fn answer_shell(command: fn() -> Command) {
    CompleteEnv::with_factory(command).var(VARIABLE).bin("dfsctl").complete();
}

/// Runs `dfsctl completion`.
///
/// # Errors
/// If standard output cannot be written.
pub(crate) fn run(args: &Args) -> Outcome<Exit> {
    let name = match args.shell {
        For::Bash => "bash",
        For::Zsh => "zsh",
        For::Fish => "fish",
    };
    let unknown = || Failure::new(Exit::Other, "Internal", format!("no completion for {name}"));
    let shells = Shells::builtins();
    let shell = shells.completer(name).ok_or_else(unknown)?;
    let mut script = Vec::new();
    // What completes is the dfsctl of the PATH, as what is completed is.
    shell
        .write_registration(VARIABLE, "dfsctl", "dfsctl", "dfsctl", &mut script)
        .map_err(|e| Failure::stdout(&e))?;
    write_stdout(&script)?;
    Ok(Exit::Ok)
}
