//! Ports on the loopback address: free ones, and those of a cluster's nodes.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::dev_cluster::process::RunState;
use crate::dev_cluster::state::ClusterState;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};

/// How far from the wanted port to look.
const SEARCH: u16 = 400;

/// Hands out ports that nobody listens on, each once.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    given: BTreeSet<u16>,
}

impl Ports {
    /// Never hands out these.
    pub(crate) fn without(taken: impl IntoIterator<Item = u16>) -> Self {
        Self { given: taken.into_iter().collect() }
    }

    /// `wanted`, or the next free one after it; `None` if there is none nearby.
    pub(crate) fn next(&mut self, wanted: u16) -> Option<u16> {
        let port = (wanted..wanted.saturating_add(SEARCH))
            .find(|&port| !self.given.contains(&port) && is_free(port))?;
        self.given.insert(port);
        Some(port)
    }
}

/// Whether nobody listens on `port` of the loopback address.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Gives nodes that do not run other ports where theirs were taken meanwhile; says so.
///
/// A datanode tells the coordinator its new address by itself. The coordinator can move only while no datanode runs:
/// they are told where it is when they start.
///
/// # Errors
/// If the coordinator's port is taken and datanodes run, or no port is free.
pub(crate) fn move_stopped(state: &mut ClusterState) -> Outcome<Vec<String>> {
    let mut ports = Ports::without(ports_of(state));
    let waiting = state.datanodes().any(|node| node.alive().is_some());
    let mut said = Vec::new();
    for node in state.nodes.iter_mut().filter(|node| node.state() == RunState::Stopped) {
        let coordinator = node.role == "coordinator";
        for address in [&mut node.address, &mut node.admin_address] {
            let Some(port) = port_of(address).filter(|port| !is_free(*port)) else { continue };
            if coordinator && waiting {
                return Err(port_taken(port, &node.name).hint(format!(
                    "find it with 'ss -ltnp sport = :{port}' and stop it, or move the whole cluster: 'dfsctl dev down', then 'dfsctl dev up'"
                )));
            }
            let free = ports.next(port).ok_or_else(no_ports)?;
            said.push(format!("port {port} of {} is taken: it moves to {free}", node.name));
            *address = format!("127.0.0.1:{free}");
        }
    }
    Ok(said)
}

/// Every port of the cluster.
pub(crate) fn ports_of(state: &ClusterState) -> impl Iterator<Item = u16> {
    state.nodes.iter().flat_map(|node| [&node.address, &node.admin_address]).filter_map(|a| port_of(a))
}

/// The port of `host:port`.
pub(crate) fn port_of(address: &str) -> Option<u16> {
    address.parse::<SocketAddr>().ok().map(|address| address.port())
}

/// There is no free port.
pub(crate) fn no_ports() -> Failure {
    Failure::new(Exit::Other, "NoPorts", "no free port was found on 127.0.0.1")
        .hint("name another with --port")
}

/// Another process listens on a port that a node needs.
pub(crate) fn port_taken(port: u16, whose: &str) -> Failure {
    Failure::new(
        Exit::Precondition,
        "PortTaken",
        format!("port {port} of {whose} is taken by another process"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev_cluster::node::DevNode;

    #[test]
    fn taken_ports_are_passed_over_and_none_is_given_twice() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = listener.local_addr().unwrap().port();
        let mut ports = Ports::default();
        let (first, second) = (ports.next(taken).unwrap(), ports.next(taken).unwrap());
        assert!(taken < first && first < second);
        assert_ne!(Ports::without([second]).next(second), Some(second));
    }

    #[test]
    fn a_stopped_node_moves_away_from_a_port_that_was_taken() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = listener.local_addr().unwrap().to_string();
        let mut ports = Ports::default();
        let free = ports.next(port_of(&taken).unwrap()).unwrap();
        let mut node = |name: &str, address: &str| DevNode {
            name: name.into(),
            role: name.into(),
            address: address.into(),
            admin_address: format!("127.0.0.1:{}", ports.next(free).unwrap()),
            data_dir: "/nowhere".into(),
            log: "/nowhere.log".into(),
            process: None,
        };
        let nodes = vec![node("coordinator", &taken), node("datanode", &format!("127.0.0.1:{free}"))];
        let mut state = ClusterState { nodes, ..ClusterState::new("/nowhere".into()) };
        let said = move_stopped(&mut state).unwrap();
        assert!(said.iter().any(|text| text.contains("of coordinator is taken")), "{said:?}");
        assert_ne!(state.coordinator().unwrap().address, taken);
        assert_eq!(ports_of(&state).collect::<BTreeSet<_>>().len(), 4, "a port was given twice");
    }
}
