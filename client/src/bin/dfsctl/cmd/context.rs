//! `dfsctl context`: names for clusters, and which of them is the current one.

use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;

use crate::complete;
use crate::connect::config_file::{self, Cluster, ConfigFile};
use crate::connect::endpoint::Endpoint;
use crate::connect::identity;
use crate::connect::invocation::Invocation;
use crate::output::View;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::page::{Column, Field, Page, Tone};
use crate::output::text::plain;

/// Keeps names for clusters, and which of them is the current one
///
/// They are kept in $XDG_CONFIG_HOME/dfs/config.yaml (else ~/.config/dfs/config.yaml).
///
///   context add prod dfs-1:8080,dfs-2:8080  give a cluster a name
///   context add --identity DIR safe dfs:8080  one that is secured: who you are there
///   context use prod                        all commands go there from now on
///   --context test ls /                     this one command goes to another
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Gives a cluster a name
    Add {
        /// The name: letters, digits, '.', '_' and '-'
        #[arg(value_parser = name)]
        name: String,
        /// Its coordinators, with commas between
        #[arg(value_name = "HOST:PORT")]
        endpoint: String,
        /// Make it the current one
        #[arg(long = "use")]
        current: bool,
        /// Replace a context of this name
        #[arg(short, long)]
        force: bool,
        /// Say what would be done and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Makes a context the current one
    Use {
        /// Its name
        #[arg(add = complete::contexts())]
        name: String,
        /// Say what would be done and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Lists the contexts; the current one is marked
    Ls,
    /// Removes contexts
    Rm {
        /// Their names
        #[arg(required = true, value_name = "NAME", add = complete::contexts())]
        names: Vec<String>,
        /// Say what would be done and do nothing
        #[arg(long)]
        dry_run: bool,
    },
}

fn name(text: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match !text.is_empty() && !text.starts_with('-') && text.chars().all(legal) {
        true => Ok(text.to_owned()),
        false => Err("a name has letters, digits, '.', '_' and '-'".to_owned()),
    }
}

/// What these commands print: the contexts as they are then.
#[derive(Debug, Serialize)]
pub(crate) struct ContextsView {
    pub contexts: Vec<ContextView>,
    /// The file they are kept in.
    pub file: String,
    /// Whether nothing was changed because of --dry-run.
    pub dry_run: bool,
    #[serde(skip)]
    said: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ContextView {
    pub name: String,
    /// Where the cluster is.
    pub endpoint: String,
    /// The directory that says who the user is there.
    pub identity: Option<String>,
    /// Whether it is the current one.
    pub current: bool,
}

impl View for ContextsView {
    fn page(&self, page: &mut Page) {
        if let Some(said) = &self.said {
            page.line(if self.dry_run { format!("would do: {said}") } else { said.clone() });
            return;
        }
        if self.contexts.is_empty() {
            page.line("no context yet; 'dfsctl context add NAME HOST:PORT' makes one");
            return;
        }
        // Where no cluster is secured, nobody asks who he is.
        let secured = self.contexts.iter().any(|context| context.identity.is_some());
        let columns = ["CURRENT", "NAME", "ENDPOINT", "IDENTITY"].map(Column::Text);
        let shown = if secured { columns.len() } else { columns.len() - 1 };
        let rows = self.contexts.iter().map(|context| {
            let (mark, tone) = if context.current { ("*", Tone::Good) } else { ("", Tone::Plain) };
            let mut row = vec![
                Field::toned(mark, tone),
                Field::toned(context.name.as_str(), tone),
                context.endpoint.as_str().into(),
                context.identity.as_deref().unwrap_or("-").into(),
            ];
            row.truncate(shown);
            row
        });
        let rows = rows.collect();
        page.table(columns.get(..shown).unwrap_or_default(), rows);
    }

    fn lines(&self) -> serde_json::Result<Vec<String>> {
        self.contexts.iter().map(serde_json::to_string).collect()
    }
}

/// Runs `dfsctl context`.
///
/// # Errors
/// If a context is not there, or is and must not be, or the file cannot be used.
pub(crate) fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let path = config_file::path(|name| std::env::var(name).ok()).ok_or_else(|| {
        Failure::new(Exit::Config, "BadConfig", "there is no place for the file: HOME is not set")
    })?;
    let mut file = ConfigFile::read(&path)?;
    let (said, dry_run) = match args.verb {
        Verb::Ls => (None, false),
        Verb::Add { name, endpoint, current, force, dry_run } => {
            // As it will be found from anywhere.
            let identity = invocation.identity().map(std::path::absolute).transpose();
            let identity = identity.map_err(|e| Failure::new(Exit::Usage, "BadIdentity", e.to_string()))?;
            if let Some(dir) = &identity {
                identity::read(dir)?;
            }
            let cluster = Cluster { endpoint, identity };
            (Some(add(&mut file, &name, cluster, current, force)?), dry_run)
        }
        Verb::Use { name, dry_run } => {
            file.cluster(&name)?;
            file.current = Some(name.clone());
            (Some(format!("'{name}' is the current context")), dry_run)
        }
        Verb::Rm { names, dry_run } => (Some(remove(&mut file, &names)?), dry_run),
    };
    if said.is_some() && !dry_run {
        file.write(&path)?;
    }
    invocation.output.print(&view(&file, path, dry_run, said))?;
    Ok(Exit::Ok)
}

fn add(file: &mut ConfigFile, name: &str, cluster: Cluster, current: bool, force: bool) -> Outcome<String> {
    Endpoint::check(&cluster.endpoint)?;
    if !force && let Some(there) = file.contexts.get(name) {
        let message = format!("there is a context '{name}' already, for {}", plain(&there.endpoint));
        return Err(Failure::new(Exit::Precondition, "AlreadyExists", message).hint("-f replaces it"));
    }
    let said = format!("'{name}' is {}", plain(&cluster.endpoint));
    file.contexts.insert(name.to_owned(), cluster);
    // The first one is the one that is meant.
    if current || file.contexts.len() == 1 {
        file.current = Some(name.to_owned());
        return Ok(format!("{said}, and the current context"));
    }
    Ok(said)
}

/// All of them, or none if one is not there.
fn remove(file: &mut ConfigFile, names: &[String]) -> Outcome<String> {
    for name in names {
        file.cluster(name)?;
    }
    file.contexts.retain(|name, _| !names.contains(name));
    let said = format!("removed {}", names.join(", "));
    if file.current.as_ref().is_some_and(|current| names.contains(current)) {
        file.current = None;
        return Ok(format!("{said}; there is no current context now"));
    }
    Ok(said)
}

fn view(file: &ConfigFile, path: PathBuf, dry_run: bool, said: Option<String>) -> ContextsView {
    let contexts = file.contexts.iter().map(|(name, cluster)| ContextView {
        name: name.clone(),
        endpoint: cluster.endpoint.clone(),
        identity: cluster.identity.as_ref().map(|dir| dir.display().to_string()),
        current: file.current.as_ref() == Some(name),
    });
    ContextsView { contexts: contexts.collect(), file: path.display().to_string(), dry_run, said }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_added_used_and_removed() {
        let mut file = ConfigFile::default();
        let at = |endpoint: &str| Cluster { endpoint: endpoint.to_owned(), identity: None };
        let put = |file: &mut ConfigFile, name: &str, force| add(file, name, at("a:1"), false, force);
        assert_eq!(put(&mut file, "one", false).unwrap(), "'one' is a:1, and the current context");
        assert_eq!(put(&mut file, "two", false).unwrap(), "'two' is a:1");
        assert_eq!(put(&mut file, "two", false).unwrap_err().exit, Exit::Precondition);
        assert!(put(&mut file, "two", true).is_ok());
        assert_eq!(add(&mut file, "x", at("a:b"), false, false).unwrap_err().exit, Exit::Usage);
        assert_eq!(remove(&mut file, &["one".into(), "none".into()]).unwrap_err().exit, Exit::NotFound);
        assert_eq!(file.contexts.len(), 2, "all or none");
        let said = remove(&mut file, &["one".to_owned()]).unwrap();
        assert_eq!(said, "removed one; there is no current context now");
        for wrong in ["", "-x", "a b", "a/b"] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
    }
}
