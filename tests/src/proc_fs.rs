//! What the kernel says about processes: memory, open files, processor time.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// Clock ticks per second in /proc, on every Linux there is.
const TICKS: f64 = 100.0;

fn status_field(pid: u32, field: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// Resident memory of a process, `None` if it is gone.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    status_field(pid, "VmRSS:")
}

/// Open files of a process.
pub fn open_files(pid: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

/// Bytes that a process has had written to disks, as far as its file systems count them (a tmpfs does not).
pub fn written_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("write_bytes:"))?.trim().parse().ok()
}

/// Fields of /proc/PID/stat from the third on: the second is the name, which may hold anything.
fn stat_fields(who: &str) -> Option<Vec<f64>> {
    let text = fs::read_to_string(format!("/proc/{who}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0.0)).collect())
}

/// Processor time of a process so far, user and system.
pub fn cpu_seconds(pid: u32) -> Option<f64> {
    let fields = stat_fields(&pid.to_string())?;
    Some((fields.get(10)? + fields.get(11)?) / TICKS)
}

/// Processor time of all children of this process that have ended and were waited for.
pub fn cpu_seconds_of_children() -> f64 {
    let fields = stat_fields("self").unwrap_or_default();
    (fields.get(12).unwrap_or(&0.0) + fields.get(13).unwrap_or(&0.0)) / TICKS
}

/// Watches the memory of processes and remembers the most each had.
pub struct MemoryWatch {
    most: Vec<(u32, Arc<AtomicU64>)>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl MemoryWatch {
    /// Begins to watch.
    pub fn start(pids: &[u32]) -> Self {
        let most: Vec<_> = pids.iter().map(|pid| (*pid, Arc::new(AtomicU64::new(0)))).collect();
        let (stop, watched) = (Arc::new(AtomicBool::new(false)), most.clone());
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for (pid, most) in &watched {
                    most.fetch_max(resident_bytes(*pid).unwrap_or(0), Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self { most, stop, thread: Some(thread) }
    }

    /// Stops watching; gives the most that any of the processes had at once.
    pub fn most(mut self) -> u64 {
        self.end();
        self.most.iter().map(|(_, most)| most.load(Ordering::Relaxed)).max().unwrap_or(0)
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_files_and_time_of_this_process_are_read() {
        let me = std::process::id();
        let watch = MemoryWatch::start(&[me]);
        let ballast = vec![1_u8; 32 << 20];
        std::thread::sleep(Duration::from_millis(100));
        assert!(watch.most() >= 32 << 20 && ballast.len() == 32 << 20);
        assert!(open_files(me).is_some_and(|count| count > 2));
        assert!(cpu_seconds(me).is_some_and(|seconds| seconds < 10_000.0));
        assert!(cpu_seconds_of_children() >= 0.0);
        assert!(written_bytes(me).is_some());
        assert_eq!(resident_bytes(u32::MAX), None);
    }
}
