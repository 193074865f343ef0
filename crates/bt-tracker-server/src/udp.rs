//! The UDP front: datagram in, datagram out.
//!
//! Decides: only what to do when the socket fails.
//! Must not know: what a datagram means.
//! Invariant: one datagram is answered before the next is read, so there is no queue of our own.

use crate::table::Table;
use std::time::Duration;
use tokio::net::UdpSocket;
use tracing::debug;

/// Bytes read of a datagram: more than any request that we answer, a scrape of 74 hashes. The tail
/// of a longer one is not needed.
const DATAGRAM_MAX: usize = 2_048;
/// Pause after a receive error, so that a broken socket does not take a processor.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// Serves until the task is aborted.
pub(crate) async fn serve(socket: UdpSocket, table: Table) {
    let mut buffer = [0; DATAGRAM_MAX];
    loop {
        let (len, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                debug!(%error, "udp receive failed");
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        let Some(datagram) = buffer.get(..len) else { continue };
        if let Some(reply) = table.udp(from, datagram)
            && let Err(error) = socket.send_to(&reply, from).await
        {
            debug!(%from, %error, "udp reply not sent");
        }
    }
}
