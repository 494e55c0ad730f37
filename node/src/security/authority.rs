//! The certificate authority of a cluster: made at its coordinator's first start, kept in the metadata, its key wrapped.
//!
//! It signs for P-256 keys, for as long as is configured, and dates what it signs back, by an hour at most: clocks differ.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use dfs_actors::coordinator::metadata::model::records::AuthorityRecord;
use dfs_actors::coordinator::{CertificateAuthority, KeyWrap, Signed};
use dfs_wire::id::ClusterId;
use dfs_wire::identity::Identity;
use dfs_wire::message::enroll::{Enrolled, PublicKey};
use dfs_wire::secret::Secret;
use dfs_wire::status::{Status, StatusCode};
use dfs_wire::tls::Tls;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SerialNumber, SignatureAlgorithm,
    date_time_ymd,
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::bundle;

/// What its key is wrapped for.
const KEY_PURPOSE: &str = "dfs certificate authority";
/// The authority outlives everything that it signs.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
/// How far certificates are dated back at most; those that do not last long, by a quarter of their time.
const BACKDATED_MAX: Duration = Duration::from_secs(3600);

/// The authority, with its key.
pub(crate) struct ClusterAuthority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Vec<u8>,
    lifetime: Duration,
    host: Secret,
}

/// A public key of somebody else.
struct Point<'a>(&'a [u8]);

impl PublicKeyData for Point<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// A new authority for a cluster, as it is stored.
///
/// # Errors
/// If there is no randomness.
pub(crate) fn make(cluster: ClusterId, wrap: &dyn KeyWrap) -> anyhow::Result<AuthorityRecord> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("make a key")?;
    let certificate = params(cluster).self_signed(&key).context("sign the authority's certificate")?;
    let der = Zeroizing::new(key.serialize_der());
    let key = wrap.seal(KEY_PURPOSE, &der)?;
    Ok(AuthorityRecord { certificate: certificate.der().to_vec(), key })
}

fn params(cluster: ClusterId) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("dfs cluster {cluster}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    date(&mut params, AUTHORITY_LIFETIME);
    params
}

/// Dates a certificate, and says when it ends.
fn date(params: &mut CertificateParams, lifetime: Duration) -> u64 {
    let (epoch, now) = (date_time_ymd(1970, 1, 1), SystemTime::now().duration_since(UNIX_EPOCH));
    let now = Duration::from_secs(now.unwrap_or_default().as_secs());
    let end = now + lifetime;
    params.not_before = epoch + now.saturating_sub(BACKDATED_MAX.min(lifetime / 4));
    params.not_after = epoch + end;
    u64::try_from(end.as_millis()).unwrap_or(u64::MAX)
}

impl ClusterAuthority {
    /// The authority that is stored. What it signs lasts for `lifetime`; whoever knows `host` is on this host.
    ///
    /// # Errors
    /// If its key cannot be unwrapped.
    pub(crate) fn open(
        cluster: ClusterId,
        record: AuthorityRecord,
        wrap: &dyn KeyWrap,
        lifetime: Duration,
        host: Secret,
    ) -> anyhow::Result<Self> {
        let der = Zeroizing::new(wrap.open(KEY_PURPOSE, &record.key)?);
        let key = KeyPair::try_from(der.as_slice()).context("read the authority's key")?;
        Ok(Self {
            issuer: Issuer::new(params(cluster), key),
            certificate: record.certificate,
            lifetime,
            host,
        })
    }

    /// A certificate of this process itself, for a new key.
    ///
    /// # Errors
    /// If there is no randomness.
    pub(crate) fn certify(&self, who: &Identity) -> anyhow::Result<Tls> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("make a key")?;
        let public = PublicKey(key.public_key_raw().to_vec());
        let Signed { certificate, not_after_ms } = self.sign(who, &public)?;
        let enrolled = Enrolled { certificate, authorities: vec![self.certificate.clone()], not_after_ms };
        Ok(Tls::from_bundle(bundle::assemble(&key, &enrolled).as_bytes())?)
    }
}

impl CertificateAuthority for ClusterAuthority {
    fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.certificate).into()
    }

    fn certificate(&self) -> Vec<u8> {
        self.certificate.clone()
    }

    fn sign(&self, who: &Identity, key: &PublicKey) -> Result<Signed, Status> {
        if !key.is_well_formed() {
            let text = "the public key is no uncompressed point of P-256";
            return Err(Status::new(StatusCode::InvalidArgument, text));
        }
        let failed = |error: rcgen::Error| {
            Status::new(StatusCode::Internal, format!("a certificate could not be signed: {error}"))
        };
        let mut params = CertificateParams::new(who.dns_names()).map_err(failed)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, who.to_string());
        params.extended_key_usages = match who {
            Identity::User(_) => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Identity::Coordinator(_) | Identity::Datanode(_) => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
        };
        params.serial_number = Some(SerialNumber::from(rand::random::<[u8; 16]>().to_vec()));
        let not_after_ms = date(&mut params, self.lifetime);
        let certificate = params.signed_by(&Point(&key.0), &self.issuer).map_err(failed)?;
        Ok(Signed { certificate: certificate.der().to_vec(), not_after_ms })
    }

    fn fresh_secret(&self) -> Secret {
        super::fresh_secret()
    }

    fn is_host(&self, secret: &Secret) -> bool {
        self.host == *secret
    }
}

#[cfg(test)]
mod tests {
    use dfs_wire::id::NodeId;

    use super::*;
    use crate::security::kek::Kek;

    #[test]
    fn it_signs_after_it_was_stored_as_before_and_what_it_signs_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        let (kek, cluster) = (Kek::make(dir.path()).unwrap(), ClusterId(7));
        let record = make(cluster, &kek).unwrap();
        let host = Secret::new([1; 32]);
        let open =
            || ClusterAuthority::open(cluster, record.clone(), &kek, Duration::from_secs(60), host.clone());
        let (first, second) = (open().unwrap(), open().unwrap());
        assert_eq!(first.digest(), second.digest());
        assert!(first.is_host(&host) && !first.is_host(&Secret::new([2; 32])));
        for who in
            [Identity::Coordinator(NodeId(7)), Identity::Datanode(NodeId(8)), Identity::User("ada".into())]
        {
            let tls = second.certify(&who).unwrap();
            assert_eq!(tls.identity(), Some(&who));
            let now = u64::try_from(UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
            let left = tls.validity_ms().unwrap().1.saturating_sub(now);
            assert!((50_000..=60_000).contains(&left), "{left}");
        }
        let nonsense = first.sign(&Identity::Datanode(NodeId(8)), &PublicKey(vec![4; 64])).unwrap_err();
        assert_eq!(nonsense.code, StatusCode::InvalidArgument);
    }
}
