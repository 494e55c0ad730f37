//! `dfsctl jobs`: long work that was asked for, and how far it is.

use std::time::Duration;

use clap::Subcommand;
use dfs_wire::message::job::{JobAction, JobId};

use crate::connect::invocation::Invocation;
use crate::job::{JobView, JobsView, find, wait};
use crate::output::exit::Exit;
use crate::output::failure::Outcome;
use crate::watch::{interval, watch};

/// Shows long work that was asked for, pauses and ends it
///
/// Emptying a datanode, balancing and another number of copies are jobs: they go on by themselves, whatever restarts, and are remembered after they
/// ended.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists the jobs, the latest first (the default)
    Ls,
    /// Shows one job
    Show {
        /// Its number; without one the latest
        job: Option<JobId>,
    },
    /// Stops a job for a while
    Pause {
        /// Its number
        job: JobId,
    },
    /// Has a paused job go on
    Resume {
        /// Its number
        job: JobId,
    },
    /// Ends a job; what is done stays done
    ///
    /// A datanode that was to be emptied, or is empty, takes chunks again.
    Cancel {
        /// Its number
        job: JobId,
    },
    /// Shows one job again and again
    Watch {
        /// Its number; without one the latest
        job: Option<JobId>,
        /// Seconds from one look to the next
        #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
        every: Duration,
    },
    /// Waits until a job has ended; exit code 8 if not all of it is done then
    Wait {
        /// Its number; without one the latest
        job: Option<JobId>,
    },
}

/// Runs `dfsctl jobs`.
///
/// # Errors
/// If there is no such job, it has ended, or the cluster cannot be asked.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let client = invocation.operator().await?;
    let act = async |job, action| -> Outcome<Exit> {
        invocation.output.print(&JobView(client.act_on_job(job, action).await?))?;
        Ok(Exit::Ok)
    };
    match args.verb.unwrap_or(Verb::Ls) {
        Verb::Ls => {
            let jobs = client.jobs().await?.into_iter().map(JobView).collect();
            invocation.output.print(&JobsView { jobs })?;
            Ok(Exit::Ok)
        }
        Verb::Show { job } => {
            invocation.output.print(&JobView(find(&client, job).await?))?;
            Ok(Exit::Ok)
        }
        Verb::Pause { job } => act(job, JobAction::Pause).await,
        Verb::Resume { job } => act(job, JobAction::Resume).await,
        Verb::Cancel { job } => act(job, JobAction::Cancel).await,
        Verb::Watch { job, every } => {
            let job = find(&client, job).await?.id;
            watch(invocation, every, || async { find(&client, Some(job)).await.map(JobView) }).await
        }
        Verb::Wait { job } => {
            let job = find(&client, job).await?.id;
            wait(invocation, &client, job).await
        }
    }
}
