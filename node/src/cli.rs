//! The command line of `dfs-node`: flags become the top layer of the configuration.

use std::{
    ffi::OsString,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand};

use crate::{
    config::{self, Config, HostPort, Live, Role, Source},
    inspect,
    security::enroll,
    telemetry,
};

/// Exit code for a configuration that cannot be used (`EX_CONFIG` of sysexits.h).
pub const EXIT_CONFIG: u8 = 78;

/// Exit code if there is no room for what is to be printed, as `dfsctl` has it.
const EXIT_NO_SPACE: u8 = 9;
/// Exit code if nobody reads what is printed, as a shell shows SIGPIPE.
const EXIT_PIPE: u8 = 141;

/// One node of a dfs cluster.
#[derive(Debug, Parser)]
#[command(name = "dfs-node", version, max_term_width = 100)]
pub struct Cli {
    /// coordinator, datanode, or all (a coordinator and datanodes in one process, to try dfs out)
    #[arg(long, global = true)]
    role: Option<String>,
    /// YAML file with the configuration
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Directory that this node owns alone
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", value_parser = HostPort::parse)]
    listen: Option<HostPort>,
    /// Where the coordinator is
    #[arg(long, value_name = "HOST:PORT", value_parser = HostPort::parse)]
    coordinator: Option<HostPort>,
    /// Name of this node in listings and logs
    #[arg(long)]
    name: Option<String>,
    /// Failure domain of this node, such as its rack
    #[arg(long)]
    zone: Option<String>,
    /// Sets any configuration key; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE", value_parser = assignment, global = true)]
    set: Vec<(String, String)>,
    /// Take whoever connects for who he says he is, and say everything in clear: security.mode=off
    #[arg(long, global = true)]
    insecure: bool,
    /// Check the configuration and exit
    #[arg(long)]
    check_config: bool,
    /// Print the merged configuration, each value with where it came from, and exit
    #[arg(long)]
    print_config: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ask a running node with the same configuration whether it is ready; exits with 0 or 1
    Healthcheck {
        /// How long to wait for the answer
        #[arg(long, default_value = "3s", value_parser = humantime::parse_duration)]
        timeout: Duration,
    },
    /// Make an identity for a first operator, on the host and with the configuration of a coordinator that runs
    InitAdmin {
        /// Directory to write it to, for `dfsctl --identity`
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Who it is for
        #[arg(long, default_value = "admin")]
        user: String,
    },
    /// Tell what chunk files say of themselves and of the files they belong to, as lines of JSON; nothing is changed
    Inspect {
        /// Files, or directories with chunk files anywhere below, of a node that runs or not
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as section.key=value")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

/// Prints to standard output, and gives the code to exit with.
fn say(text: &str) -> ExitCode {
    let mut stdout = io::stdout().lock();
    let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) else {
        return ExitCode::SUCCESS;
    };
    let code = match error.kind() {
        io::ErrorKind::BrokenPipe => return ExitCode::from(EXIT_PIPE),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => EXIT_NO_SPACE,
        _ => 1,
    };
    // That nobody can be told is nobody's business: the exit code still tells.
    writeln!(io::stderr(), "dfs-node: cannot write the output: {error}").unwrap_or_default();
    ExitCode::from(code)
}

impl Cli {
    /// Reads the command line.
    ///
    /// # Errors
    /// The code to exit with, when all is said: help and version were asked for, or the command line is wrong (2).
    pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, ExitCode> {
        Self::try_parse_from(args).map_err(|error| {
            if !error.use_stderr() {
                let text = error.render();
                let terminal = io::stdout().is_terminal();
                return say(&if terminal { text.ansi().to_string() } else { text.to_string() });
            }
            // As above.
            error.print().unwrap_or_default();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
        })
    }

    /// The layers these arguments and this environment describe.
    pub fn source(&self, env: impl IntoIterator<Item = (String, String)>) -> Source {
        let mut env: Vec<_> = env.into_iter().collect();
        env.sort();
        let mut flags = Vec::new();
        let mut flag = |name: &str, key: &str, value: Option<String>| {
            flags.extend(value.map(|value| (name.to_owned(), key.to_owned(), value)));
        };
        flag("--role", "node.role", self.role.clone());
        flag("--data", "node.data_dir", self.data.clone());
        flag("--listen", "node.listen_host", self.listen.as_ref().map(|address| address.host.clone()));
        flag("--listen", "node.listen_port", self.listen.as_ref().map(|address| address.port.to_string()));
        flag(
            "--coordinator",
            "coordinator.host",
            self.coordinator.as_ref().map(|address| address.host.clone()),
        );
        flag(
            "--coordinator",
            "coordinator.port",
            self.coordinator.as_ref().map(|address| address.port.to_string()),
        );
        flag("--name", "node.name", self.name.clone());
        flag("--zone", "node.zone", self.zone.clone());
        let off = self.insecure.then(|| "off".to_owned());
        flag("--insecure", "security.mode", off);
        for (key, value) in &self.set {
            flag("--set", key, Some(value.clone()));
        }
        Source { file: self.config.clone(), env, flags }
    }

    /// Does what needs no running node (`--check-config`, `--print-config`, `healthcheck`), or hands back the
    /// configuration to run with.
    ///
    /// # Errors
    /// The code to exit with, when all is said: 0 after a question was answered, 78 for a bad configuration.
    pub fn begin(&self, env: impl IntoIterator<Item = (String, String)>) -> Result<Live, ExitCode> {
        if let Some(Command::Inspect { paths }) = &self.command {
            return Err(inspected(paths));
        }
        let source = self.source(env);
        let refused = |error: config::ConfigError| {
            eprintln!("dfs-node: {error}");
            ExitCode::from(EXIT_CONFIG)
        };
        if self.print_config {
            return Err(say(&config::describe(&source).map_err(refused)?));
        }
        let live = Live::start(source).map_err(refused)?;
        if self.check_config {
            return Err(say("the configuration is valid\n"));
        }
        match &self.command {
            // What needs no configuration is done by now.
            None | Some(Command::Inspect { .. }) => Ok(live),
            Some(Command::Healthcheck { timeout }) => Err(ask(&live.current().admin.listen, *timeout)),
            Some(Command::InitAdmin { out, user }) => Err(init_admin(&live.current(), user, out)),
        }
    }
}

/// Prints a line for each chunk file. The code is that of the output, if it failed, or 1 if a file could not be read.
fn inspected(paths: &[PathBuf]) -> ExitCode {
    let (mut failed, mut output) = (false, ExitCode::SUCCESS);
    for path in paths {
        inspect::each(path, &mut |file, said| match said {
            Ok(line) if output == ExitCode::SUCCESS => output = say(&format!("{line}\n")),
            Ok(_) => {}
            Err(error) => {
                failed = true;
                eprintln!("dfs-node: {}: {error}", file.display());
            }
        });
    }
    if output == ExitCode::SUCCESS && failed { ExitCode::FAILURE } else { output }
}

/// Writes an identity for a user, if this is the coordinator's host.
fn init_admin(config: &Config, user: &str, out: &Path) -> ExitCode {
    let failed = |error: String| {
        eprintln!("dfs-node: {error}");
        ExitCode::FAILURE
    };
    let config = match config.node.role {
        Role::All => config.coordinator_of_all(),
        Role::Coordinator => config.clone(),
        Role::Datanode => {
            return failed(
                "only a coordinator makes identities: name its configuration (--role, --config)".to_owned(),
            );
        }
    };
    let mut address = config.node.listen.clone();
    if address.is_wildcard() {
        address.host = if address.host.contains(':') { "::1" } else { "127.0.0.1" }.to_owned();
    }
    let directory = &config.security.directory;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        runtime.block_on(enroll::certify_user(crate::env::system, &address, directory, user, out))
    });
    match done {
        Ok(()) => say(&format!("{user} is known to the cluster: dfsctl --identity {}\n", out.display())),
        Err(error) => failed(format!("no identity was made: {error:#}")),
    }
}

fn ask(admin: &HostPort, timeout: Duration) -> ExitCode {
    match telemetry::healthcheck(admin, timeout) {
        Ok(answer) => say(&format!("{answer}\n")),
        Err(reason) => {
            eprintln!("dfs-node: {reason}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Role, load};

    fn parsed(args: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once(&"dfs-node").chain(args))
    }

    #[test]
    fn flags_reach_the_keys_they_stand_for() {
        let args = [
            "--role",
            "datanode",
            "--data",
            "/d",
            "--listen",
            "[::1]:0",
            "--coordinator",
            "c:9000",
            "--name",
            "dn1",
        ];
        let more = ["--zone", "r1", "--set", "memory.limit=1GiB", "--set", "log.level=a=debug"];
        let cli = parsed(&[args.as_slice(), more.as_slice()].concat()).expect("valid arguments");
        let config =
            load(&cli.source([("DATANODE_PORT".to_owned(), "9".to_owned())])).expect("a valid configuration");
        assert_eq!(config.node.role, Role::Datanode);
        assert_eq!(config.node.listen, HostPort::new("::1", 0));
        assert_eq!(config.coordinator.address, HostPort::new("c", 9000));
        assert_eq!((config.node.name.as_str(), config.node.zone.as_deref()), ("dn1", Some("r1")));
        assert_eq!((config.memory.limit_bytes, config.log.level.as_str()), (1 << 30, "a=debug"));
    }

    #[test]
    fn malformed_arguments_are_refused() {
        assert!(parsed(&["--listen", "nowhere"]).is_err());
        assert!(parsed(&["--set", "cluster.min_ack"]).is_err());
        assert!(parsed(&["frobnicate"]).is_err());
    }

    #[test]
    fn the_command_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
