//! `dfsctl checksum`: the SHA-256 of whole files, in the form of `sha256sum`.

use std::io::Read;
use std::path::{Path, PathBuf};

use dfs_wire::path::DfsPath;
use serde::Serialize;

use crate::complete::remote_paths;
use crate::connect::invocation::Invocation;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome, Tally};
use crate::output::list::List;
use crate::output::text::{hex, plain};
use crate::paths::remote::{RemoteArg, bad_path, expand_all};
use crate::paths::walk::add_files;
use dfs_client::Client;

/// Bytes of a file of sums: more than a million lines.
const SUMS_BYTES_MAX: u64 = 256 << 20;

/// Prints or checks the SHA-256 of whole files
///
/// What 'put --checksum' kept is taken as it is; of other files every byte is read and verified. The lines are those of
/// sha256sum, which checks them with -c, as this verb does.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files or patterns
    #[arg(required_unless_present = "check", value_name = "PATH", value_parser = RemoteArg::parse, add = remote_paths())]
    paths: Vec<RemoteArg>,
    /// Check the lines of this local file ('-' is standard input)
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["paths", "recursive"])]
    check: Option<PathBuf>,
    /// Directories too, with all they hold
    #[arg(short, long, visible_short_alias = 'R')]
    recursive: bool,
    /// Names are relative to this directory of the cluster
    #[arg(long, value_name = "DIR", value_parser = RemoteArg::parse, add = remote_paths())]
    relative_to: Option<RemoteArg>,
    /// Read every byte, even of files whose sum is kept
    #[arg(long)]
    read: bool,
    /// Take paths as they are written, without patterns
    #[arg(long)]
    literal: bool,
}

/// The sum of one file.
#[derive(Debug, Serialize)]
pub(crate) struct SumView {
    pub path: String,
    /// SHA-256 of all its bytes.
    pub sha256: String,
    pub size: u64,
    /// The version that it is of.
    pub version: String,
    /// It was kept with the file, and not read from it now.
    pub kept: bool,
}

/// One line that was checked.
#[derive(Debug, Serialize)]
pub(crate) struct CheckView {
    pub path: String,
    /// Whether the file has the sum.
    pub ok: bool,
    /// What the line says.
    pub expected: String,
    /// What the file has; null if it could not be read.
    pub sha256: Option<String>,
}

/// Runs `dfsctl checksum`.
///
/// # Errors
/// If a file is not there, cannot be read, or has another sum.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let base = args.relative_to.as_ref().map(RemoteArg::path).transpose()?.unwrap_or_else(DfsPath::root);
    let lines = args.check.as_deref().map(|file| read_sums(file, &base)).transpose()?;
    let client = invocation.client().await?;
    match lines {
        Some(lines) => check(invocation, &client, &args, lines).await,
        None => print(invocation, &client, &args, &base).await,
    }
}

async fn print(invocation: &Invocation, client: &Client, args: &Args, base: &DfsPath) -> Outcome<Exit> {
    let (paths, mut tally) = expand_all(invocation, client, &args.paths, args.literal).await;
    let mut list = List::new(invocation.output, "files");
    for path in &paths {
        let mut files = Vec::new();
        if let Err(failure) =
            add_files(client, path, (args.recursive, "-r takes all it holds"), &mut files).await
        {
            tally.fail(failure);
            continue;
        }
        for file in files {
            tally.add(one(client, args, base, &file.path, &mut list).await);
            if tally.unread() {
                break;
            }
        }
    }
    list.finish_after(&tally)?;
    tally.finish("files")?;
    Ok(Exit::Ok)
}

async fn one(client: &Client, args: &Args, base: &DfsPath, path: &DfsPath, list: &mut List) -> Outcome {
    let sum = client.checksum(path, args.read).await?;
    let view = SumView {
        path: path.to_string(),
        sha256: hex(&sum.sha256),
        size: sum.stat.size,
        version: sum.stat.version.to_string(),
        kept: sum.kept,
    };
    let name = match args.relative_to.is_some() && path.starts_with(base) && path != base {
        true => path.as_str()[base.as_str().trim_end_matches('/').len()..].trim_start_matches('/'),
        false => path.as_str(),
    };
    list.raw(&view, &line(&view.sha256, name))
}

/// A line of `sha256sum`. A name that would break the line is escaped, which a backslash in front says.
fn line(sha256: &str, name: &str) -> String {
    let escaped = name.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
    let mark = if escaped == name { "" } else { "\\" };
    format!("{mark}{sha256}  {escaped}\n")
}

async fn check(
    invocation: &Invocation,
    client: &Client,
    args: &Args,
    lines: Vec<(String, DfsPath)>,
) -> Outcome<Exit> {
    let mut tally = Tally::of(invocation.output, lines.len());
    let mut list = List::new(invocation.output, "files");
    for (expected, path) in lines {
        let sum = client.checksum(&path, args.read).await;
        let sha256 = sum.as_ref().ok().map(|sum| hex(&sum.sha256));
        let ok = sha256.as_ref() == Some(&expected);
        let word = match (ok, &sha256) {
            (true, _) => "OK",
            (false, Some(_)) => "FAILED",
            (false, None) => "FAILED open or read",
        };
        let text = format!("{path}: {word}\n");
        list.raw(&CheckView { path: path.to_string(), ok, expected, sha256 }, &text)?;
        tally.add(match (sum, ok) {
            (Err(error), _) => Err(error.into()),
            (Ok(_), true) => Ok(()),
            (Ok(_), false) => {
                let message = format!("'{}' has another SHA-256 than the line says", plain(path.as_str()));
                Err(Failure::new(Exit::Integrity, "ChecksumMismatch", message)
                    .hint("it was replaced since, or the line is of another file: 'dfsctl stat' says when it changed"))
            }
        });
        if tally.unread() {
            break;
        }
    }
    list.finish()?;
    tally.finish("files")?;
    Ok(Exit::Ok)
}

fn read_sums(file: &Path, base: &DfsPath) -> Outcome<Vec<(String, DfsPath)>> {
    let mut text = String::new();
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().take(SUMS_BYTES_MAX).read_to_string(&mut text),
        false => {
            std::fs::File::open(file).and_then(|file| file.take(SUMS_BYTES_MAX).read_to_string(&mut text))
        }
    };
    read.map_err(|e| Failure::local("read", file, &e))?;
    let shown = plain(&file.to_string_lossy());
    let mut lines = Vec::new();
    for (number, text) in text.lines().enumerate().filter(|(_, text)| !text.is_empty()) {
        let wrong = || {
            Failure::usage(format!("line {} of '{shown}' is not a line of sha256sum", number + 1))
                .hint("a line has 64 hexadecimal digits, two spaces and a name")
        };
        let (sha256, name) = parse_line(text).ok_or_else(wrong)?;
        let path = match RemoteArg::is_remote(&name) {
            true => RemoteArg::parse(&name).map_err(Failure::usage)?.path()?,
            false => name.trim_start_matches("./").split('/').try_fold(base.clone(), |path, name| {
                path.join(name).map_err(|e| bad_path(&format!("the name '{}': {e}", plain(name))))
            })?,
        };
        lines.push((sha256, path));
    }
    if lines.is_empty() {
        return Err(Failure::usage(format!("'{shown}' holds no line of sha256sum")));
    }
    Ok(lines)
}

/// The sum and the name of a line.
fn parse_line(text: &str) -> Option<(String, String)> {
    let (text, escaped) = match text.strip_prefix('\\') {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let (sha256, rest) = text.split_at_checked(64)?;
    let name = rest.strip_prefix("  ").or_else(|| rest.strip_prefix(" *"))?;
    let valid = sha256.bytes().all(|b| b.is_ascii_hexdigit()) && !name.is_empty();
    if !valid {
        return None;
    }
    let name = if escaped { unescape(name)? } else { name.to_owned() };
    Some((sha256.to_ascii_lowercase(), name))
}

fn unescape(name: &str) -> Option<String> {
    let (mut out, mut chars) = (String::new(), name.chars());
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next()? {
                'n' => '\n',
                'r' => '\r',
                '\\' => '\\',
                _ => return None,
            },
            c => c,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_sha256sum_and_read_back() {
        let sum = hex(&[0xab; 32]);
        assert_eq!(line(&sum, "/a b"), format!("{sum}  /a b\n"));
        assert_eq!(line(&sum, "/a\\b"), format!("\\{sum}  /a\\\\b\n"));
        for name in ["/a b", "/a\\b", "x/y", "*x"] {
            let line = line(&sum, name);
            assert_eq!(parse_line(line.trim_end()), Some((sum.clone(), name.to_owned())), "{name}");
        }
        assert_eq!(parse_line(&format!("{} *x", sum.to_uppercase())), Some((sum.clone(), "x".to_owned())));
        for bad in ["", "abc  x", &sum, &format!("{sum} x"), &format!("{sum}  "), &format!("\\{sum}  a\\q")] {
            assert_eq!(parse_line(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_file_of_sums_names_paths_below_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let (file, sum) = (dir.path().join("sums"), hex(&[1; 32]));
        std::fs::write(&file, format!("{sum}  a/b\n\n{sum}  ./c\n{sum} */d\n")).unwrap();
        let base = DfsPath::parse("/base").unwrap();
        let paths: Vec<_> =
            read_sums(&file, &base).unwrap().into_iter().map(|(_, p)| p.to_string()).collect();
        assert_eq!(paths, ["/base/a/b", "/base/c", "/d"]);
        for bad in ["", "no sum", &format!("{sum}  a/../b")] {
            std::fs::write(&file, bad).unwrap();
            assert_eq!(read_sums(&file, &base).unwrap_err().exit, Exit::Usage, "{bad:?}");
        }
        assert_eq!(read_sums(&dir.path().join("none"), &base).unwrap_err().code, "LocalFile");
    }
}
