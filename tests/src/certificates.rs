//! A certificate authority for the clusters of tests: who is who, on paper.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use dfs_client::{Tls, TlsMaterial};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// An authority, with a directory for what it signs.
pub struct TestAuthority {
    dir: PathBuf,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl TestAuthority {
    /// A new one, that keeps its files in a directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).expect("signed").pem();
        Self { dir: dir.into(), pem, issuer: Issuer::new(params, key) }
    }

    /// Signs a certificate with these names for a new key, and puts both in a directory that the command line takes as an
    /// identity. What was in it is replaced.
    pub fn issue(&self, holder: &str, names: &[String]) -> PathBuf {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).expect("signed").pem();
        let dir = self.dir.join(holder);
        fs::create_dir_all(&dir).expect("a directory");
        for (name, text) in
            [("ca.pem", &self.pem), ("certificate.pem", &certificate), ("key.pem", &key.serialize_pem())]
        {
            let path = dir.join(name);
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("closed to others");
        }
        dir
    }

    /// An identity for a user.
    pub fn user(&self, name: &str) -> PathBuf {
        self.issue(name, &[format!("{name}.user.dfs.internal")])
    }
}

/// What is in such a directory.
pub fn identity(dir: &Path) -> Tls {
    let file = |name: &str| fs::read(dir.join(name)).expect("read");
    let (ca, certificate, key) = (file("ca.pem"), file("certificate.pem"), file("key.pem"));
    Tls::new(TlsMaterial { ca: &ca, own: Some((&certificate, &key)) }).expect("an identity")
}
