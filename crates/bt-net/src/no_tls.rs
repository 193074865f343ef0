//! Stands for `tls.rs` in a build without the feature `tls`.
//!
//! Decides: that https is refused, by name.
//! Must not know: hosts, HTTP.
//! Invariant: nothing of a TLS library is built, and no byte is sent in place of https.

use crate::error::NetError;
use tokio::net::TcpStream;
use url::Host;

/// Root certificates to trust besides those that browsers trust. This build trusts none.
#[derive(Clone, Debug, Default)]
pub struct Roots(());

impl Roots {
    /// Refuses every PEM text: this build has no TLS.
    pub fn add_pem(&mut self, _pem: &[u8]) -> Result<(), NetError> {
        Err(NetError::Roots("this build has no TLS".to_owned()))
    }
}

/// The lack of TLS.
#[derive(Clone, Debug)]
pub(crate) struct Tls;

impl Tls {
    pub(crate) fn new(_extra: &Roots) -> Result<Tls, NetError> {
        Ok(Tls)
    }

    /// Refuses the URL.
    pub(crate) async fn connect(
        &self,
        url: &str,
        _host: Host<&str>,
        _stream: TcpStream,
    ) -> Result<TcpStream, NetError> {
        Err(NetError::bad_url(url, &"this build has no https (feature tls)"))
    }
}
