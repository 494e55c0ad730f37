//! `dfsctl diff`: compares files and directories of the cluster with those of this machine, or with each other.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::complete::marked_paths;
use crate::connect::invocation::Invocation;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome, Tally};
use crate::output::list::List;
use crate::output::text::plain;
use crate::paths::compare::{Reader, first_difference};
use crate::paths::sides::{Found, Side};
use dfs_client::Client;

/// Compares files and directories of the cluster with local ones, or with each other
///
/// A path of the cluster is written dfs:/a/b; everything else is a path of this machine.
/// Every byte is compared; of files of different sizes only up to the first difference.
/// Exit code 0 if there is no difference, 4 if there is one.
///
///   diff dfs:/report.pdf report.pdf    are they the same?
///   diff dfs:/a.txt dfs:/b.txt         both in the cluster
///   diff -r dfs:/backup/photos photos  everything below
///   diff <(dfsctl cat /a.txt) a.txt    line by line, with the diff of the system
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// One side
    #[arg(value_name = "LEFT", value_parser = Side::parse, add = marked_paths())]
    left: Side,
    /// The other side
    #[arg(value_name = "RIGHT", value_parser = Side::parse, add = marked_paths())]
    right: Side,
    /// Directories, with all they hold
    #[arg(short, long, visible_short_alias = 'R')]
    recursive: bool,
}

/// One path that is not the same on both sides.
#[derive(Debug, Serialize)]
pub(crate) struct DiffView {
    /// Where, below the two sides; null for the sides themselves.
    pub path: Option<String>,
    /// `only_left`, `only_right`, `type` (a file and a directory) or `content`.
    pub kind: &'static str,
    /// The one side.
    pub left: String,
    /// The other side.
    pub right: String,
    /// The first byte that differs, from 0; null if that is not what differs.
    pub offset: Option<u64>,
    /// The line it is in, from 1; null as above.
    pub line: Option<u64>,
}

impl DiffView {
    fn text(&self) -> String {
        let (left, right) = (plain(&self.left), plain(&self.right));
        match (self.kind, self.offset, self.line) {
            ("only_left", ..) => format!("only on the left: {left}"),
            ("only_right", ..) => format!("only on the right: {right}"),
            ("type", ..) => format!("{left} and {right} differ: one is a directory"),
            (_, Some(offset), Some(line)) => {
                format!("{left} and {right} differ: byte {offset}, line {line}")
            }
            _ => format!("{left} and {right} differ"),
        }
    }
}

/// Runs `dfsctl diff`.
///
/// # Errors
/// If a side is not there or cannot be read.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    if !args.left.is_remote() && !args.right.is_remote() {
        return Err(Failure::usage("both sides are of this machine").hint(
            "a path of the cluster is written dfs:/a/b; for two local files there is the diff of the system",
        ));
    }
    let client = invocation.client().await?;
    let (left, right) = (args.left.look(&client).await?, args.right.look(&client).await?);
    let both = left == Found::Directory && right == Found::Directory;
    if both && !args.recursive {
        let message = format!("'{}' and '{}' are directories", args.left, args.right);
        return Err(
            Failure::new(Exit::Precondition, "IsADirectory", message).hint("-r compares all that they hold")
        );
    }
    let mut list = List::new(invocation.output, "differences");
    let mut tally = Tally::default();
    if both {
        let trees = (args.left.walk(&client).await?, args.right.walk(&client).await?);
        let pairs = pairs(trees.0, trees.1);
        tally.tell_each(invocation.output, pairs.len());
        for (name, found) in pairs {
            let (left, right) = (args.left.join(&name)?, args.right.join(&name)?);
            tally.add(pair(&client, &left, &right, Some(name), found, &mut list).await);
            if tally.unread() {
                break;
            }
        }
    } else {
        let found = (Some(left), Some(right));
        tally.add(pair(&client, &args.left, &args.right, None, found, &mut list).await);
    }
    let differences = list.finish_after(&tally)?;
    tally.finish("files")?;
    Ok(if differences == 0 { Exit::Ok } else { Exit::Precondition })
}

type Pair = (Option<Found>, Option<Found>);

/// What is on either side, by name.
fn pairs(left: BTreeMap<String, Found>, right: BTreeMap<String, Found>) -> BTreeMap<String, Pair> {
    let mut pairs: BTreeMap<String, Pair> =
        left.into_iter().map(|(name, found)| (name, (Some(found), None))).collect();
    for (name, found) in right {
        pairs.entry(name).or_default().1 = Some(found);
    }
    pairs
}

async fn pair(
    client: &Client,
    left: &Side,
    right: &Side,
    path: Option<String>,
    found: Pair,
    list: &mut List,
) -> Outcome {
    let (kind, place) = match found {
        (Some(_), None) => ("only_left", None),
        (None, Some(_)) => ("only_right", None),
        (Some(Found::File { .. }), Some(Found::File { .. })) => {
            match first_difference(
                &mut Reader::open(client, left).await?,
                &mut Reader::open(client, right).await?,
            )
            .await?
            {
                Some(place) => ("content", Some(place)),
                None => return Ok(()),
            }
        }
        (Some(left), Some(right)) if left == right => return Ok(()),
        _ => ("type", None),
    };
    let (offset, line) = (place.map(|place| place.0), place.map(|place| place.1));
    let view = DiffView { path, kind, left: left.to_string(), right: right.to_string(), offset, line };
    list.push(&view, |_| view.text())
}
