//! `dfsctl chaos`: deliberate faults of actors, on nodes that allow it.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Subcommand;
use dfs_wire::message::admin::{ActorInfo, Chaos, ChaosAction};
use serde::Serialize;

use crate::args;
use crate::complete::nodes;
use crate::connect::invocation::Invocation;
use crate::connect::node::address_of;
use crate::output::View;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::page::{Column, Page};
use crate::output::text::{count, plain};

/// Harms actors of a node on purpose, to see what becomes of it
///
/// Only nodes that were built with the feature `chaos` and whose configuration has 'chaos.enabled' obey, and only those who know their
/// 'chaos.token': it is taken from DFS_CHAOS_TOKEN. 'dfsctl status' calls such a cluster UNSAFE. Nothing that was acknowledged may be lost by any of this. Whole scenarios, with a load and checks, are run by
/// 'cargo chaos'.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
    /// Which node: coordinator, the name of a datanode, or HOST:PORT
    #[arg(long, value_name = "NODE", default_value = "coordinator", global = true, add = nodes())]
    node: String,
}

/// Whom it befalls.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Victim {
    /// All actors of this kind
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// One actor, by its place in the tree: 'dfsctl actors tree -o jsonl' prints it
    #[arg(long, value_name = "PATH")]
    id: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Shows the kinds of actors of a node, and how many there are of each
    Ls,
    /// Ends actors at their next await, without a word
    #[command(after_help = "Examples:\n  dfsctl chaos kill-actor --node dn2 --kind session")]
    KillActor(Victim),
    /// Makes actors panic in their next handler
    PanicActor(Victim),
    /// Makes actors handle nothing for a while
    #[command(after_help = "Examples:\n  dfsctl chaos pause-actor --kind placement --for 5s")]
    PauseActor {
        #[command(flatten)]
        victim: Victim,
        /// For how long
        #[arg(long = "for", value_name = "DURATION", value_parser = args::duration, default_value = "1s")]
        lasts: Duration,
    },
    /// Makes actors wait before each message that they handle, until they are told otherwise or start again
    #[command(after_help = "Examples:\n  dfsctl chaos delay-actor --kind metadata-writer --by 20ms\n  \
                            dfsctl chaos delay-actor --kind metadata-writer --by 0s")]
    DelayActor {
        #[command(flatten)]
        victim: Victim,
        /// For how long each time; 0s ends it
        #[arg(long, value_name = "DURATION", value_parser = args::duration)]
        by: Duration,
    },
}

/// What `chaos ls` prints.
#[derive(Debug, Serialize)]
struct ActorKindsView {
    node: String,
    kinds: Vec<ActorKindView>,
}

/// Actors of one kind, as they are printed.
#[derive(Debug, Serialize)]
struct ActorKindView {
    kind: String,
    actors: u64,
    restarts: u64,
}

impl ActorKindsView {
    fn of(node: String, actors: &[ActorInfo]) -> Self {
        let mut kinds: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for actor in actors {
            let (number, restarts) = kinds.entry(&actor.kind).or_default();
            *number += 1;
            *restarts += actor.restarts;
        }
        let kind = |(kind, (actors, restarts)): (&str, (u64, u64))| ActorKindView {
            kind: kind.to_owned(),
            actors,
            restarts,
        };
        Self { node, kinds: kinds.into_iter().map(kind).collect() }
    }
}

impl View for ActorKindsView {
    fn page(&self, page: &mut Page) {
        let columns = [Column::Text("KIND"), Column::Number("ACTORS"), Column::Number("RESTARTS")];
        let row = |kind: &ActorKindView| {
            vec![kind.kind.as_str().into(), kind.actors.to_string().into(), kind.restarts.to_string().into()]
        };
        page.table(&columns, self.kinds.iter().map(row).collect());
    }

    fn lines(&self) -> serde_json::Result<Vec<String>> {
        self.kinds.iter().map(serde_json::to_string).collect()
    }
}

/// What the levers print.
#[derive(Debug, Serialize)]
struct StruckView {
    node: String,
    actor: String,
    hit: u32,
}

impl View for StruckView {
    fn page(&self, page: &mut Page) {
        page.line(format!("{} of {} hit", count(self.hit.into(), "actor"), plain(&self.node)));
    }
}

fn millis(span: Duration) -> u32 {
    // Only zero is zero.
    u32::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}

/// Runs `dfsctl chaos`.
///
/// # Errors
/// If the node cannot be asked, obeys no such word, or has no such actor.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let client = invocation.operator().await?;
    let address = address_of(&client, &args.node).await?;
    let (victim, action) = match args.verb {
        Verb::Ls => {
            let actors = client.actors(address.as_deref()).await?;
            invocation.output.print(&ActorKindsView::of(args.node, &actors))?;
            return Ok(Exit::Ok);
        }
        Verb::KillActor(victim) => (victim, ChaosAction::Kill),
        Verb::PanicActor(victim) => (victim, ChaosAction::Panic),
        Verb::PauseActor { victim, lasts } => (victim, ChaosAction::Pause(millis(lasts))),
        Verb::DelayActor { victim, by } => (victim, ChaosAction::Delay(millis(by))),
    };
    let actor = victim.kind.or(victim.id).unwrap_or_default();
    let token = std::env::var("DFS_CHAOS_TOKEN").unwrap_or_default();
    let order = Chaos { actor: actor.clone(), action, token };
    let hit = client.chaos(address.as_deref(), order).await?;
    if hit == 0 {
        let message = format!("{} has no actor '{}'", plain(&args.node), plain(&actor));
        return Err(Failure::new(Exit::NotFound, "NotFound", message)
            .hint("'dfsctl chaos ls' shows the kinds there are"));
    }
    invocation.output.print(&StruckView { node: args.node, actor, hit })?;
    Ok(Exit::Ok)
}
