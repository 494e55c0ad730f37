//! `dfsctl completion`: the completion script of a shell.

use clap::{CommandFactory, ValueEnum};
use clap_complete::{Shell, generate};

use super::cli::Cli;
use super::exit::Exit;
use super::failure::Outcome;
use super::output::write_stdout;

/// Prints the completion script of a shell
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which shell; for bash: source <(dfsctl completion bash)
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

/// Runs `dfsctl completion`.
///
/// # Errors
/// If standard output cannot be written.
pub fn run(args: &Args) -> Outcome<Exit> {
    let shell = match args.shell {
        For::Bash => Shell::Bash,
        For::Zsh => Shell::Zsh,
        For::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "dfsctl", &mut script);
    write_stdout(&script)?;
    Ok(Exit::Ok)
}
