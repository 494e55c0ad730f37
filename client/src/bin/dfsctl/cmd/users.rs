//! `dfsctl users`: who may use the cluster.

use clap::Subcommand;
use dfs_wire::message::admin::RevokeKeys;

use crate::connect::invocation::Invocation;
use crate::output::exit::Exit;
use crate::output::failure::Outcome;

/// Ends what users may do
///
/// An identity for a user is made on the coordinator's host: 'dfs-node init-admin --user NAME --out DIR'.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Has nobody believe the certificates of a user any more
    ///
    /// The coordinator refuses them at once, datanodes with their next heartbeat, connections that stand included. An identity that is made
    /// for the same name later is a new one.
    Revoke {
        /// The name in the user's certificate
        name: String,
    },
}

/// Runs `dfsctl users`.
///
/// # Errors
/// If there is nothing to revoke.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let Verb::Revoke { name } = args.verb;
    crate::revoke::run(invocation, RevokeKeys::User(name)).await
}
