//! Who is let into the cluster: join tokens, certificates, and keys that are not believed any more.

use std::sync::Arc;

use dfs_wire::handshake::{Credentials, Hello, Peer};
use dfs_wire::id::NodeId;
use dfs_wire::identity::{Bearer, Identity, KeyDigest, is_user_name};
use dfs_wire::message::admin::{
    AdminRequest, AdminResponse, HealthLevel, JoinTokenMade, KeysRevoked, MakeJoinToken, RevokeKeys,
};
use dfs_wire::message::enroll::{
    EnrollNode, EnrollRequest, EnrollResponse, EnrollUser, Enrolled, JoinRole, PublicKey,
};
use dfs_wire::secret::{JoinToken, Secret};
use dfs_wire::status::{Status, StatusCode};

use super::dispatch::{Asked, CoordinatorService, SHOWN_WITHIN, unexpected};
use super::forget::called;
use crate::coordinator::authority::{CertificateAuthority, Signed};
use crate::coordinator::events::Happening;
use crate::coordinator::membership::{MembershipMsg, NODE_NAME_BYTES_MAX};
use crate::coordinator::metadata::model::outcome::{Outcome, StepProgress};
use crate::coordinator::metadata::model::records::{JoinTokenRecord, Standing};
use crate::coordinator::metadata::ops::mutation::Mutation;
use crate::coordinator::metadata::ops::trust::{Joining, NewKey};
use crate::coordinator::metadata::reader::{MetadataReader, ReadFor};
use crate::coordinator::metadata::table::error::MetaError;
use crate::peer::session::PeerInfo;

/// How long a join token lasts if nobody says, and at most.
const TOKEN_MS_DEFAULT: u64 = 3600 * 1000;
const TOKEN_DAYS_MAX: u64 = 7;
const TOKEN_MS_MAX: u64 = TOKEN_DAYS_MAX * 24 * 3600 * 1000;

fn denied(text: impl Into<String>) -> Status {
    Status::new(StatusCode::PermissionDenied, text)
}

fn enrolled(authority: &dyn CertificateAuthority, signed: Signed) -> Enrolled {
    let Signed { certificate, not_after_ms } = signed;
    Enrolled { certificate, authorities: vec![authority.certificate()], not_after_ms }
}

impl CoordinatorService {
    /// Whether a newcomer may come in and ask.
    pub(super) async fn hear_newcomer(&self, hello: &Hello) -> Result<(), Status> {
        let authority = self.parts.trust.authority()?;
        match &hello.credentials {
            Some(Credentials::Join(secret)) => {
                let (secret, now_ms) = (secret.digest(), self.parts.time.now_ms());
                let wall_ms = self.parts.time.moment().wall_ms;
                let check = move |reader: &MetadataReader| reader.check_join_token(secret, now_ms, wall_ms);
                self.parts.reads.ask(ReadFor::Membership, SHOWN_WITHIN, check).await
            }
            Some(Credentials::Host(secret)) if authority.is_host(secret) => Ok(()),
            Some(Credentials::Host(_)) => {
                let text = "the secret of the coordinator's host is another one now";
                Err(Status::new(StatusCode::Unauthenticated, text)
                    .hint("each start of the coordinator makes a new one: read it again"))
            }
            None => Err(Status::new(StatusCode::Unauthenticated, "a newcomer has to show something")),
        }
    }

    /// Gives whoever may have one a certificate for the key that he shows.
    pub(super) async fn enroll(
        self: &Arc<Self>,
        asked: &Asked,
        peer: &PeerInfo,
        request: EnrollRequest,
    ) -> Result<EnrollResponse, Status> {
        let authority = Arc::clone(self.parts.trust.authority()?);
        let (who, signed) = match (request, &peer.credentials, &peer.peer) {
            (EnrollRequest::Node(word), Some(Credentials::Join(secret)), Peer::Newcomer(_)) => {
                self.enroll_node(asked, &*authority, word, secret).await?
            }
            (EnrollRequest::User(word), Some(Credentials::Host(secret)), Peer::Newcomer(_))
                if authority.is_host(secret) =>
            {
                self.enroll_user(asked, &*authority, word).await?
            }
            (EnrollRequest::Renew(key), None, _) => match &peer.bearer {
                Some(bearer) => self.renew(asked, &*authority, bearer, &key).await?,
                None => return Err(denied("only whoever has a certificate can have it renewed")),
            },
            (other, ..) => {
                return Err(denied(format!("{} is not for what was shown on this connection", other.name())));
            }
        };
        tracing::info!(%who, not_after_ms = signed.not_after_ms, "certificate given out");
        Ok(EnrollResponse::Enrolled(enrolled(&*authority, signed)))
    }

    async fn enroll_node(
        &self,
        asked: &Asked,
        authority: &dyn CertificateAuthority,
        word: EnrollNode,
        secret: &Secret,
    ) -> Result<(Identity, Signed), Status> {
        let EnrollNode { role, node, name, public_key } = word;
        if name.is_empty() || name.len() > NODE_NAME_BYTES_MAX || name.contains(char::is_control) {
            let text =
                format!("the name of a node has 1 to {NODE_NAME_BYTES_MAX} bytes, and no control characters");
            return Err(Status::new(StatusCode::InvalidArgument, text));
        }
        let who = match role {
            JoinRole::Datanode => Identity::Datanode(node),
        };
        let signed = authority.sign(&who, &public_key)?;
        let joining = Joining { secret: secret.digest(), role, node, key: public_key.digest(&who) };
        let joined = self.note(asked, Mutation::Join(joining, signed.not_after_ms)).await?;
        if !matches!(joined, Outcome::Progress(StepProgress { done: 1.., .. })) {
            // It asked before, and may not have had the answer.
            return Ok((who, signed));
        }
        let from = asked.source.map_or_else(String::new, |source| format!(" from {source}"));
        let text = format!("{} {name} joined{from} with a join token", role.name());
        self.came_to_pass(Happening::new("membership", HealthLevel::Ok, text).about(&name));
        Ok((who, signed))
    }

    /// A certificate for a user, of whom this process vouches.
    ///
    /// # Errors
    /// Of the metadata.
    pub async fn certify_user(&self, name: &str, public_key: PublicKey) -> Result<Enrolled, Status> {
        let authority = Arc::clone(self.parts.trust.authority()?);
        let word = EnrollUser { name: name.to_owned(), public_key };
        let (_, signed) = self.enroll_user(&self.asked_here(), &*authority, word).await?;
        Ok(enrolled(&*authority, signed))
    }

    async fn enroll_user(
        &self,
        asked: &Asked,
        authority: &dyn CertificateAuthority,
        word: EnrollUser,
    ) -> Result<(Identity, Signed), Status> {
        let EnrollUser { name, public_key } = word;
        if !is_user_name(&name) {
            let text = format!("'{}' cannot be the name of a user", name.escape_debug());
            return Err(Status::new(StatusCode::InvalidArgument, text)
                .hint("a name has lower-case letters, digits and inner hyphens, 63 at most"));
        }
        let who = Identity::User(name);
        let signed = self.certify(asked, authority, &who, &public_key, None).await?;
        let text = format!("whoever is on the coordinator's host made a certificate for {who}");
        self.came_to_pass(Happening::new("operator", HealthLevel::Ok, text));
        Ok((who, signed))
    }

    async fn renew(
        self: &Arc<Self>,
        asked: &Asked,
        authority: &dyn CertificateAuthority,
        bearer: &Bearer,
        key: &PublicKey,
    ) -> Result<(Identity, Signed), Status> {
        let who = bearer.identity.clone();
        let Identity::Datanode(node) = who else {
            let text = format!("{who} cannot have a certificate renewed: only datanodes do so by themselves");
            return Err(denied(text));
        };
        let known = self.apart(ReadFor::Membership, asked, move |_, reader| reader.node(node)).await?;
        if known.is_some_and(|known| matches!(known.standing, Standing::Forgotten | Standing::Lost)) {
            return Err(denied("this node does not belong to the cluster any more").at_node(node));
        }
        let signed = self.certify(asked, authority, &who, key, Some(bearer.key)).await?;
        Ok((who, signed))
    }

    /// Signs, and notes the key before anybody gets what was signed.
    async fn certify(
        &self,
        asked: &Asked,
        authority: &dyn CertificateAuthority,
        who: &Identity,
        key: &PublicKey,
        asked_with: Option<KeyDigest>,
    ) -> Result<Signed, Status> {
        let signed = authority.sign(who, key)?;
        let (key, not_after_ms) = (key.digest(who), signed.not_after_ms);
        let note = Mutation::NoteKey(NewKey { who: who.clone(), key, not_after_ms, asked_with });
        self.note(asked, note).await?;
        Ok(signed)
    }

    /// What operators want of tokens and keys.
    pub(super) async fn about_trust(
        self: &Arc<Self>,
        asked: &Asked,
        peer: Option<&PeerInfo>,
        request: AdminRequest,
    ) -> Result<AdminResponse, Status> {
        // In every mode: what a stranger does while a cluster is not secured yet must not last longer than that.
        let is_user = |bearer: &Bearer| matches!(bearer.identity, Identity::User(_));
        if !peer.and_then(|peer| peer.bearer.as_ref()).is_some_and(is_user) {
            let text = format!("{} is for users with a certificate, on a secured connection", request.name());
            return Err(Status::new(StatusCode::Unauthenticated, text).hint(
                "`dfs-node init-admin` on the coordinator's host makes an identity for `dfsctl --identity`",
            ));
        }
        match request {
            AdminRequest::MakeJoinToken(word) => self.make_token(asked, &word).await,
            AdminRequest::RevokeKeys(word) => self.revoke_keys(asked, &word).await,
            other => Err(Status::new(StatusCode::Unsupported, format!("{} is another's", other.name()))),
        }
    }

    async fn make_token(&self, asked: &Asked, word: &MakeJoinToken) -> Result<AdminResponse, Status> {
        let lasts_ms = if word.for_ms == 0 { TOKEN_MS_DEFAULT } else { word.for_ms };
        if lasts_ms > TOKEN_MS_MAX {
            let text =
                format!("a join token for {} s lasts longer than {TOKEN_DAYS_MAX} days", lasts_ms / 1000);
            return Err(Status::new(StatusCode::InvalidArgument, text).hint("make it when it is needed"));
        }
        let node = match &word.node {
            Some(text) => Some(called(&self.view(), text)?),
            None => None,
        };
        let only = node.as_ref().map(|(node, _)| *node);
        let token = self.new_token(asked, word.role, only, lasts_ms).await?;
        let whom = node.map_or_else(|| format!("a new {}", word.role.name()), |(_, name)| name);
        self.happened(asked, &format!("made a join token for {whom}"), "");
        Ok(AdminResponse::JoinTokenMade(JoinTokenMade { token, node: only, left_ms: lasts_ms }))
    }

    async fn new_token(
        &self,
        asked: &Asked,
        role: JoinRole,
        node: Option<NodeId>,
        lasts_ms: u64,
    ) -> Result<JoinToken, Status> {
        let authority = self.parts.trust.authority()?;
        let secret = authority.fresh_secret();
        let expires_ms = self.parts.time.now_ms().saturating_add(lasts_ms);
        let expires_wall_ms = self.parts.time.moment().wall_ms.saturating_add(lasts_ms);
        let record = JoinTokenRecord { role, node, expires_ms, expires_wall_ms, used: None };
        self.note(asked, Mutation::PutJoinToken(secret.digest(), record)).await?;
        Ok(JoinToken { authority: authority.digest(), secret })
    }

    /// Looks after an invitation that lies somewhere for a datanode of this name: the token that is to lie there instead, if the one that does
    /// is worth nothing (any more). Where the cluster knows a node of the name that has no certificate which counts, it is for that node.
    ///
    /// # Errors
    /// Of the metadata.
    pub async fn renew_invitation(
        self: &Arc<Self>,
        name: &str,
        lies_there: Option<JoinToken>,
        lasts_ms: u64,
    ) -> Result<Option<JoinToken>, Status> {
        let asked = self.asked_here();
        let authority = self.parts.trust.authority()?.digest();
        let known = called(&self.view(), name).ok().map(|(node, _)| node);
        let wall_ms = self.parts.time.moment().wall_ms;
        let secret =
            lies_there.filter(|token| token.authority == authority).map(|token| token.secret.digest());
        let look = move |_: &Self, reader: &MetadataReader| {
            let lives = |node| reader.has_live_keys(&Identity::Datanode(node), wall_ms);
            let bare = match known {
                Some(node) if !lives(node)? => Some(node),
                _ => None,
            };
            let found = secret.map(|secret| reader.join_token(secret)).transpose()?.flatten();
            Ok::<_, MetaError>((bare, found))
        };
        let (only, found) = self.apart(ReadFor::Membership, &asked, look).await?;
        let half = self.parts.time.now_ms().saturating_add(lasts_ms / 2);
        let good =
            |token: &JoinTokenRecord| token.used.is_none() && token.expires_ms > half && token.node == only;
        if found.is_some_and(|token| good(&token)) {
            return Ok(None);
        }
        self.new_token(&asked, JoinRole::Datanode, only, lasts_ms).await.map(Some)
    }

    async fn revoke_keys(
        self: &Arc<Self>,
        asked: &Asked,
        word: &RevokeKeys,
    ) -> Result<AdminResponse, Status> {
        let (who, name) = match word {
            RevokeKeys::Node(text) => {
                // One that never registered has no name, and may have a certificate.
                let unknown = || text.parse().map(|node| (node, text.clone()));
                let (node, name) =
                    called(&self.view(), text).or_else(|status| unknown().map_err(|_| status))?;
                (Identity::Datanode(node), format!("datanode {name}"))
            }
            RevokeKeys::User(name) => (Identity::User(name.clone()), format!("user {name}")),
        };
        let keys = match self.note(asked, Mutation::RevokeKeys(who.clone())).await? {
            Outcome::Progress(progress) => progress.done,
            other => return Err(unexpected(&other)),
        };
        let revoked = self.apart(ReadFor::Membership, asked, |_, reader| reader.revoked_keys()).await?;
        self.parts.trust.learn(&revoked);
        if keys == 0 {
            let text = format!("no certificate of {name} counts (any more)");
            return Err(Status::new(StatusCode::NotFound, text)
                .hint("certificates that an operator's own authority signed are not known here"));
        }
        if let Identity::Datanode(node) = who {
            // If it is lost, the node is down when it has not been heard of for a while.
            let _down_later = self.parts.membership.try_send(MembershipMsg::Expel(node));
        }
        tracing::warn!(%who, keys, "an operator revokes certificates");
        self.happened(asked, &format!("revoked the certificates of {name}"), "");
        Ok(AdminResponse::KeysRevoked(KeysRevoked { who: who.to_string(), keys }))
    }

    /// Whether certificates for this key are not believed any more.
    pub(super) fn disbelieves(&self, key: &KeyDigest) -> bool {
        self.parts.trust.revoked().keys.contains(key)
    }
}
