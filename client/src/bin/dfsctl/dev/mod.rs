//! `dfsctl dev`: a local cluster of real processes, for trying things out.

pub(crate) mod down;
mod hints;
pub(crate) mod launch;
pub(crate) mod logs;
pub(crate) mod node;
pub(crate) mod ports;
pub(crate) mod ready;
mod security;
pub(crate) mod status;
pub(crate) mod up;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Subcommand};

use crate::connect::invocation::Invocation;
use crate::dev_cluster::file::{Meaning, StateFile};
use crate::dev_cluster::state::{ClusterState, DIR_DEFAULT};
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome, reason};

/// Runs a local cluster of real processes, for trying things out
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Up(up::Args),
    Down(down::Args),
    /// Shows the nodes and their processes
    Status(ClusterDir),
    Logs(logs::Args),
    /// Kills nodes at once (SIGKILL)
    Kill(node::Args),
    /// Stops nodes in their tracks (SIGSTOP)
    Pause(node::Args),
    /// Lets paused nodes go on (SIGCONT)
    Resume(node::Args),
    /// Starts nodes that do not run
    Start(node::Args),
    /// Becomes another program in a session of its own
    #[command(hide = true)]
    Exec {
        /// The program and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        program: Vec<OsString>,
    },
}

/// Which cluster
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct ClusterDir {
    /// Directory of the cluster [default: .dfs-dev here or in a directory above]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl ClusterDir {
    /// Refuses a cluster that was only found in a directory above, or through a file that was copied here: what cannot
    /// be undone is done to what was meant.
    ///
    /// # Errors
    /// If the cluster was neither named nor is that of this directory.
    pub(crate) fn must_be_meant(&self, state: &ClusterState) -> Outcome {
        let here = Path::new(DIR_DEFAULT);
        let own = StateFile::read(here)?.is_some_and(|file| match file.meaning(here) {
            Meaning::Home => true,
            Meaning::Leads { own } => own && file.dir == state.dir,
            Meaning::CopyOf(_) => false,
        });
        if own || self.data.is_some() {
            return Ok(());
        }
        let dir = state.dir.display();
        Err(Failure::usage(format!("the nearest cluster is that of another directory: {dir}"))
            .hint(format!("if it is the one that is meant, name it: --data {dir}")))
    }

    /// The cluster there.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn load(&self) -> Outcome<ClusterState> {
        let here = here()?;
        let (found, dir) = match &self.data {
            Some(dir) => (ClusterState::load(dir)?, dir.clone()),
            None => match ClusterState::nearest(&here)? {
                Some((dir, state)) => (Some(state), dir),
                // Says why, if there is one that cannot be read.
                None => (ClusterState::follow(Path::new(DIR_DEFAULT))?, here.join(DIR_DEFAULT)),
            },
        };
        found.ok_or_else(|| {
            let message = format!("there is no development cluster in {}", dir.display());
            Failure::new(Exit::NotFound, "NoDevCluster", message)
                .hint("start one with 'dfsctl dev up', or name its directory with --data")
        })
    }
}

/// The current directory.
///
/// # Errors
/// If it is gone.
pub(crate) fn here() -> Outcome<PathBuf> {
    std::env::current_dir().map_err(|e| {
        Failure::new(
            Exit::Other,
            "LocalFile",
            format!("the current directory cannot be used: {}", reason(&e)),
        )
    })
}

impl Args {
    /// The program to become, for the hidden half of starting a node.
    pub(crate) fn program(&self) -> Option<&[OsString]> {
        match &self.verb {
            Verb::Exec { program } => Some(program),
            _ => None,
        }
    }
}

/// Runs `dfsctl dev`.
///
/// # Errors
/// What the verb says.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    match args.verb {
        Verb::Up(args) => up::run(invocation, args).await,
        Verb::Down(args) => down::run(invocation, &args),
        Verb::Status(cluster) => status::run(invocation, &cluster),
        Verb::Logs(args) => logs::run(invocation, &args).await,
        Verb::Kill(args) => node::kill(invocation, &args),
        Verb::Pause(args) => node::pause(invocation, &args),
        Verb::Resume(args) => node::resume(invocation, &args),
        Verb::Start(args) => node::start(invocation, &args).await,
        Verb::Exec { program } => Err(launch::become_program(&program)),
    }
}
