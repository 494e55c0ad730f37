//! Disks of the test's own: a small memory disk to fill up, an ext4 image whose power can be cut.
//!
//! Both need root and a kernel that lets this process mount. Where that is not so, [`may_mount`] says why.

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

/// Tries it. Where a continuous-integration machine (`CI=true`) cannot, that is a failure of the test; elsewhere the test
/// says why it shows nothing and goes on.
pub fn may_mount(what: &str) -> MayMount {
    let tried = tempfile::tempdir().map_err(|error| error.to_string()).and_then(|dir| {
        run("mount", &["-t", "tmpfs", "-o", "size=64k", "tmpfs", &text(dir.path())])?;
        run("umount", &[&text(dir.path())])
    });
    let Err(reason) = tried else { return MayMount::Yes };
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{what} cannot be tested on this CI machine: {reason}"
    );
    println!("{what} is NOT tested here, because this user may not mount file systems: {reason}");
    MayMount::No(reason)
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

    fn image(image: &Path, dir: &Path) -> Self {
        std::fs::create_dir_all(dir).expect("a mount point");
        run("mount", &["-o", "loop", &text(image), &text(dir)]).unwrap_or_else(|error| panic!("{error}"));
        Self { dir: dir.to_owned() }
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

/// An ext4 file system in an image file, whose power can be cut.
#[derive(Debug)]
pub struct LoopDisk {
    image: PathBuf,
    mount: Option<Mount>,
    dir: PathBuf,
}

impl LoopDisk {
    /// Makes an image of `bytes` in `home`, and mounts it.
    ///
    /// # Errors
    /// Why this machine cannot.
    pub fn new(home: &Path, bytes: u64) -> Result<Self, String> {
        let (image, dir) = (home.join("disk.img"), home.join("disk"));
        File::create(&image).and_then(|file| file.set_len(bytes)).map_err(|error| error.to_string())?;
        run("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=1", &text(&image)])?;
        let mount = Mount::image(&image, &dir);
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

    /// Takes the disk out and puts it in again, as a machine that starts anew would find it. Nobody may use it.
    pub fn power_on(&mut self) {
        self.mount = None;
        self.mount = Some(Mount::image(&self.image, &self.dir));
    }
}
