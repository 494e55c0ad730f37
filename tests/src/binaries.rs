//! The binaries under test: built once per run, in the profile and target directory of the suite that asks.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Which build of `dfs-node`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// As it ships.
    Plain,
    /// With the feature that lets it be told to fail.
    Chaos,
}

/// Where the binaries are.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// `dfs-node`.
    pub node: PathBuf,
    /// `dfsctl`.
    pub dfsctl: PathBuf,
}

/// Where the running suite was built, and how.
struct Build {
    /// `target/debug`, say.
    out: PathBuf,
    /// The arguments that make cargo build into there.
    args: Vec<String>,
}

impl Build {
    /// Reads it off the path of the running executable: `<target>[/<triple>]/<profile>/deps/<suite>-<hash>`.
    fn of_this_process() -> Self {
        let exe = std::env::current_exe().expect("the path of this executable");
        let deps = exe.parent().expect("an executable is in a directory");
        let out = if deps.ends_with("deps") { deps.parent().unwrap_or(deps) } else { deps };
        let above = out.parent().expect("a profile's directory is in the target directory");
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (target, triple) = match above.join("CACHEDIR.TAG").exists() {
            true => (above, None),
            false => (above.parent().unwrap_or(above), Some(name(above))),
        };
        let profile = match name(out).as_str() {
            "debug" => "dev".to_owned(),
            other => other.to_owned(),
        };
        let mut args = vec!["--profile".to_owned(), profile];
        args.extend(["--target-dir".to_owned(), target.to_string_lossy().into_owned()]);
        args.extend(triple.into_iter().flat_map(|triple| ["--target".to_owned(), triple]));
        Self { out: out.to_owned(), args }
    }

    fn cargo(&self, what: &[&str]) {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.arg("build").args(what).args(&self.args).current_dir(env!("CARGO_MANIFEST_DIR"));
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    }

    /// Keeps what cargo left under `name` where the next build with other features will not replace it.
    fn keep(&self, name: &str, variant: &str) -> PathBuf {
        let dir = self.out.join("harness").join(variant);
        fs::create_dir_all(&dir).expect("a directory for the binaries");
        let (from, to) = (self.out.join(name), dir.join(name));
        let fresh = dir.join(format!("{name}.{}", std::process::id()));
        let _ = fs::remove_file(&fresh);
        fs::hard_link(&from, &fresh)
            .or_else(|_| fs::copy(&from, &fresh).map(drop))
            .unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        // Two names of one file: rename does nothing then, and the new name stays.
        fs::rename(&fresh, &to).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
        let _ = fs::remove_file(&fresh);
        to
    }
}

/// The binaries of a variant, built if need be. Suites that run at the same time build one after the other.
///
/// `DFS_TEST_BINARIES` names a directory to take them from instead (those for chaos from `chaos` in it).
///
/// They are built together with the tests, so that dependencies have the features that `cargo test --workspace` gives them
/// and nothing is compiled twice; without this crate's own, whose features are the suite's business.
pub fn binaries(variant: Variant) -> &'static Binaries {
    static PLAIN: OnceLock<Binaries> = OnceLock::new();
    static CHAOS: OnceLock<Binaries> = OnceLock::new();
    let (cell, dir, features): (_, _, &[&str]) = match variant {
        Variant::Plain => (&PLAIN, "plain", &[]),
        Variant::Chaos => (&CHAOS, "chaos", &["--features", "dfs-node/chaos"]),
    };
    cell.get_or_init(|| {
        if let Some(dir) = std::env::var_os("DFS_TEST_BINARIES").map(PathBuf::from) {
            let dir = if variant == Variant::Chaos { dir.join("chaos") } else { dir };
            return Binaries { node: dir.join("dfs-node"), dfsctl: dir.join("dfsctl") };
        }
        let build = Build::of_this_process();
        let lock = File::create(build.out.join("harness.lock")).expect("a lock file");
        lock.lock().expect("a lock");
        build.cargo(&[&["--workspace", "--exclude", "dfs-tests", "--bins", "--tests"], features].concat());
        Binaries { node: build.keep("dfs-node", dir), dfsctl: build.keep("dfsctl", dir) }
    })
}

/// An example of the SDK, built if need be. `DFS_TEST_BINARIES` names the directory above `examples` instead.
pub fn example(name: &str) -> PathBuf {
    static EXAMPLES: OnceLock<PathBuf> = OnceLock::new();
    let dir = EXAMPLES.get_or_init(|| {
        if let Some(dir) = std::env::var_os("DFS_TEST_BINARIES").map(PathBuf::from) {
            return dir.join("examples");
        }
        let build = Build::of_this_process();
        let lock = File::create(build.out.join("harness.lock")).expect("a lock file");
        lock.lock().expect("a lock");
        build.cargo(&["--workspace", "--exclude", "dfs-tests", "--examples"]);
        build.out.join("examples")
    });
    dir.join(name)
}
