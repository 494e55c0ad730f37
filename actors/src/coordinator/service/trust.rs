//! Who signs for the cluster, and whom it believes no more, as every request has to know it.

use std::sync::{Arc, PoisonError, RwLock};

use dfs_wire::message::membership::Revoked;
use dfs_wire::status::{Status, StatusCode};

use crate::coordinator::authority::CertificateAuthority;
use crate::coordinator::metadata::model::records::RevokedKeys;

/// Who signs for the cluster, and whom it believes no more.
pub struct Trust {
    authority: Option<Arc<dyn CertificateAuthority>>,
    revoked: RwLock<Arc<Revoked>>,
}

impl Trust {
    /// With this authority, or none, where certificates come from elsewhere; and what the metadata says is revoked.
    pub fn new(authority: Option<Arc<dyn CertificateAuthority>>, revoked: &RevokedKeys) -> Self {
        Self { authority, revoked: RwLock::new(Arc::new(travelling(revoked))) }
    }

    /// What signs certificates here.
    ///
    /// # Errors
    /// `Unsupported` where an operator's own authority does.
    pub(super) fn authority(&self) -> Result<&Arc<dyn CertificateAuthority>, Status> {
        self.authority.as_ref().ok_or_else(|| {
            let text = "this cluster signs no certificates: its authority is an operator's own";
            Status::new(StatusCode::Unsupported, text)
                .hint("give each node a certificate of that authority (security.ca, security.certificate, security.key)")
        })
    }

    /// The keys that are not believed any more.
    pub(super) fn revoked(&self) -> Arc<Revoked> {
        Arc::clone(&self.revoked.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over what the metadata says, unless that is older.
    pub(super) fn learn(&self, revoked: &RevokedKeys) {
        let mut slot = self.revoked.write().unwrap_or_else(PoisonError::into_inner);
        if revoked.version > slot.version {
            *slot = Arc::new(travelling(revoked));
        }
    }
}

fn travelling(revoked: &RevokedKeys) -> Revoked {
    Revoked { version: revoked.version, keys: revoked.keys.keys().copied().collect() }
}
