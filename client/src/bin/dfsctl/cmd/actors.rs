//! `dfsctl actors`: the live actors of a node.

use clap::Subcommand;
use dfs_wire::message::admin::ActorInfo;
use serde::Serialize;

use crate::complete::nodes;
use crate::connect::invocation::Invocation;
use crate::connect::node::address_of;
use crate::output::View;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::page::{Column, Field, Page, Tone};
use crate::output::text::{duration, plain, present, size};

/// Shows the live actors of a node
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Which node: coordinator, the name of a datanode, or HOST:PORT
    #[arg(long, value_name = "NODE", default_value = "coordinator", global = true, add = nodes())]
    node: String,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Draws the tree (the default)
    Tree,
    /// Shows all that is known of an actor and those below it
    Show {
        /// Place in the tree, as 'actors tree -o jsonl' prints it, or a kind of actor
        #[arg(value_name = "ACTOR")]
        actor: String,
    },
}

/// What `actors` prints.
#[derive(Debug, Serialize)]
pub(crate) struct ActorsView {
    /// The actors; a parent before its children.
    pub actors: Vec<ActorView>,
    #[serde(skip)]
    whole: bool,
}

/// One actor.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ActorView {
    /// Place in the tree.
    pub path: String,
    /// What it is.
    pub kind: String,
    /// How it is.
    pub state: String,
    /// How often it was restarted.
    pub restarts: u64,
    /// Why it last ended; null if it never did.
    pub last_exit: Option<String>,
    /// Messages waiting.
    pub mailbox: u64,
    /// Most messages that were waiting at once.
    pub mailbox_max: u64,
    /// Messages handled.
    pub handled: u64,
    /// Handlers that took longer than 100 ms.
    pub slow: u64,
    /// Bytes of credit it holds.
    pub credit_bytes: u64,
    /// Milliseconds since it (re)started.
    pub uptime_ms: u64,
}

impl From<ActorInfo> for ActorView {
    fn from(actor: ActorInfo) -> Self {
        Self {
            path: actor.path,
            kind: actor.kind,
            state: actor.state,
            restarts: actor.restarts,
            last_exit: present(actor.last_exit),
            mailbox: actor.mailbox,
            mailbox_max: actor.mailbox_max,
            handled: actor.handled,
            slow: actor.slow,
            credit_bytes: actor.credit_bytes,
            uptime_ms: actor.uptime_ms,
        }
    }
}

impl ActorView {
    fn parts(&self) -> Vec<&str> {
        self.path.split('/').filter(|part| !part.is_empty()).collect()
    }

    /// Numbers by their value, not by their digits.
    fn order(&self) -> Vec<(u64, String)> {
        self.parts().iter().map(|part| (part.parse().unwrap_or(0), (*part).to_owned())).collect()
    }

    fn row(&self, depth: usize) -> Vec<Field> {
        let name = self.parts().last().copied().unwrap_or(&self.path).to_owned();
        let tone = if self.state == "running" { Tone::Good } else { Tone::Warn };
        let number = |value: u64| Field::from(value.to_string());
        vec![
            format!("{}{name}", "  ".repeat(depth)).into(),
            self.kind.as_str().into(),
            Field::toned(self.state.as_str(), tone),
            Field::toned(
                self.restarts.to_string(),
                if self.restarts == 0 { Tone::Plain } else { Tone::Warn },
            ),
            format!("{}/{}", self.mailbox, self.mailbox_max).into(),
            number(self.handled),
            number(self.slow),
            size(self.credit_bytes).into(),
            duration(self.uptime_ms).into(),
            self.last_exit.as_deref().unwrap_or("-").into(),
        ]
    }

    fn fields(&self, page: &mut Page) {
        const WIDTH: usize = 9;
        page.field(WIDTH, "path", plain(&self.path));
        page.field(WIDTH, "kind", plain(&self.kind));
        page.field(WIDTH, "state", format!("{} for {}", plain(&self.state), duration(self.uptime_ms)));
        page.field(WIDTH, "restarts", self.restarts.to_string());
        if let Some(last_exit) = &self.last_exit {
            page.field(WIDTH, "last exit", plain(last_exit));
        }
        page.field(WIDTH, "mailbox", format!("{} waiting, {} at most", self.mailbox, self.mailbox_max));
        page.field(WIDTH, "handled", format!("{}, {} of them slowly", self.handled, self.slow));
        page.field(WIDTH, "credit", size(self.credit_bytes));
    }
}

impl View for ActorsView {
    fn page(&self, page: &mut Page) {
        if !self.whole {
            for (index, actor) in self.actors.iter().enumerate() {
                if index > 0 {
                    page.line("");
                }
                actor.fields(page);
            }
            return;
        }
        let columns = [
            Column::Text("ACTOR"),
            Column::Text("KIND"),
            Column::Text("STATE"),
            Column::Number("RESTARTS"),
            Column::Number("MAILBOX/MAX"),
            Column::Number("HANDLED"),
            Column::Number("SLOW"),
            Column::Number("CREDIT"),
            Column::Number("UP"),
            Column::Text("LAST EXIT"),
        ];
        let top = self.actors.iter().map(|actor| actor.parts().len()).min().unwrap_or(0);
        page.table(&columns, self.actors.iter().map(|actor| actor.row(actor.parts().len() - top)).collect());
    }

    fn lines(&self) -> serde_json::Result<Vec<String>> {
        self.actors.iter().map(serde_json::to_string).collect()
    }
}

/// Runs `dfsctl actors`.
///
/// # Errors
/// If the node is unknown or cannot be asked, or no actor matches.
pub(crate) async fn run(context: &Invocation, args: Args) -> Outcome<Exit> {
    let client = context.operator().await?;
    let address = address_of(&client, &args.node).await?;
    let mut actors: Vec<_> =
        client.actors(address.as_deref()).await?.into_iter().map(ActorView::from).collect();
    // A parent's path is a beginning of its children's.
    actors.sort_by_cached_key(ActorView::order);
    let whole = match args.verb.unwrap_or(Verb::Tree) {
        Verb::Tree => true,
        Verb::Show { actor } => {
            let wanted = actor.trim_end_matches('/');
            actors.retain(|other| {
                let below = other
                    .path
                    .strip_prefix(wanted)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
                below || other.kind == wanted
            });
            if actors.is_empty() {
                let message = format!("{} has no actor '{}'", plain(&args.node), plain(wanted));
                return Err(Failure::new(Exit::NotFound, "NotFound", message)
                    .hint("'dfsctl actors tree' shows the actors; an actor's path is in its JSON"));
            }
            false
        }
    };
    context.output.print(&ActorsView { actors, whole })?;
    Ok(Exit::Ok)
}
