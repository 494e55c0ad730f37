//! What a connection has to prove before its first request is heard: pure.
//!
//! | who says to be | off | permissive | required |
//! |---|---|---|---|
//! | a client or an operator | heard | plain: heard; secured: a user's or a coordinator's certificate | secured, the same |
//! | a datanode, a coordinator | heard | plain: heard; secured: its own certificate | secured, its own certificate |
//!
//! `permissive` is for the time in which a cluster is secured node by node: it takes what is not secured yet, and believes
//! nobody who is secured and says to be another.

use dfs_wire::handshake::Peer;
use dfs_wire::identity::Identity;
use dfs_wire::message::Request;
use dfs_wire::status::{Status, StatusCode};
use dfs_wire::tls::Proof;

/// What a node asks of those who connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gate {
    /// Nothing: whoever reaches the port is who he says.
    #[default]
    Off,
    /// Proof from those who are secured; the others are who they say.
    Permissive,
    /// Proof from everybody.
    Required,
}

const SECURE: &str = "connect with TLS: dfsctl takes who you are from --identity, DFS_IDENTITY or a context, a node from the section \
                      `security` of its configuration";

impl Gate {
    /// Whether `peer` is believed on a connection of which this is known.
    ///
    /// # Errors
    /// `Unauthenticated` without any proof, `PermissionDenied` if it is another's.
    pub fn admit(self, peer: &Peer, proof: &Proof) -> Result<(), Status> {
        let identity = match (self, proof) {
            (Self::Off, _) | (Self::Permissive, Proof::Plain) => return Ok(()),
            (Self::Required, Proof::Plain) => {
                let text = "this node takes secured connections only";
                return Err(Status::new(StatusCode::Unauthenticated, text).hint(SECURE));
            }
            (_, Proof::Secured(None)) => {
                let text = "the connection is secured, but no certificate of this cluster was shown";
                return Err(Status::new(StatusCode::Unauthenticated, text).hint(SECURE));
            }
            (_, Proof::Secured(Some(identity))) => identity,
        };
        let believed = match (peer, identity) {
            (Peer::Datanode(said), Identity::Datanode(node))
            | (Peer::Coordinator(said), Identity::Coordinator(node)) => said.node == *node,
            // A coordinator looks after datanodes as an operator does.
            (Peer::Client(_) | Peer::Operator(_), Identity::User(_))
            | (Peer::Operator(_), Identity::Coordinator(_)) => true,
            _ => false,
        };
        if believed {
            return Ok(());
        }
        let text = format!("the certificate is that of {identity}, who cannot speak as {}", said(peer));
        Err(Status::new(StatusCode::PermissionDenied, text))
    }
}

fn said(peer: &Peer) -> String {
    match peer {
        Peer::Client(_) => "a client".to_owned(),
        Peer::Operator(_) => "an operator".to_owned(),
        Peer::Datanode(node) => format!("datanode {}", node.node),
        Peer::Coordinator(node) => format!("coordinator {}", node.node),
    }
}

/// What a connection may not carry, whoever opened it: operators' places are kept for looking after the cluster, and nodes do
/// among themselves what nodes do.
pub(super) fn out_of_place(peer: &Peer, body: &Request) -> Option<Status> {
    let looks_after = matches!(body, Request::Admin(_) | Request::Metadata(_));
    let (allowed, whose) = match peer {
        Peer::Client(_) => return None,
        Peer::Operator(_) => (looks_after, "an operator's"),
        Peer::Datanode(_) | Peer::Coordinator(_) => (!looks_after, "a node's"),
    };
    (!allowed).then(|| {
        let text = format!("{} is not for {whose} connection", body.name());
        Status::new(StatusCode::PermissionDenied, text).hint("connect as a client")
    })
}

#[cfg(test)]
mod tests {
    use dfs_wire::auth::{Grant, GrantOp, Mac};
    use dfs_wire::handshake::{ClientPeer, NodePeer};
    use dfs_wire::id::{ChunkId, ClientId, Epoch, Generation, Incarnation, InodeId, NodeId};
    use dfs_wire::message::admin::AdminRequest;
    use dfs_wire::message::chunk::{ChunkRequest, VerifyChunk};

    use super::*;

    fn peers() -> [Peer; 4] {
        let client = || ClientPeer { client: ClientId(1), name: "c".to_owned() };
        let node = || NodePeer { node: NodeId(1), incarnation: Incarnation(1), name: "n".to_owned() };
        [Peer::Client(client()), Peer::Operator(client()), Peer::Datanode(node()), Peer::Coordinator(node())]
    }

    fn refusals(gate: Gate, proof: &Proof) -> [Option<StatusCode>; 4] {
        peers().map(|peer| gate.admit(&peer, proof).err().map(|status| status.code))
    }

    #[test]
    fn nobody_is_believed_without_a_proof_of_his_own() {
        let denied = Some(StatusCode::PermissionDenied);
        let unknown = [Some(StatusCode::Unauthenticated); 4];
        let by = |identity| Proof::Secured(Some(identity));
        for gate in [Gate::Permissive, Gate::Required] {
            assert_eq!(refusals(gate, &Proof::Secured(None)), unknown);
            assert_eq!(refusals(gate, &by(Identity::User("ada".to_owned()))), [None, None, denied, denied]);
            assert_eq!(refusals(gate, &by(Identity::Datanode(NodeId(1)))), [denied, denied, None, denied]);
            assert_eq!(refusals(gate, &by(Identity::Datanode(NodeId(2)))), [denied; 4]);
            assert_eq!(refusals(gate, &by(Identity::Coordinator(NodeId(1)))), [denied, None, denied, None]);
            assert_eq!(refusals(gate, &by(Identity::Coordinator(NodeId(2)))), [denied, None, denied, denied]);
        }
        assert_eq!(refusals(Gate::Required, &Proof::Plain), unknown);
        assert_eq!(refusals(Gate::Permissive, &Proof::Plain), [None; 4], "not secured yet");
        assert_eq!(refusals(Gate::Off, &Proof::Plain), [None; 4]);
    }

    fn grant() -> Grant {
        Grant {
            epoch: Epoch(1),
            op: GrantOp::Read,
            chunk: ChunkId(1),
            generation: Generation(1),
            file: InodeId(1),
            index: 0,
            len_max: 1,
            expires_ms: 1,
        }
    }

    #[test]
    fn nodes_look_after_nothing_and_operators_move_nothing() {
        let admin = Request::Admin(AdminRequest::Nodes);
        let moved = Request::Chunk(ChunkRequest::Verify(VerifyChunk { grant: grant(), mac: Mac::default() }));
        let refused = |body: &Request| peers().map(|peer| out_of_place(&peer, body).is_some());
        assert_eq!(refused(&admin), [false, false, true, true]);
        assert_eq!(refused(&moved), [false, true, false, false]);
    }
}
