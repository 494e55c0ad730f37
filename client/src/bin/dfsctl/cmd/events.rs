//! `dfsctl events`: what happened to the cluster.

use std::collections::VecDeque;
use std::time::Duration;

use dfs_client::Client;
use dfs_wire::message::admin::ClusterEvent;
use serde::{Serialize, Serializer};

use crate::args;
use crate::complete::nodes;
use crate::connect::invocation::Invocation;
use crate::output::Format;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::findings::toned;
use crate::output::list::List;
use crate::output::object::object;
use crate::output::page::Paint;
use crate::output::text::{exact_time, plain, present, time};

/// How often new ones are asked for.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);
/// Events that are asked for at once.
const PAGE: u32 = 500;
/// Events that are shown if nobody says how many.
const LINES_DEFAULT: u32 = 50;

/// Shows what happened to the cluster
///
/// Datanodes that came and went, what needed attention and when that was over, jobs, and what operators did. The last ten thousand
/// events are kept, whatever restarts.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  dfsctl events --since 1h\n  dfsctl events --follow --node dn3")]
pub(crate) struct Args {
    /// Goes on with what happens after these
    #[arg(short, long)]
    follow: bool,
    /// The last so many [default: 50, or all within --since]
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    lines: Option<u32>,
    /// Only what happened within this time
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    since: Option<Duration>,
    /// Only what is about this datanode, by its name
    #[arg(long, value_name = "NODE", add = nodes())]
    node: Option<String>,
}

/// An event, as it is printed.
#[derive(Debug)]
struct EventView(ClusterEvent);

impl EventView {
    fn line(&self, paint: Paint) -> String {
        let ClusterEvent { at_ms, kind, level, text, .. } = &self.0;
        let kind = toned(paint, *level, &format!("{:<11}", plain(kind)));
        format!("{}  {kind}  {}", time(*at_ms), plain(text))
    }
}

impl Serialize for EventView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let event = &self.0;
        object!(serializer, {
            "number": event.number,
            "time": exact_time(event.at_ms),
            "age_ms": event.age_ms,
            "kind": event.kind,
            "level": event.level,
            "node": present(&event.subject),
            "text": event.text,
        })
    }
}

impl Args {
    fn wants(&self, event: &ClusterEvent) -> bool {
        let within = |since: Duration| u128::from(event.age_ms) <= since.as_millis();
        self.since.is_none_or(within) && self.node.as_ref().is_none_or(|node| *node == event.subject)
    }

    /// The last events that are wanted, and the number of the last of all.
    async fn last(&self, client: &Client) -> Outcome<(VecDeque<ClusterEvent>, Option<u64>)> {
        let most = self.lines.or(self.since.is_none().then_some(LINES_DEFAULT));
        let most = most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        let (mut found, mut last) = (VecDeque::new(), None);
        // What is about one datanode, or within a time, may be anywhere among all that is kept.
        let all = self.node.is_some() || most > PAGE as usize;
        let mut page = match all {
            true => client.events(Some(0), PAGE).await?,
            false => client.events(None, u32::try_from(most).unwrap_or(PAGE)).await?,
        };
        loop {
            let Some(newest) = page.last().map(|event| event.number) else { return Ok((found, last)) };
            last = Some(newest);
            for event in page.into_iter().filter(|event| self.wants(event)) {
                found.push_back(event);
                if found.len() > most {
                    found.pop_front();
                }
            }
            page = client.events(last, PAGE).await?;
        }
    }
}

/// Runs `dfsctl events`.
///
/// # Errors
/// If the cluster cannot be asked, or standard output cannot be written.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let output = invocation.output;
    if args.follow && matches!(output.format, Format::Json | Format::Yaml) {
        return Err(Failure::usage("--follow has no end, and a document of this format has; use -o jsonl"));
    }
    let client = invocation.operator().await?;
    if let Some(name) = &args.node
        && !client.nodes().await?.iter().any(|node| node.name == *name)
    {
        output.warn(format!("there is no datanode of the name '{}' now", plain(name)));
    }
    let (events, mut last) = args.last(&client).await?;
    let mut list = List::new(output, "events");
    for event in events {
        let view = EventView(event);
        list.push(&view, |paint| view.line(paint))?;
    }
    if !args.follow {
        list.finish()?;
        return Ok(Exit::Ok);
    }
    loop {
        list.flush()?;
        tokio::time::sleep(FOLLOW_EVERY).await;
        let new = match client.events(Some(last.unwrap_or(0)), PAGE).await {
            Ok(new) => new,
            // It comes back, and what happened meanwhile is kept.
            Err(error) => {
                output.failure(&Failure::from(error));
                continue;
            }
        };
        last = new.last().map(|event| event.number).or(last);
        for event in new.into_iter().filter(|event| args.wants(event)) {
            let view = EventView(event);
            list.push(&view, |paint| view.line(paint))?;
        }
    }
}
