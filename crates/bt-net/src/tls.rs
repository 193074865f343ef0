//! Certificates that we trust over TLS.
//!
//! Decides: root certificates and protocol versions.
//! Must not know: hosts, HTTP.
//! Invariant: a certificate is always checked; no setting turns that off.

use crate::error::NetError;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, TrustAnchor};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

/// Root certificates to trust besides those that browsers trust. Made only of certificates that can
/// be read.
#[derive(Clone, Debug, Default)]
pub struct Roots(Vec<TrustAnchor<'static>>);

impl Roots {
    /// Adds the certificates of a PEM text; it must have at least one.
    pub fn add_pem(&mut self, pem: &[u8]) -> Result<(), NetError> {
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            store.add(certificate.map_err(|error| bad(&error))?).map_err(|error| bad(&error))?;
        }
        if store.is_empty() {
            return Err(bad(&"no certificate in the PEM text"));
        }
        self.0.extend(store.roots);
        Ok(())
    }
}

/// Configures TLS 1.2 and 1.3 with the roots of browsers and these.
pub(crate) fn client(extra: &Roots) -> Result<Arc<ClientConfig>, NetError> {
    let roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.iter().chain(&extra.0).cloned().collect(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(&error))?;
    Ok(Arc::new(versions.with_root_certificates(roots).with_no_client_auth()))
}

fn bad(why: &dyn std::fmt::Display) -> NetError {
    NetError::Roots(why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_holds_no_certificate_is_an_error() {
        let good = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap().cert.pem();
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let mut roots = Roots::default();
        for pem in ["", "rubbish", broken, &good[..good.len() / 2], &format!("{good}{broken}")] {
            assert!(matches!(roots.add_pem(pem.as_bytes()), Err(NetError::Roots(_))), "{pem}");
        }
        assert!(roots.0.is_empty(), "all of a text or nothing");
        roots.add_pem(format!("{good}some words\n{good}").as_bytes()).unwrap();
        assert_eq!(roots.0.len(), 2);
        assert!(client(&roots).is_ok());
    }
}
