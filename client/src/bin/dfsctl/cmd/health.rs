//! `dfsctl health`: what needs attention, since when, and what to do about it.

use std::time::Duration;

use clap::Subcommand;
use dfs_wire::message::admin::{HealthFinding, HealthLevel, MutedFinding};
use dfs_wire::message::health::HEALTH_CODES;
use serde::{Serialize, Serializer};

use crate::args;
use crate::complete::nodes;
use crate::connect::invocation::Invocation;
use crate::output::View;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::findings::{exit_of, line, word};
use crate::output::object::object;
use crate::output::page::{Column, Page};
use crate::output::text::{duration, plain, present};

/// Says what needs attention, since when, and what to do about it
///
/// Each finding has a code; the operations guide says of each what it means. 'dfsctl events' shows what was before.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Exit with 10 if something needs attention, 11 if data is lost or cannot be reached
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Hears nothing of a finding for a while
    ///
    /// It is listed all the same, but does not count: 'status --check' says that all is well if nothing else is wrong. It is heard
    /// again when the time is over. What cannot be read or written (an error) is always heard.
    #[command(
        after_help = "Examples:\n  dfsctl health mute NODE_DOWN --node dn3 --for 2h\n  dfsctl health mute SCRUB_OVERDUE"
    )]
    Mute {
        /// Its code
        #[arg(value_name = "CODE", value_parser = code)]
        code: String,
        /// Only where it is about this datanode
        #[arg(long, value_name = "NODE", add = nodes())]
        node: Option<String>,
        /// For how long, 30 days at most
        #[arg(long = "for", value_name = "DURATION", value_parser = args::duration, default_value = "1h")]
        lasts: Duration,
    },
    /// Hears of a finding again
    Unmute {
        /// Its code
        #[arg(value_name = "CODE", value_parser = code)]
        code: String,
        /// The datanode that the mute was about, if it was about one
        #[arg(long, value_name = "NODE", add = nodes())]
        node: Option<String>,
    },
    /// Shows what is muted, whether it is there or not
    Mutes,
}

/// Reads the code of a finding.
fn code(input: &str) -> Result<String, String> {
    let code = input.to_uppercase().replace('-', "_");
    match HEALTH_CODES.contains(&code.as_str()) {
        true => Ok(code),
        false => Err(format!("no finding has this code; there are {}", HEALTH_CODES.join(", "))),
    }
}

/// What `health` prints.
#[derive(Debug)]
struct HealthView {
    health: HealthLevel,
    findings: Vec<HealthFinding>,
}

impl Serialize for HealthView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        object!(serializer, { "health": self.health, "findings": self.findings, })
    }
}

impl View for HealthView {
    fn page(&self, page: &mut Page) {
        let paint = page.paint;
        page.line(line(paint, self.health, word(self.health), "health", ""));
        for finding in &self.findings {
            let level = if finding.muted_ms > 0 { HealthLevel::Ok } else { finding.level };
            let since = match finding.age_ms {
                0 => String::new(),
                age => format!("for {}: ", duration(age)),
            };
            let text = format!("{since}{}", plain(&finding.message));
            page.line(line(paint, level, word(finding.level), &finding.code, &text));
            if finding.muted_ms > 0 {
                page.line(format!("      muted for {} more", duration(finding.muted_ms)));
            }
            if let Some(hint) = present(&finding.hint) {
                page.line(format!("      {}", plain(hint)));
            }
        }
    }

    fn lines(&self) -> serde_json::Result<Vec<String>> {
        self.findings.iter().map(serde_json::to_string).collect()
    }
}

/// What `health mutes` prints.
#[derive(Debug, Serialize)]
struct MutesView {
    mutes: Vec<MutedFinding>,
}

impl View for MutesView {
    fn page(&self, page: &mut Page) {
        if self.mutes.is_empty() {
            return page.line("nothing is muted");
        }
        let columns =
            [Column::Text("CODE"), Column::Text("NODE"), Column::Number("LEFT"), Column::Text("BY")];
        let row = |mute: &MutedFinding| {
            let node = present(&mute.subject).unwrap_or("-");
            vec![
                mute.code.as_str().into(),
                node.into(),
                duration(mute.left_ms).into(),
                mute.by.as_str().into(),
            ]
        };
        page.table(&columns, self.mutes.iter().map(row).collect());
    }

    fn lines(&self) -> serde_json::Result<Vec<String>> {
        self.mutes.iter().map(serde_json::to_string).collect()
    }
}

/// Runs `dfsctl health`.
///
/// # Errors
/// If the cluster cannot be asked, or there is no such datanode.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let client = invocation.operator().await?;
    let mutes = match args.verb {
        None => {
            let status = client.status().await?;
            let exit = if args.check { exit_of(status.health) } else { Exit::Ok };
            let view = HealthView { health: status.health, findings: status.findings };
            invocation.output.print(&view)?;
            return Ok(exit);
        }
        Some(Verb::Mute { lasts, .. }) if lasts.is_zero() => {
            return Err(Failure::usage("a mute of no time; 'dfsctl health unmute' ends one"));
        }
        Some(Verb::Mute { code, node, lasts }) => {
            client.mute_finding(&code, &node.unwrap_or_default(), lasts).await?
        }
        Some(Verb::Unmute { code, node }) => {
            client.mute_finding(&code, &node.unwrap_or_default(), Duration::ZERO).await?
        }
        Some(Verb::Mutes) => client.mutes().await?,
    };
    invocation.output.print(&MutesView { mutes })?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::page::Paint;

    #[test]
    fn codes_are_taken_as_people_write_them() {
        assert_eq!(code("node-down"), Ok("NODE_DOWN".to_owned()));
        assert!(code("NODE_DONW").unwrap_err().contains("NODE_DOWN"));
    }

    #[test]
    fn a_finding_says_since_when_and_whether_it_is_muted() {
        let down = HealthFinding::new("NODE_DOWN", HealthLevel::Warn, "dn3 is down".to_owned(), "start it");
        let down = HealthFinding { age_ms: 120_000, muted_ms: 3_600_000, ..down.about("dn3") };
        let view = HealthView { health: HealthLevel::Ok, findings: vec![down] };
        let mut page = Page::within(Paint::new(false), None);
        view.page(&mut page);
        let expected = "\
OK    health
WARN  NODE_DOWN  for 2m 0s: dn3 is down
      muted for 1h 0m more
      start it
";
        assert_eq!(page.finish(), expected);
    }
}
