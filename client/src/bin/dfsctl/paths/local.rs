//! Where fetched files go on this machine: never outside the target, whatever the cluster's names look like, and
//! whatever links lie there. Only the target itself, which the user named, may be a link.

use std::fs;
use std::path::{Path, PathBuf};

use dfs_wire::path::DfsPath;

use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::text::plain;
use dfs_client::{StatusCode, local_time, safe_local_path};

/// A directory of this machine below which everything is written.
#[derive(Debug, Clone)]
pub(crate) struct LocalRoot {
    root: PathBuf,
}

impl LocalRoot {
    /// The directory `root`; it need not exist yet.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Makes the directory itself.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn make(&self) -> Outcome {
        fs::create_dir_all(&self.root).map_err(|e| Failure::local("make the directory", &self.root, &e))
    }

    /// Where the file at `path` goes, `base` standing for the root; makes the directories on the way.
    ///
    /// # Errors
    /// If a name would lead out of the target, or a directory cannot be made.
    pub(crate) fn place(&self, base: &DfsPath, path: &DfsPath) -> Outcome<PathBuf> {
        self.safe(below(base, path)?)
    }

    /// Makes the directory for `path`, `base` standing for the root.
    ///
    /// # Errors
    /// As [`Self::place`].
    pub(crate) fn make_directory(&self, base: &DfsPath, path: &DfsPath) -> Outcome {
        // The directories on the way to something in it: that is it, and those above it.
        self.safe(&format!("{}/x", below(base, path)?)).map(drop)
    }

    /// Where the file at `path` would go; makes nothing.
    ///
    /// # Errors
    /// If it is not below `base`.
    pub(crate) fn would_be(&self, base: &DfsPath, path: &DfsPath) -> Outcome<PathBuf> {
        Ok(self.root.join(below(base, path)?))
    }

    fn safe(&self, relative: &str) -> Outcome<PathBuf> {
        safe_local_path(&self.root, relative).map_err(|e| match e.status_code() {
            Some(StatusCode::InvalidPath) => hostile(relative, e.message()),
            _ => Failure::from(e),
        })
    }
}

/// Refuses what is more than one plain name.
///
/// # Errors
/// If it would lead anywhere but into its own directory.
pub(crate) fn check_name(name: &str) -> Outcome {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(std::path::Component::Normal(part)), None) if part == name && !name.contains('\0') => Ok(()),
        _ => Err(hostile(name, "it is not a plain name")),
    }
}

/// Refuses to go through a link that lies at a name of the cluster's.
///
/// # Errors
/// If there is one.
pub(crate) fn check_no_link(target: &Path) -> Outcome {
    if target.is_symlink() {
        return Err(hostile(&target.to_string_lossy(), "the name is taken by a symbolic link"));
    }
    Ok(())
}

/// The part of `path` below `base`, without a slash in front.
fn below<'a>(base: &DfsPath, path: &'a DfsPath) -> Outcome<&'a str> {
    let rest = path.as_str().strip_prefix(base.as_str().trim_end_matches('/'));
    match rest.and_then(|rest| rest.strip_prefix('/')) {
        Some(rest) if path.starts_with(base) && !rest.is_empty() => Ok(rest),
        _ => Err(hostile(path.as_str(), "it lies elsewhere")),
    }
}

fn hostile(name: &str, why: &str) -> Failure {
    let message = format!("'{}' is not written below the target: {why}", plain(name));
    Failure::new(Exit::Precondition, "HostileName", message)
        .hint("choose an empty target, or fetch the file by itself")
}

/// Gives a file of this machine the modification time of the one it was fetched from.
///
/// # Errors
/// What the system says.
pub(crate) fn keep_time(target: &Path, nanos: i64) -> Outcome {
    let time = local_time(nanos);
    let set = || fs::File::options().write(true).open(target)?.set_modified(time);
    set().map_err(|e| Failure::local("set the time of", target, &e))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn path(text: &str) -> DfsPath {
        DfsPath::parse(text).unwrap()
    }

    #[test]
    fn hostile_names_are_refused() {
        for bad in ["", ".", "..", "/", "/etc", "a/b", "../x", "a/", "./a", "a\0b", "a/.."] {
            assert_eq!(check_name(bad).unwrap_err().code, "HostileName", "{bad:?}");
        }
        for good in ["a", "...", ".a", "a b", "-rf", "文", "a\\b", "~", "C:"] {
            check_name(good).unwrap();
        }
    }

    #[test]
    fn files_land_below_the_target() {
        let dir = tempfile::tempdir().unwrap();
        let target = LocalRoot::new(dir.path().join("out"));
        target.make().unwrap();
        let place = target.place(&path("/src"), &path("/src/a/b.txt")).unwrap();
        assert_eq!(place, dir.path().join("out/a/b.txt"));
        assert!(dir.path().join("out/a").is_dir());
        for elsewhere in ["/elsewhere/x", "/src", "/srcs/x", "/"] {
            assert_eq!(target.place(&path("/src"), &path(elsewhere)).unwrap_err().code, "HostileName");
        }
        target.make_directory(&path("/"), &path("/e/m")).unwrap();
        assert!(dir.path().join("out/e/m").is_dir());
        let would_be = target.would_be(&path("/"), &path("/n/e/w")).unwrap();
        assert!(would_be.ends_with("out/n/e/w") && !dir.path().join("out/n").exists());
    }

    #[test]
    fn a_link_in_the_target_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (out, outside) = (dir.path().join("out"), dir.path().join("outside"));
        fs::create_dir_all(&out).unwrap();
        fs::create_dir_all(&outside).unwrap();
        symlink(&outside, out.join("a")).unwrap();
        symlink(outside.join("new"), out.join("b")).unwrap();
        fs::write(out.join("f"), "").unwrap();
        let target = LocalRoot::new(out);
        for bad in ["/a/x", "/a/b/x", "/f/x", "/b"] {
            let failure = target.place(&path("/"), &path(bad)).unwrap_err();
            assert_eq!(failure.exit, Exit::Precondition, "{bad}");
            assert!(target.make_directory(&path("/"), &path(bad)).is_err(), "{bad}");
        }
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        // The top of a tree has a name of the cluster's, too.
        for (name, refused) in [("a", true), ("b", true), ("f", false), ("none", false)] {
            assert_eq!(check_no_link(&dir.path().join("out").join(name)).is_err(), refused, "{name}");
        }
    }
}
