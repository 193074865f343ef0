//! Certificates that we trust over TLS.
//!
//! Decides: root certificates and protocol versions.
//! Must not know: HTTP.
//! Invariant: a certificate is always checked; no setting turns that off.

use crate::error::NetError;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor};
use rustls::{ClientConfig, RootCertStore};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Host;

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

/// Settings for TLS connections: versions 1.2 and 1.3, the roots of browsers and the caller's.
#[derive(Clone, Debug)]
pub(crate) struct Tls(Arc<ClientConfig>);

impl Tls {
    pub(crate) fn new(extra: &Roots) -> Result<Tls, NetError> {
        let roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.iter().chain(&extra.0).cloned().collect(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| bad(&error))?;
        Ok(Tls(Arc::new(versions.with_root_certificates(roots).with_no_client_auth())))
    }

    /// Makes a connection secure; the certificate must prove the host of the URL.
    pub(crate) async fn connect(
        &self,
        url: &str,
        host: Host<&str>,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, NetError> {
        let name = match host {
            Host::Domain(name) => ServerName::try_from(name.to_owned())
                .map_err(|error| NetError::bad_url(url, &error))?,
            Host::Ipv4(ip) => ServerName::from(IpAddr::V4(ip)),
            Host::Ipv6(ip) => ServerName::from(IpAddr::V6(ip)),
        };
        let fail = |source| NetError::Tls { host: host.to_string(), source };
        TlsConnector::from(Arc::clone(&self.0)).connect(name, stream).await.map_err(fail)
    }
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
        assert!(Tls::new(&roots).is_ok());
    }
}
