//! `dfsctl version`: the versions of dfsctl and of the cluster.

use serde::Serialize;

use crate::connect::invocation::Invocation;
use crate::output::View;
use crate::output::exit::Exit;
use crate::output::failure::Outcome;
use crate::output::page::Page;
use crate::output::text::plain;

/// This build's version.
const OWN: &str = env!("CARGO_PKG_VERSION");

/// Shows the versions of dfsctl and of the cluster
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only that of dfsctl: asks nobody
    #[arg(long)]
    client: bool,
}

/// What `version` prints.
#[derive(Debug, Serialize)]
pub(crate) struct VersionView {
    /// Version of dfsctl.
    pub client: String,
    /// The coordinator; null if it was not asked or not reached.
    pub server: Option<ServerView>,
}

/// The coordinator that answered.
#[derive(Debug, Serialize)]
pub(crate) struct ServerView {
    /// Version of its software.
    pub version: String,
    pub name: String,
    /// Id of its node.
    pub node: String,
    /// Id of its cluster, or null.
    pub cluster: Option<String>,
    /// Where it was asked.
    pub endpoint: String,
}

impl View for VersionView {
    fn page(&self, page: &mut Page) {
        page.field(6, "client", &self.client);
        match &self.server {
            Some(server) => {
                let (version, name) = (plain(&server.version), plain(&server.name));
                page.field(6, "server", format!("{version} ({name} at {})", server.endpoint));
            }
            None => page.field(6, "server", "-"),
        }
    }
}

/// Runs `dfsctl version`.
///
/// # Errors
/// If an endpoint is not an address. A coordinator that cannot be reached is only told of.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let mut view = VersionView { client: OWN.to_owned(), server: None };
    if !args.client {
        let endpoint = invocation.endpoint()?.shown();
        let asked = async { Outcome::Ok(invocation.operator().await?.node_info(None).await?) };
        match asked.await {
            Ok(info) => {
                if !same_minor(OWN, &info.version) {
                    invocation
                        .output
                        .warn(format!("dfsctl is {OWN} but the coordinator is {}", plain(&info.version)));
                }
                view.server = Some(ServerView {
                    version: info.version,
                    name: info.name,
                    node: info.node.to_string(),
                    cluster: info.cluster.map(|cluster| cluster.to_string()),
                    endpoint,
                });
            }
            Err(failure) if failure.exit == Exit::Unavailable => invocation.output.warn(failure.message),
            Err(failure) => {
                if failure.exit == Exit::Version {
                    // Its own version is what is needed now.
                    invocation.output.print(&view)?;
                }
                return Err(failure);
            }
        }
    }
    invocation.output.print(&view)?;
    Ok(Exit::Ok)
}

/// Whether two versions differ in nothing that matters: `major.minor`.
fn same_minor(a: &str, b: &str) -> bool {
    let minor = |version: &str| version.split('.').take(2).map(str::to_owned).collect::<Vec<_>>();
    minor(a) == minor(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patch_levels_do_not_matter() {
        assert!(
            same_minor("0.1.0", "0.1.9") && !same_minor("0.1.0", "0.2.0") && !same_minor("1.0.0", "0.1.0")
        );
    }
}
