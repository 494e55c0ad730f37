//! What a connection has to prove before its first request is heard: pure.
//!
//! | who says to be | off | permissive | required |
//! |---|---|---|---|
//! | a client or an operator | heard | plain: heard; secured: a user's or a coordinator's certificate | secured, the same |
//! | a newcomer | not heard | secured, with credentials | the same |
//! | a datanode, a coordinator | heard | plain: heard; secured: its own certificate | secured, its own certificate |
//!
//! A newcomer, who has no certificate yet, is heard where the connection is secured and he shows something else; what it is worth is
//! judged by whom he asks.
//!
//! `permissive` is for the time in which a cluster is secured node by node: it takes what is not secured yet, and believes
//! nobody who is secured and says to be another.

use dfs_wire::handshake::{Hello, Peer};
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
    /// Whether whoever says this is believed on a connection of which this is known.
    ///
    /// # Errors
    /// `Unauthenticated` without any proof, `PermissionDenied` if it is another's.
    pub fn admit(self, hello: &Hello, proof: &Proof) -> Result<(), Status> {
        let peer = &hello.peer;
        if let Peer::Newcomer(_) = peer {
            return match (proof, &hello.credentials) {
                (Proof::Secured(_), Some(_)) => Ok(()),
                (Proof::Secured(_), None) => Err(nobody()),
                (Proof::Plain, _) => {
                    let text = "certificates are given out on secured connections only";
                    Err(Status::new(StatusCode::Unauthenticated, text).hint(SECURE))
                }
            };
        }
        let identity = match (self, proof) {
            (Self::Off, _) | (Self::Permissive, Proof::Plain) => return Ok(()),
            (Self::Required, Proof::Plain) => {
                let text = "this node takes secured connections only";
                return Err(Status::new(StatusCode::Unauthenticated, text).hint(SECURE));
            }
            (_, Proof::Secured(None)) => return Err(nobody()),
            (_, Proof::Secured(Some(bearer))) => &bearer.identity,
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

fn nobody() -> Status {
    let text = "the connection is secured, but no certificate of this cluster was shown";
    Status::new(StatusCode::Unauthenticated, text).hint(SECURE)
}

/// What whoever has a key is told that is not believed any more.
pub(super) fn revoked() -> Status {
    let text = "the certificate was revoked";
    Status::new(StatusCode::Unauthenticated, text)
        .hint("an operator can give a node another one: `dfsctl nodes token --node`")
}

fn said(peer: &Peer) -> String {
    match peer {
        Peer::Client(_) => "a client".to_owned(),
        Peer::Operator(_) => "an operator".to_owned(),
        Peer::Datanode(node) => format!("datanode {}", node.node),
        Peer::Coordinator(node) => format!("coordinator {}", node.node),
        Peer::Newcomer(_) => "a newcomer".to_owned(),
    }
}

/// What a connection may not carry, whoever opened it: operators' places are kept for looking after the cluster, and nodes do
/// among themselves what nodes do.
pub(super) fn out_of_place(peer: &Peer, body: &Request) -> Option<Status> {
    let looks_after = matches!(body, Request::Admin(_) | Request::Metadata(_));
    let (allowed, whose) = match peer {
        Peer::Client(_) => return None,
        Peer::Newcomer(_) => (matches!(body, Request::Enroll(_)), "a newcomer's"),
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
    use dfs_wire::handshake::{ClientPeer, Credentials, NodePeer};
    use dfs_wire::id::{ChunkId, ClientId, Epoch, Generation, Incarnation, InodeId, NodeId};
    use dfs_wire::identity::{Bearer, KeyDigest};
    use dfs_wire::message::admin::AdminRequest;
    use dfs_wire::message::chunk::{ChunkRequest, VerifyChunk};
    use dfs_wire::message::enroll::{EnrollRequest, PublicKey};
    use dfs_wire::secret::Secret;

    use super::*;

    fn peers() -> [Peer; 5] {
        let client = || ClientPeer { client: ClientId(1), name: "c".to_owned() };
        let node = || NodePeer { node: NodeId(1), incarnation: Incarnation(1), name: "n".to_owned() };
        [
            Peer::Client(client()),
            Peer::Operator(client()),
            Peer::Datanode(node()),
            Peer::Coordinator(node()),
            Peer::Newcomer(client()),
        ]
    }

    fn refusals_with(gate: Gate, proof: &Proof, credentials: Option<Credentials>) -> [Option<StatusCode>; 5] {
        peers().map(|peer| {
            let credentials = credentials.clone();
            let hello = Hello { cluster: None, peer, credentials, features: 0, connection_credit: 0 };
            gate.admit(&hello, proof).err().map(|status| status.code)
        })
    }

    fn refusals(gate: Gate, proof: &Proof) -> [Option<StatusCode>; 5] {
        refusals_with(gate, proof, None)
    }

    #[test]
    fn nobody_is_believed_without_a_proof_of_his_own() {
        let denied = Some(StatusCode::PermissionDenied);
        let unknown = Some(StatusCode::Unauthenticated);
        let by = |identity| Proof::Secured(Some(Bearer { identity, key: KeyDigest([0; 32]) }));
        for gate in [Gate::Permissive, Gate::Required] {
            assert_eq!(refusals(gate, &Proof::Secured(None)), [unknown; 5]);
            assert_eq!(
                refusals(gate, &by(Identity::User("ada".to_owned()))),
                [None, None, denied, denied, unknown]
            );
            assert_eq!(
                refusals(gate, &by(Identity::Datanode(NodeId(1)))),
                [denied, denied, None, denied, unknown]
            );
            let other = refusals(gate, &by(Identity::Datanode(NodeId(2))));
            assert_eq!(other, [denied, denied, denied, denied, unknown]);
            assert_eq!(
                refusals(gate, &by(Identity::Coordinator(NodeId(1)))),
                [denied, None, denied, None, unknown]
            );
            assert_eq!(
                refusals(gate, &by(Identity::Coordinator(NodeId(2)))),
                [denied, None, denied, denied, unknown]
            );
        }
        assert_eq!(refusals(Gate::Required, &Proof::Plain), [unknown; 5]);
        let believed = [None, None, None, None, unknown];
        assert_eq!(refusals(Gate::Permissive, &Proof::Plain), believed, "not secured yet");
        assert_eq!(refusals(Gate::Off, &Proof::Plain), believed);
    }

    #[test]
    fn a_newcomer_shows_what_he_has_on_a_secured_connection_only() {
        let token = || Some(Credentials::Join(Secret::new([7; 32])));
        let unknown = Some(StatusCode::Unauthenticated);
        for gate in [Gate::Off, Gate::Permissive, Gate::Required] {
            assert_eq!(refusals_with(gate, &Proof::Plain, token())[4], unknown);
            assert_eq!(refusals_with(gate, &Proof::Secured(None), token())[4], None);
        }
        let others = refusals_with(Gate::Required, &Proof::Secured(None), token());
        assert_eq!(others[..4], [unknown; 4], "it makes nobody another");
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
        assert_eq!(refused(&admin), [false, false, true, true, true]);
        assert_eq!(refused(&moved), [false, true, false, false, true]);
        let enroll = Request::Enroll(EnrollRequest::Renew(PublicKey(vec![])));
        assert_eq!(refused(&enroll), [false, true, false, false, false]);
    }
}
