//! Transmission's RPC: the protocol of versions up to 4.0 and JSON-RPC 2.0 of 4.1, on one URL.
//!
//! Decides: what its methods mean here, and how its fields are made.
//! Must not know: HTTP, sessions.
//! Invariant: inside, all names are in snake_case, as JSON-RPC has them; the older protocol is a
//! matter of `names` at the edge. A field that was asked for and is known is always answered.

mod call;
mod fields;
mod groups;
mod names;
mod plan;
mod session;
mod torrent_set;

pub use call::{Call, Request, RpcError, RpcProtocol, parse};
pub use plan::{Plan, SystemQuery, SystemReply, answer, plan};

/// The version that is claimed, with our own in parentheses.
pub(crate) const VERSION: &str = concat!("4.1.1 (bt ", env!("CARGO_PKG_VERSION"), ")");
/// The version of the RPC, and the oldest that callers may need.
const RPC_VERSION: u32 = 19;
const RPC_VERSION_MINIMUM: u32 = 14;
/// The semantic version of the RPC: the value of `X-Transmission-Rpc-Version`.
pub const RPC_SEMVER: &str = "6.0.1";
