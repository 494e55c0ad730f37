//! The flags that every verb has.

use std::path::PathBuf;
use std::time::Duration;

use crate::connect::endpoint::Said;
use crate::connect::invocation::Invocation;
use crate::output::{Color, Format, Output};
use crate::{args, complete};

/// Flags of every verb.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options of every verb")]
pub(crate) struct Global {
    /// Coordinator to talk to; several with commas between
    #[arg(long, global = true, value_name = "HOST:PORT")]
    pub endpoint: Option<String>,
    /// Cluster to talk to, by the name it has in 'dfsctl context ls'
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "endpoint", add = complete::contexts())]
    pub context: Option<String>,
    /// Directory with ca.pem, certificate.pem and key.pem: secures connections, and says who you are
    #[arg(long, global = true, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub identity: Option<PathBuf>,
    /// Format of the data on standard output
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        hide_default_value = true
    )]
    pub output: Format,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t, hide_default_value = true)]
    pub color: Color,
    /// Give up after this long without success
    #[arg(long, global = true, value_name = "TIME", value_parser = args::duration)]
    pub timeout: Option<Duration>,
    /// No progress bars and no summaries
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more; twice for the log of the client
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

impl Global {
    /// What every command works with, as these flags have it.
    pub(crate) fn invocation(self, output: Output) -> Invocation {
        Invocation::new(
            Said { endpoint: self.endpoint, context: self.context, identity: self.identity },
            self.timeout,
            output,
        )
    }
}
