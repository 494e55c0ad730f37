//! `dfsctl balance`: brings copies from full datanodes to emptier ones.

use dfs_wire::message::job::{BalancePlan, StartBalance};
use serde::Serialize;

use crate::connect::invocation::Invocation;
use crate::job::{JobView, wait};
use crate::output::View;
use crate::output::exit::Exit;
use crate::output::failure::Outcome;
use crate::output::page::{Column, Page};
use crate::output::text::{plain, size};

/// Brings copies from full datanodes to emptier ones
///
/// The plan comes first: how full each datanode is, and what goes where until each is about as full as the mean. Each copy
/// is made at its new place before the old one goes, and zones keep theirs. It ends by itself; 'dfsctl jobs' shows how far it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  dfsctl balance --dry-run\n  dfsctl balance --threshold 10 --wait")]
pub(crate) struct Args {
    /// A datanode fuller than the mean by no more than so many percent of its space gives nothing
    #[arg(long, value_name = "PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=50))]
    threshold: u8,
    /// Wait until it has ended
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    /// Say what would go where, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// How full a datanode is.
#[derive(Debug, Serialize)]
struct FilledView {
    name: String,
    percent: u8,
}

/// What goes where.
#[derive(Debug, Serialize)]
struct FlowView {
    from: String,
    to: String,
    bytes: u64,
}

/// What `balance` prints.
#[derive(Debug, Serialize)]
struct BalanceView {
    filled: Vec<FilledView>,
    moves: Vec<FlowView>,
    /// What stays uneven, and why.
    obstacles: Vec<String>,
    /// The job that does it; null if nothing is done.
    job: Option<JobView>,
}

impl From<BalancePlan> for BalanceView {
    fn from(plan: BalancePlan) -> Self {
        let filled = plan.filled_percent.into_iter().map(|(name, percent)| FilledView { name, percent });
        let moves = plan.moves.into_iter();
        Self {
            filled: filled.collect(),
            moves: moves.map(|of| FlowView { from: of.from, to: of.to, bytes: of.bytes }).collect(),
            obstacles: plan.obstacles,
            job: plan.job.map(JobView),
        }
    }
}

impl View for BalanceView {
    fn page(&self, page: &mut Page) {
        let filled = self.filled.iter().map(|of| format!("{} {}%", plain(&of.name), of.percent));
        page.line(format!("filled: {}", filled.collect::<Vec<_>>().join(", ")));
        for obstacle in &self.obstacles {
            page.line(plain(obstacle));
        }
        if self.moves.is_empty() {
            return page.line("nothing is to be moved");
        }
        let columns = [Column::Text("FROM"), Column::Text("TO"), Column::Number("BYTES")];
        let row = |of: &FlowView| vec![of.from.as_str().into(), of.to.as_str().into(), size(of.bytes).into()];
        page.table(&columns, self.moves.iter().map(row).collect());
        if let Some(job) = &self.job {
            page.line(format!(
                "job {} does it; 'dfsctl jobs watch {}' shows how far it is",
                job.0.id, job.0.id
            ));
        }
    }
}

/// Runs `dfsctl balance`.
///
/// # Errors
/// If the cluster cannot be asked.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let client = invocation.operator().await?;
    let word = StartBalance { threshold_percent: args.threshold, dry_run: args.dry_run };
    let view = BalanceView::from(client.balance(word).await?);
    match view.job.as_ref().map(|job| job.0.id).filter(|_| args.wait) {
        Some(job) => wait(invocation, &client, job).await,
        None => {
            invocation.output.print(&view)?;
            Ok(Exit::Ok)
        }
    }
}
