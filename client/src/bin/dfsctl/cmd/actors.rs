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
use crate::output::text::{duration, plain, size};

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
    pub actors: Vec<ActorInfo>,
    #[serde(skip)]
    whole: bool,
}

fn parts(actor: &ActorInfo) -> Vec<&str> {
    actor.path.split('/').filter(|part| !part.is_empty()).collect()
}

/// Numbers by their value, not by their digits.
fn order(actor: &ActorInfo) -> Vec<(u64, String)> {
    parts(actor).iter().map(|part| (part.parse().unwrap_or(0), (*part).to_owned())).collect()
}

fn row(actor: &ActorInfo, depth: usize) -> Vec<Field> {
    let name = parts(actor).last().copied().unwrap_or(&actor.path).to_owned();
    let tone = if actor.state == "running" { Tone::Good } else { Tone::Warn };
    let number = |value: u64| Field::from(value.to_string());
    vec![
        format!("{}{name}", "  ".repeat(depth)).into(),
        actor.kind.as_str().into(),
        Field::toned(actor.state.as_str(), tone),
        Field::toned(actor.restarts.to_string(), if actor.restarts == 0 { Tone::Plain } else { Tone::Warn }),
        format!("{}/{}", actor.mailbox, actor.mailbox_max).into(),
        number(actor.handled),
        number(actor.slow),
        size(actor.credit_bytes).into(),
        duration(actor.uptime_ms).into(),
        if actor.last_exit.is_empty() { "-" } else { actor.last_exit.as_str() }.into(),
    ]
}

fn fields(actor: &ActorInfo, page: &mut Page) {
    const WIDTH: usize = 9;
    page.field(WIDTH, "path", plain(&actor.path));
    page.field(WIDTH, "kind", plain(&actor.kind));
    page.field(WIDTH, "state", format!("{} for {}", plain(&actor.state), duration(actor.uptime_ms)));
    page.field(WIDTH, "restarts", actor.restarts.to_string());
    if !actor.last_exit.is_empty() {
        page.field(WIDTH, "last exit", plain(&actor.last_exit));
    }
    page.field(WIDTH, "mailbox", format!("{} waiting, {} at most", actor.mailbox, actor.mailbox_max));
    page.field(WIDTH, "handled", format!("{}, {} of them slowly", actor.handled, actor.slow));
    page.field(WIDTH, "credit", size(actor.credit_bytes));
}

impl View for ActorsView {
    fn page(&self, page: &mut Page) {
        if !self.whole {
            for (index, actor) in self.actors.iter().enumerate() {
                if index > 0 {
                    page.line("");
                }
                fields(actor, page);
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
        let top = self.actors.iter().map(|actor| parts(actor).len()).min().unwrap_or(0);
        page.table(&columns, self.actors.iter().map(|actor| row(actor, parts(actor).len() - top)).collect());
    }

    fn lines(&self) -> serde_json::Result<Vec<String>> {
        self.actors.iter().map(serde_json::to_string).collect()
    }
}

/// Runs `dfsctl actors`.
///
/// # Errors
/// If the node is unknown or cannot be asked, or no actor matches.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let client = invocation.operator().await?;
    let address = address_of(&client, &args.node).await?;
    let mut actors = client.actors(address.as_deref()).await?;
    // A parent's path is a beginning of its children's.
    actors.sort_by_cached_key(order);
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
    invocation.output.print(&ActorsView { actors, whole })?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_of_an_actor_is_a_promise() {
        let actor = |last_exit: &str| ActorInfo {
            path: "/node/listener".to_owned(),
            kind: "listener".to_owned(),
            state: "running".to_owned(),
            restarts: 1,
            last_exit: last_exit.to_owned(),
            mailbox: 2,
            mailbox_max: 3,
            handled: 4,
            slow: 5,
            credit_bytes: 6,
            uptime_ms: 7,
        };
        for (last_exit, json) in [("", "null"), ("it panicked", "\"it panicked\"")] {
            let view = ActorsView { actors: vec![actor(last_exit)], whole: true };
            let expected = format!(
                r#"{{"path":"/node/listener","kind":"listener","state":"running","restarts":1,"last_exit":{json},"mailbox":2,"mailbox_max":3,"handled":4,"slow":5,"credit_bytes":6,"uptime_ms":7}}"#
            );
            assert_eq!(view.lines().unwrap(), [expected.as_str()]);
            assert_eq!(serde_json::from_str::<ActorInfo>(&expected).unwrap(), actor(last_exit));
        }
    }
}
