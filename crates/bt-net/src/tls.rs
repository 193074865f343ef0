//! Whom we trust over TLS.
//!
//! Decides: root certificates and protocol versions. Must not know: hosts, HTTP.
//! Invariant: a certificate is always checked; no setting turns that off.

use crate::error::NetError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

/// TLS 1.2 and 1.3 with the roots of browsers and the given ones, each item one or more certificates in PEM.
pub(crate) fn client(extra_roots: &[Vec<u8>]) -> Result<Arc<ClientConfig>, NetError> {
    let bad = |error: &dyn std::fmt::Display| NetError::Roots(error.to_string());
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for pem in extra_roots {
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.map_err(|error| bad(&error))?).map_err(|error| bad(&error))?;
        }
        if roots.len() == before {
            return Err(bad(&"no certificate in the PEM text"));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|error| bad(&error))?;
    Ok(Arc::new(versions.with_root_certificates(roots).with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_holds_no_certificate_is_an_error() {
        for pem in [b"".to_vec(), b"rubbish".to_vec(), b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec()]
        {
            assert!(matches!(client(&[pem]), Err(NetError::Roots(_))));
        }
        let good = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap().cert.pem();
        assert!(client(&[good.into_bytes()]).is_ok());
    }
}
