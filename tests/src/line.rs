//! A slow line: a network that the test makes for itself, with a shaped cable to a second one, for a client far away.
//!
//! Needs root, and `ip`, `tc`, `unshare` and `nsenter`. Nothing of the machine's own network is touched: the test runs a
//! second time as a process in a namespace of its own, which ends with it.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Set in the process that runs in a network of its own.
const INSIDE: &str = "DFS_TEST_OWN_NETWORK";

/// Whether this process is in a network that is its test's alone. If not, the test `name` is run once more in one, and
/// must succeed there; the caller has nothing left to do.
///
/// Where the machine does not allow it, that is a failure if `CI=true`, and said in the output elsewhere.
pub fn in_a_network_of_its_own(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if let Err(reason) = run("unshare", &["--net", "tc", "-Version"]) {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "{name} cannot be tested on this CI machine: {reason}"
        );
        println!("{name} is NOT tested here, because this user may make no networks: {reason}");
        return false;
    }
    let test = std::env::current_exe().expect("the path of this executable");
    let mut again = Command::new("unshare");
    again.arg("--net").arg(test).args(["--exact", name, "--nocapture"]).env(INSIDE, "1");
    let status = again.status().expect("the test starts");
    assert!(status.success(), "{name}, in a network of its own: {status}");
    false
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// A cable between this network and another one, slow in both directions. The other one ends when it is dropped.
pub struct SlowLine {
    far: Child,
}

impl SlowLine {
    /// The address of this end.
    pub const NEAR: &'static str = "10.93.7.1";

    /// A line of so many bits per second. To be laid before anything listens in this network.
    ///
    /// # Panics
    /// If it cannot be, which [`in_a_network_of_its_own`] has tried before.
    pub fn new(bits_per_second: u64) -> Self {
        let far = Command::new("unshare").args(["--net", "sleep", "1000000"]).stdin(Stdio::null()).spawn();
        let line = Self { far: far.expect("a process for the other end") };
        let (far, rate) = (line.far().to_string(), format!("{bits_per_second}bit"));
        let ok = |args: &[&str]| run(args[0], &args[1..]).unwrap_or_else(|error| panic!("{error}"));
        let beyond = |args: &[&str]| ok(&[&["nsenter", "-t", &far, "-n"], args].concat());
        // Until the process has its own network, it is in this one, where the cable's second end cannot be.
        let deadline = Instant::now() + Duration::from_secs(10);
        let own = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        while own(&far) == own("self") {
            assert!(Instant::now() < deadline, "no second network");
            std::thread::sleep(Duration::from_millis(10));
        }
        ok(&["ip", "link", "set", "lo", "up"]);
        ok(&["ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", &far]);
        ok(&["ip", "address", "add", &format!("{}/24", Self::NEAR), "dev", "near"]);
        ok(&["ip", "link", "set", "near", "up"]);
        beyond(&["ip", "address", "add", "10.93.7.2/24", "dev", "far"]);
        beyond(&["ip", "link", "set", "far", "up"]);
        let shape = ["root", "tbf", "rate", &rate, "burst", "16kb", "latency", "400ms"];
        ok(&[&["tc", "qdisc", "add", "dev", "near"], &shape[..]].concat());
        beyond(&[&["tc", "qdisc", "add", "dev", "far"], &shape[..]].concat());
        line
    }

    /// A process in the other network.
    pub fn far(&self) -> u32 {
        self.far.id()
    }
}

impl Drop for SlowLine {
    fn drop(&mut self) {
        let _ = self.far.kill();
        let _ = self.far.wait();
    }
}
