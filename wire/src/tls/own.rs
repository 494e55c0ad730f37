//! Whether a certificate will be believed by others, looked at before anybody is shown it.

use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};

use super::TlsError;
use crate::identity::Identity;

/// Long after every certificate: webpki tells when one ended or began, not when it will.
const FAR: Duration = Duration::from_secs(1 << 38);

/// When the chain of `who` counts, from and until, in milliseconds since the Unix epoch, if it will be believed now by those who trust these
/// roots: as a client's, and if it is a node's as a server's, too.
///
/// # Errors
/// Why it will not.
pub(super) fn validity_ms(
    who: &Identity,
    chain: &[CertificateDer<'_>],
    roots: &RootCertStore,
) -> Result<(u64, u64), TlsError> {
    let refused = |error: &Error| {
        let text = format!("nobody would believe the certificate: {error}");
        match error {
            Error::CertExpired { .. } => TlsError::Ended(text),
            _ => TlsError::Refused(text),
        }
    };
    let Some((first, rest)) = chain.split_first() else { return Err(TlsError::Nothing("certificate")) };
    let parsed = EndEntityCert::try_from(first).map_err(|error| refused(&error))?;
    let verify = |time, usage| {
        let algorithms = webpki::ALL_VERIFICATION_ALGS;
        let path = parsed.verify_for_usage(algorithms, &roots.roots, rest, time, usage, None, None);
        path.map(|_| ())
    };
    let now = UnixTime::now();
    verify(now, KeyUsage::client_auth()).map_err(|error| refused(&error))?;
    if !matches!(who, Identity::User(_)) {
        verify(now, KeyUsage::server_auth()).map_err(|error| refused(&error))?;
    }
    let millis = |time: UnixTime| time.as_secs().saturating_mul(1000);
    let from = match verify(UnixTime::since_unix_epoch(Duration::ZERO), KeyUsage::client_auth()) {
        Err(Error::CertNotValidYet { not_before, .. }) => millis(not_before),
        _ => 0,
    };
    match verify(UnixTime::since_unix_epoch(FAR), KeyUsage::client_auth()) {
        Err(Error::CertExpired { not_after, .. }) => Ok((from, millis(not_after))),
        // It outlives all that is built of it.
        _ => Ok((from, u64::MAX)),
    }
}
