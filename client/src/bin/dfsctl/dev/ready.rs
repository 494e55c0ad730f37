//! Waiting until every node of a development cluster is ready.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::launch::tail;
use crate::connect::invocation::Invocation;
use crate::dev_cluster::node::DevNode;
use crate::dev_cluster::process::RunState;
use crate::dev_cluster::state::ClusterState;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};

/// How long to wait until every node is ready.
pub(crate) const READY_LIMIT: Duration = Duration::from_secs(30);
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Lines of a log that a failure shows.
const LOG_LINES: usize = 12;

/// A node that was started now.
#[derive(Debug)]
pub(crate) struct Started {
    pub name: String,
    /// Where in its log this run begins.
    pub log_from: u64,
}

/// Waits until every node says that it is ready and the coordinator knows every datanode.
///
/// # Errors
/// As soon as a node that was started ends, or when `limit` has passed; with the end of the log.
pub(crate) async fn wait(
    invocation: &Invocation,
    state: &ClusterState,
    started: &[Started],
    limit: Duration,
) -> Outcome {
    let until = Instant::now() + limit;
    loop {
        let Some(late) = state.nodes.iter().find(|node| !is_ready(&node.admin_address)) else {
            return Ok(());
        };
        if let Some(dead) = state.nodes.iter().find(|node| node.state() == RunState::Stopped) {
            return Err(failed(dead, started, "ended right after its start"));
        }
        if Instant::now() > until {
            return Err(failed(late, started, &format!("is not ready after {} s", limit.as_secs())));
        }
        if invocation.output.verbose > 1 {
            invocation.output.note(format!("waiting for {}", late.name));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn failed(node: &DevNode, started: &[Started], what: &str) -> Failure {
    let from = started.iter().find(|start| start.name == node.name).map_or(0, |start| start.log_from);
    let lines = tail(&node.log, from, LOG_LINES);
    let mut message = format!("{} {what}", node.name);
    for line in &lines {
        message.push_str("\n  | ");
        message.push_str(line);
    }
    Failure::new(Exit::Unavailable, "NotReady", message).hint(format!(
        "its log is {}\n'dfsctl dev down' stops the nodes that run, 'dfsctl dev up' tries again",
        node.log.display()
    ))
}

/// Asks a node's admin port whether it is ready; anything but a clear yes is a no.
pub(crate) fn is_ready(admin_address: &str) -> bool {
    const PATIENCE: Duration = Duration::from_millis(500);
    let ask = |address: SocketAddr| -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(
            format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
        )?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(head == *b"HTTP/1.1 200" || head == *b"HTTP/1.0 200")
    };
    admin_address.parse().is_ok_and(|address| ask(address).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn answering(text: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            if let Ok((mut stream, _)) = listener.accept() {
                let mut request = [0; 16];
                stream.read_exact(&mut request).unwrap();
                stream.write_all(text.as_bytes()).unwrap();
            }
        });
        address.to_string()
    }

    #[test]
    fn only_a_clear_yes_is_ready() {
        assert!(is_ready(&answering("HTTP/1.1 200 OK\r\n\r\nok")));
        assert!(!is_ready(&answering("HTTP/1.1 503 Service Unavailable\r\n\r\n")));
        assert!(!is_ready(&answering("")));
        assert!(!is_ready("127.0.0.1:1"));
        assert!(!is_ready("nonsense"));
    }
}
