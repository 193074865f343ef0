//! Lists the ways in which a peer can break the protocol at the level of bytes.
//!
//! Decides: the closed list of faults. Must not know: the reaction to them (all of them end the
//! connection).
//! Invariant: printing a fault never prints bytes that the peer chose.

/// A peer broke the wire protocol, or was silent for too long. The connection is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WireFault {
    /// The first bytes are not the BitTorrent handshake: an encrypted (MSE) hello, or another
    /// protocol.
    #[error("not a plaintext BitTorrent handshake")]
    NotBitTorrent,
    /// A message has a length that its kind does not allow.
    #[error("a message of kind {kind} claims {len} bytes")]
    Length {
        /// The message id.
        kind: u8,
        /// The claimed length, including the id.
        len: u32,
    },
    /// The BEP 10 handshake is not a bencoded dictionary.
    #[error("the extension handshake is malformed")]
    Extended,
    /// A message of an extension does not follow its BEP.
    #[error("a malformed {0} message")]
    Extension(&'static str),
    /// The handshake did not arrive within its deadline.
    #[error("no handshake in time")]
    HandshakeTimeout,
    /// No byte arrived for too long.
    #[error("silent for too long")]
    Idle,
    /// The peer accepted no byte of ours for too long.
    #[error("it stopped reading")]
    Stalled,
}
