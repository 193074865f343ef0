//! What must never happen, by name.
//!
//! Decides: the list of rules. Must not know: how they are watched.
//! Invariant: every message names the moment, the seed and the host, so that one command shows it
//! again.

use crate::network::HostId;
use bt_engine::{CloseReason, PeerKey};
use bt_types::{RawBlock, Time};
use std::net::SocketAddr;

/// Why a simulation did not end well.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Violation {
    /// There is no scenario of this name.
    #[error("there is no scenario {0}")]
    UnknownScenario(String),
    /// A rule was broken.
    #[error("seed {seed}, {at}, {host}: {broken}")]
    Broken {
        /// The seed that shows it again.
        seed: u64,
        /// When, in virtual time.
        at: Time,
        /// The name of the host that broke it.
        host: String,
        /// Which rule.
        broken: Broken,
    },
}

/// A rule that a program broke.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Broken {
    /// A byte was written that is not the torrent's.
    #[error("unverified bytes were written")]
    UnverifiedWrite,
    /// A piece was announced before it was written.
    #[error("it announced piece {0}, which it does not have")]
    EarlyHave(u32),
    /// The store says that a piece is verified and written, and the disk does not hold it.
    #[error("it counts on piece {0}, which its disk does not hold")]
    NotHeld(u32),
    /// A block was asked of a peer that does not serve us.
    #[error("it asked {0:?} for {1:?} while choked")]
    RequestWhileChoked(PeerKey, RawBlock),
    /// A block was asked of a peer that has not got it.
    #[error("it asked {0:?} for {1:?}, which that peer has not got")]
    RequestOfNothing(PeerKey, RawBlock),
    /// A block was asked for twice outside end-game, or twice of one peer.
    #[error("it asked {1:?} for {2:?}, which {0:?} was asked for")]
    AskedTwice(PeerKey, PeerKey, RawBlock),
    /// A block was served to a peer that did not ask for it, or that is choked.
    #[error("it served {1:?} to {0:?}, which may not have it")]
    ServedUnasked(PeerKey, RawBlock),
    /// An order for a peer that is not connected.
    #[error("it gave an order for {0:?}, which is not connected")]
    UnknownPeer(PeerKey),
    /// More bytes of open pieces than the budget allows.
    #[error("it reserved {0} bytes in the store of {1} allowed")]
    StoreCredit(u64, u64),
    /// More payload ordered for a peer than its send credit.
    #[error("it ordered {1} bytes for {0:?} before they were sent")]
    SendCredit(PeerKey, u64),
    /// It took something for the torrent's metadata that is not.
    #[error("it took wrong metadata")]
    WrongMetadata,
    /// More bytes of metadata held than may be.
    #[error("it holds {0} bytes of metadata")]
    MetadataHeld(u64),
    /// An honest peer was blamed.
    #[error("it blamed an honest peer at {0}: {1}")]
    Blamed(SocketAddr, CloseReason),
    /// It asked to be woken at once again and again.
    #[error("it does not come to rest")]
    Restless,
    /// It did not finish in time.
    #[error("it has {0} of {1} pieces at the deadline")]
    Unfinished(u32, u32),
    /// It says that it is complete, and its files are not the torrent's.
    #[error("it is complete, but its files are not right")]
    WrongFiles,
}

impl std::fmt::Display for HostId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "host {}", self.0)
    }
}
