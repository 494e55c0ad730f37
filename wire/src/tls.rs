//! TLS 1.3 around a connection: nobody reads it, nobody changes it, and each end knows who the other is.
//!
//! ```text
//! connector                                                  acceptor
//!   ClientHello, asks for the name of whom it means ------>    the first byte tells TLS from a plain connection
//!                                    <------ ServerHello, its certificate, "who are you?"
//!   checks chain and name; its own certificate, if any --->    checks the chain; the names say who it is
//!   preface, Hello, frames as ever <---------------------->
//! ```
//!
//! Both ends trust one certificate authority, that of the cluster. Sessions are never resumed: the check of the
//! certificate is made for every connection, so that one that is not to be trusted any more is not. There is no older
//! version of TLS and no renegotiation in it. Key and certificate are replaced by a new [`Tls`]: connections that
//! stand keep theirs.

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::identity::{Bearer, Identity, KeyDigest, PeerName};
use crate::limits::TLS_BUFFER_BYTES;

mod arriving;
mod own;
mod pinned;

pub use arriving::Arriving;
use pinned::PinnedAuthority;

/// What a connector or an acceptor is made from, each in PEM.
#[derive(Debug, Clone, Copy)]
pub struct TlsMaterial<'a> {
    /// Certificates of the authorities that are trusted.
    pub ca: &'a [u8],
    /// The own certificate with what leads to the authority, and its key; `None` for a client without one.
    pub own: Option<(&'a [u8], &'a [u8])>,
}

/// Why certificates and keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It is not PEM, or holds nothing of the kind.
    #[error("there is no usable {0} in it")]
    Nothing(&'static str),
    /// The library refused.
    #[error("{0}")]
    Refused(String),
    /// The own certificate does not count any more.
    #[error("{0}")]
    Ended(String),
    /// The own certificate says of nobody whose it is.
    #[error("the certificate's names say of nobody, or of more than one, whose it is: {0}")]
    Nobody(String),
}

/// What is known of the other end once its first byte was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// Nothing: the connection is not secured.
    Plain,
    /// The connection is secured; who has proved to be at the other end, if anybody has.
    Secured(Option<Bearer>),
}

/// The proof of a connection, which comes with its first byte.
#[derive(Debug, Clone, Default)]
pub struct ProofCell(Arc<OnceLock<Proof>>);

impl ProofCell {
    /// Of a connection of which it is known from the beginning.
    pub fn known(proof: Proof) -> Self {
        Self(Arc::new(OnceLock::from(proof)))
    }

    /// What is known now; before the first byte that is nothing.
    pub fn get(&self) -> Proof {
        self.0.get().cloned().unwrap_or(Proof::Plain)
    }

    fn set(&self, proof: Proof) {
        // Once, by the one that reads.
        self.0.set(proof).unwrap_or_default();
    }
}

/// Whom one end trusts, and who it is. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tls {
    connecting: Arc<ClientConfig>,
    accepting: Option<Arc<ServerConfig>>,
    own: Option<Own>,
}

/// Who this end is.
#[derive(Debug, Clone)]
struct Own {
    bearer: Bearer,
    validity_ms: (u64, u64),
}

impl Tls {
    /// Reads certificates and key, and checks that they belong together.
    ///
    /// # Errors
    /// [`TlsError`], of which it is made clear what it is about.
    pub fn new(material: TlsMaterial<'_>) -> Result<Self, TlsError> {
        let refused = |error: &dyn std::fmt::Display| TlsError::Refused(error.to_string());
        let mut roots = RootCertStore::empty();
        for certificate in certificates(material.ca, "certificate of an authority")? {
            roots.add(certificate).map_err(|e| refused(&e))?;
        }
        let Some((chain, key)) = material.own else {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let client = ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(&[&rustls::version::TLS13])
                .map_err(|e| refused(&e))?
                .with_root_certificates(roots)
                .with_no_client_auth();
            return Ok(Self { connecting: Arc::new(unresumed(client)), accepting: None, own: None });
        };
        let chain = certificates(chain, "certificate")?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Nothing("private key"))?;
        Self::with_own(roots, chain, key)
    }

    fn with_own(
        roots: RootCertStore,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, TlsError> {
        let refused = |error: &dyn std::fmt::Display| TlsError::Refused(error.to_string());
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| refused(&e))?
            .with_root_certificates(Arc::clone(&roots));
        let bearer = chain.first().and_then(bearer_of);
        let bearer = bearer.ok_or_else(|| TlsError::Nobody(names_of(chain.first())))?;
        let validity_ms = own::validity_ms(&bearer.identity, &chain, &roots)?;
        let connecting =
            client.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(|e| refused(&e))?;
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .map_err(|e| refused(&e))?;
        let mut accepting = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| refused(&e))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|e| refused(&e))?;
        accepting.send_tls13_tickets = 0;
        accepting.session_storage = Arc::new(NoServerSessionStorage {});
        let connecting = Arc::new(unresumed(connecting));
        Ok(Self { connecting, accepting: Some(Arc::new(accepting)), own: Some(Own { bearer, validity_ms }) })
    }

    /// Reads all of it from one text: the key, the own certificate, then those of the authorities, which are shown with it.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_bundle(pem: &[u8]) -> Result<Self, TlsError> {
        let chain = certificates(pem, "certificate")?;
        let mut roots = RootCertStore::empty();
        for authority in chain.iter().skip(1) {
            roots.add(authority.clone()).map_err(|error| TlsError::Refused(error.to_string()))?;
        }
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| TlsError::Nothing("private key"))?;
        Self::with_own(roots, chain, key)
    }

    /// Of somebody who has no certificate yet, and believes whoever has one of the authority whose certificate has this SHA-256.
    ///
    /// # Errors
    /// Never in practice: the library has what it is asked for.
    pub fn pinned(authority: [u8; 32]) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = Arc::new(PinnedAuthority::new(authority, Arc::clone(&provider)));
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| TlsError::Refused(error.to_string()))?
            // The authority is another than usual; that its certificates are checked is not.
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Self { connecting: Arc::new(unresumed(client)), accepting: None, own: None })
    }

    /// Who this end is, if it has a certificate.
    pub fn identity(&self) -> Option<&Identity> {
        self.own.as_ref().map(|own| &own.bearer.identity)
    }

    /// By what its key is known, if it has a certificate.
    pub fn key(&self) -> Option<KeyDigest> {
        self.own.as_ref().map(|own| own.bearer.key)
    }

    /// From when and until when its certificate counts, in milliseconds since the Unix epoch, if it has one.
    pub fn validity_ms(&self) -> Option<(u64, u64)> {
        self.own.as_ref().map(|own| own.validity_ms)
    }

    /// Secures a connection that this end made, and checks that `whom` is at the other.
    ///
    /// Cancel safety: none; the connection is to be dropped.
    ///
    /// # Errors
    /// What the other end or its certificate is not, as `InvalidData`; that of the connection.
    pub async fn connect<IO>(&self, io: IO, whom: PeerName) -> io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(whom.dns_name()).map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::clone(&self.connecting));
        connector.connect_with(name, io, |session| session.set_buffer_limit(Some(TLS_BUFFER_BYTES))).await
    }

    /// Who answered on a connection that this end secured.
    pub fn bearer<IO>(stream: &TlsStream<IO>) -> Option<Bearer> {
        stream.get_ref().1.peer_certificates().and_then(<[_]>::first).and_then(bearer_of)
    }

    /// A connection that somebody else made, secured as soon as it is read, if the other end begins so.
    pub fn accept<IO>(&self, io: IO) -> Arriving<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        Arriving::new(io, self.accepting.clone().map(TlsAcceptor::from))
    }
}

/// Whether one of the ends does not believe the other's certificate, or misses it: that does not pass by itself, as damage on the
/// line does.
pub fn is_distrust(error: &io::Error) -> bool {
    use rustls::AlertDescription as Alert;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => true,
        Some(rustls::Error::AlertReceived(alert)) => matches!(
            alert,
            Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::CertificateRequired
                | Alert::UnknownCA
                | Alert::AccessDenied
                // A signature that is wrong: damage on the line is found before, by the record's own tag.
                | Alert::DecryptError
        ),
        _ => false,
    }
}

/// Whether a connection could not be secured because whoever answers speaks no TLS at all.
pub fn speaks_no_tls(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidMessage(_)))
}

fn unresumed(mut config: ClientConfig) -> ClientConfig {
    config.resumption = Resumption::disabled();
    config
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    all.ok().filter(|all| !all.is_empty()).ok_or(TlsError::Nothing(what))
}

/// Whose certificate it is, by its names. That it is genuine was checked before.
fn bearer_of(certificate: &CertificateDer<'_>) -> Option<Bearer> {
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    let identity = Identity::from_dns_names(parsed.valid_dns_names())?;
    let key = KeyDigest::of(&identity, &[&parsed.subject_public_key_info()]);
    Some(Bearer { identity, key })
}

fn names_of(certificate: Option<&CertificateDer<'_>>) -> String {
    let parsed = certificate.and_then(|certificate| webpki::EndEntityCert::try_from(certificate).ok());
    let names: Vec<_> = parsed.iter().flat_map(|parsed| parsed.valid_dns_names()).collect();
    if names.is_empty() { "it has none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests;
