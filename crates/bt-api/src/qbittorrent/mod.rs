//! qBittorrent's Web API, `/api/v2/SCOPE/ACTION`.
//!
//! Decides: what its actions mean here, and how its fields are made.
//! Must not know: HTTP, sessions, cookies.
//! Invariant: a parameter that is missing is its default; integers are integers. Reads change
//! nothing.

mod acts;
mod add;
mod answer;
mod creator;
mod details;
mod form;
mod list;
mod plan;
mod preferences;
mod reads;
mod rows;
mod rss;
mod sync;

pub use answer::{WebAnswer, WebPlan, answer};
pub use form::Form;
pub use plan::plan;
pub use sync::SyncTable;

/// The version that is claimed: the last before answers changed in ways that callers refuse.
pub const APP_VERSION: &str = "v5.1.4";
/// The version of the API that belongs to it.
pub const API_VERSION: &str = "2.11.4";
/// What is shown for "never" where seconds are expected.
const ETA_UNKNOWN: u64 = 8_640_000;
