//! The `healthcheck` subcommand: asks a running node over its admin port, without curl, a shell or a runtime.

use std::{
    io::{Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use crate::config::HostPort;

/// Longest answer that is read; the rest would not be shown.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// Asks `/readyz` of the node whose admin port is configured at `admin`.
///
/// # Errors
/// What was wrong: no connection, no answer, or the node's own reason for not being ready.
pub fn healthcheck(admin: &HostPort, timeout: Duration) -> Result<String, String> {
    if admin.port == 0 {
        return Err("admin.port is 0, so the port is not known; give it a number".to_owned());
    }
    let host = if admin.is_wildcard() { "127.0.0.1" } else { &admin.host };
    get(&HostPort::new(host, admin.port), "/readyz", timeout)
}

/// One GET; the body of a 200, or an error with status and body.
pub(super) fn get(address: &HostPort, path: &str, timeout: Duration) -> Result<String, String> {
    let failed = |what: &str, error: std::io::Error| format!("{address}: {what}: {error}");
    let sockets = (address.host.as_str(), address.port).to_socket_addrs();
    let socket = sockets.map_err(|error| failed("no such host", error))?.next();
    let socket = socket.ok_or_else(|| format!("{address}: the name has no address"))?;
    let mut stream =
        TcpStream::connect_timeout(&socket, timeout).map_err(|error| failed("cannot connect", error))?;
    let limits =
        stream.set_read_timeout(Some(timeout)).and_then(|()| stream.set_write_timeout(Some(timeout)));
    limits.map_err(|error| failed("cannot set a timeout", error))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| failed("cannot ask", error))?;
    let mut answer = String::new();
    let read = stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer);
    read.map_err(|error| failed("no answer", error))?;
    let status = answer.lines().next().unwrap_or_default().to_owned();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).trim().to_owned();
    match status.split(' ').nth(1) {
        Some("200") => Ok(body),
        _ => Err(format!("{address}{path}: {status}: {body}")),
    }
}
