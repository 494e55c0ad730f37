//! Disks of the test's own: a small memory disk to fill up, an ext4 image whose power can be cut.
//!
//! Both need root and a kernel that lets this process mount. Where that is not so, a test that needs one fails, and says
//! why: what it would show is not shown. Whoever knows that sets [`WITHOUT_MOUNTS`].

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// Cuts the power of an ext4 file system: `EXT4_IOC_SHUTDOWN` (`_IOR('X', 125, u32)`) with flag 2, which does not even
/// flush the journal. What was synced survives, what was not is gone. Perl, because this crate has no `unsafe` code.
const CUT: &str = r#"
open(my $dir, '<', $ARGV[0]) or die "open: $!";
my $flag = pack('L', 2);
defined(ioctl($dir, 0x8004587d, $flag)) or die "ioctl: $!";
"#;

/// Whether this machine lets a test mount a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MayMount {
    /// It does.
    Yes,
    /// It does not, and why.
    No(String),
}

/// Variable of the environment: with `1`, tests that need to mount something pass without it, but on a continuous-integration
/// machine (`CI=true`).
pub const WITHOUT_MOUNTS: &str = "DFS_TEST_WITHOUT_MOUNTS";

/// Tries it.
///
/// # Panics
/// If it does not, unless whoever runs the tests knows that: see [`WITHOUT_MOUNTS`].
pub fn may_mount(what: &str) -> MayMount {
    let tried = tempfile::tempdir().map_err(|error| error.to_string()).and_then(|dir| {
        run("mount", &["-t", "tmpfs", "-o", "size=64k", "tmpfs", &text(dir.path())])?;
        run("umount", &[&text(dir.path())])
    });
    let Err(reason) = tried else { return MayMount::Yes };
    not_tested(what, &reason, |name| std::env::var(name).ok());
    MayMount::No(reason)
}

/// Ends the test that cannot show `what`, unless that is known.
fn not_tested(what: &str, reason: &str, variable: impl Fn(&str) -> Option<String>) {
    let known = variable(WITHOUT_MOUNTS).as_deref() == Some("1") && variable("CI").as_deref() != Some("true");
    assert!(
        known,
        "{what} cannot be tested here: {reason}; run it as root on a machine that may mount, or set {WITHOUT_MOUNTS}=1"
    );
    println!("{what} is NOT tested here: {reason}");
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// A mounted file system, unmounted when dropped.
#[derive(Debug)]
pub struct Mount {
    dir: PathBuf,
}

impl Mount {
    /// A disk in memory, of so many bytes, mounted at `dir`.
    ///
    /// # Panics
    /// If it cannot be mounted: ask [`may_mount`] first.
    pub fn memory(dir: &Path, bytes: u64) -> Self {
        std::fs::create_dir_all(dir).expect("a mount point");
        let size = format!("size={bytes}");
        run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &text(dir)])
            .unwrap_or_else(|error| panic!("{error}"));
        Self { dir: dir.to_owned() }
    }

    fn try_image(image: &Path, dir: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(dir).map_err(|error| error.to_string())?;
        run("mount", &["-o", "loop", &text(image), &text(dir)])?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// Where it is mounted.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Nothing can be written from here on.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn make_read_only(&self) {
        run("mount", &["-o", "remount,ro", &text(&self.dir)]).unwrap_or_else(|error| panic!("{error}"));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let dir = text(&self.dir);
        // A process that was just killed may hold it for a moment.
        let deadline = Instant::now() + Duration::from_secs(10);
        while let Err(error) = run("umount", &[&dir]) {
            if Instant::now() > deadline {
                eprintln!("{error}; detaching it");
                let _ = run("umount", &["-l", &dir]);
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A frozen file system; thawed when dropped.
#[derive(Debug)]
pub struct Frozen {
    dir: PathBuf,
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Err(error) = run("fsfreeze", &["-u", &text(&self.dir)]) {
            eprintln!("{error}");
        }
    }
}

/// An ext4 file system in an image file, whose power can be cut.
#[derive(Debug)]
pub struct LoopDisk {
    image: PathBuf,
    mount: Option<Mount>,
    dir: PathBuf,
}

impl LoopDisk {
    /// Disks of `bytes` for `what` a test is to show, each in a directory of its name in `home`. `None` if this machine cannot
    /// and that is known.
    ///
    /// # Panics
    /// As [`may_mount`].
    pub fn several(what: &str, home: &Path, names: &[&str], bytes: u64) -> Option<Vec<Self>> {
        if may_mount(what) != MayMount::Yes {
            return None;
        }
        let disks: Result<_, _> = names.iter().map(|name| Self::make(&home.join(name), bytes)).collect();
        disks.inspect_err(|reason| not_tested(what, reason, |name| std::env::var(name).ok())).ok()
    }

    fn make(home: &Path, bytes: u64) -> Result<Self, String> {
        std::fs::create_dir_all(home).map_err(|error| error.to_string())?;
        let (image, dir) = (home.join("disk.img"), home.join("disk"));
        File::create(&image).and_then(|file| file.set_len(bytes)).map_err(|error| error.to_string())?;
        run("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=1", &text(&image)])?;
        let mount = Mount::try_image(&image, &dir)?;
        Ok(Self { image, mount: Some(mount), dir })
    }

    /// Where it is mounted.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Cuts the power: from here on nothing reaches the disk, and what was not synced is lost.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn cut_power(&self) {
        run("perl", &["-e", CUT, &text(&self.dir)]).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Freezes the file system: reads go on, and whoever changes something waits until it is thawed. Nobody may be killed
    /// meanwhile: a process that waits for it does not even die.
    ///
    /// # Panics
    /// If the kernel refuses.
    #[must_use]
    pub fn freeze(&self) -> Frozen {
        run("fsfreeze", &["-f", &text(&self.dir)]).unwrap_or_else(|error| panic!("{error}"));
        Frozen { dir: self.dir.clone() }
    }

    /// Mounts it anew with an option, `ro` or `rw`, where it is.
    ///
    /// # Panics
    /// If the kernel refuses: somebody may be writing.
    pub fn remount(&self, option: &str) {
        let options = format!("remount,{option}");
        run("mount", &["-o", &options, &text(&self.dir)]).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Takes the disk out and puts it in again, as a machine that starts anew would find it. Nobody may use it.
    pub fn power_on(&mut self) {
        self.mount = None;
        let mount = Mount::try_image(&self.image, &self.dir).unwrap_or_else(|error| panic!("{error}"));
        self.mount = Some(mount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_cannot_mount_fails_unless_that_is_known_and_on_a_ci_machine_always() {
        let refused = |known: Option<&str>, ci: Option<&str>| {
            let variable = |name: &str| if name == "CI" { ci } else { known }.map(str::to_owned);
            std::panic::catch_unwind(|| not_tested("a power cut", "no root", variable)).is_err()
        };
        assert!(refused(None, None) && refused(Some("0"), None) && refused(Some("1"), Some("true")));
        assert!(!refused(Some("1"), None) && !refused(Some("1"), Some("")));
    }
}
