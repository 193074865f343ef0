//! Resolves names by the system's resolver, which blocks.
//!
//! Decides: how many names are resolved at a time.
//! Must not know: which caller wants an address.
//! Invariant: a resolver that does not answer keeps nothing alive: its thread ends with the
//! process.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use tokio::sync::{Semaphore, oneshot};

/// Names that are resolved at a time: each has a thread until the system answers.
const LOOKUPS_MAX: usize = 16;

/// The system's resolver. Clones share the threads.
#[derive(Clone, Debug)]
pub(crate) struct Resolver(Arc<Semaphore>);

impl Default for Resolver {
    fn default() -> Resolver {
        Resolver(Arc::new(Semaphore::new(LOOKUPS_MAX)))
    }
}

impl Resolver {
    /// Looks up the addresses of a name, in the order of the system.
    ///
    /// Not on the runtime's blocking threads: a runtime waits for those when it ends. The system
    /// may take ten seconds to find out that no name server answers.
    pub(crate) async fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let place = Arc::clone(&self.0).acquire_owned().await.map_err(io::Error::other)?;
        let (answer, answered) = oneshot::channel();
        let host = host.to_owned();
        std::thread::Builder::new().name("bt-resolve".into()).spawn(move || {
            let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
            drop(place);
            // The caller may have stopped waiting.
            let _ = answer.send(found);
        })?;
        answered.await.unwrap_or_else(|_| Err(io::Error::other("the look-up failed")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_has_addresses_and_places_come_back() {
        let resolver = Resolver::default();
        for _ in 0..LOOKUPS_MAX * 2 {
            let found = resolver.lookup("localhost", 7).await.unwrap();
            assert!(
                found.iter().all(|addr| addr.ip().is_loopback() && addr.port() == 7)
                    && !found.is_empty()
            );
        }
        assert!(resolver.lookup("no such name.invalid", 7).await.is_err());
        assert_eq!(resolver.0.available_permits(), LOOKUPS_MAX);
    }
}
