//! The options of `bt daemon`, and of the verbs that a daemon carries out.
//!
//! Decides: names, defaults and help of options.
//! Must not know: what a command does.
//! Invariant: an option that is accepted has an effect.

use super::{DiscoveryArgs, TrustArgs, parse_ratio};
use crate::addresses::{ListenAddr, parse_listen};
use crate::units::parse_rate;
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use std::net::SocketAddr;
use std::path::PathBuf;
use url::Url;

/// Where the daemon is.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Daemon")]
pub(crate) struct ApiArgs {
    /// The daemon's URL, as http://user:password@host:9091
    #[arg(
        long,
        value_name = "URL",
        env = "BT_API",
        default_value = "http://127.0.0.1:9091",
        hide_env_values = true
    )]
    pub(crate) api: Url,
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// .torrent files, http(s) URLs, magnet links or info-hashes
    #[arg(required = true)]
    pub(crate) source: Vec<String>,
    /// Where its data goes on the daemon's machine [default: as the daemon says]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Its category
    #[arg(long)]
    pub(crate) category: Option<String>,
    /// A label; repeat for more
    #[arg(long)]
    pub(crate) label: Vec<String>,
    /// Do not start it
    #[arg(long)]
    pub(crate) stopped: bool,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// A number of `bt list`, how an info-hash begins, or a name
    pub(crate) id: String,
    /// List its peers
    #[arg(long)]
    pub(crate) peers: bool,
    /// List its trackers
    #[arg(long)]
    pub(crate) trackers: bool,
    /// List its files
    #[arg(long)]
    pub(crate) files: bool,
    /// Tell its pieces as runs: missing, there, missing, …
    #[arg(long)]
    pub(crate) pieces: bool,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct IdsArgs {
    /// Numbers of `bt list`, how info-hashes begin, or names
    #[arg(required = true)]
    pub(crate) id: Vec<String>,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    pub(crate) ids: IdsArgs,
    /// Delete the data, too; this cannot be undone
    #[arg(long)]
    pub(crate) with_data: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    #[command(flatten)]
    pub(crate) ids: IdsArgs,
    /// Limit to peers, as 500KiB/s, or `none`
    #[arg(long, value_name = "RATE", value_parser = parse_limit)]
    pub(crate) up: Option<Limit>,
    /// Limit from peers, as 500KiB/s, or `none`
    #[arg(long, value_name = "RATE", value_parser = parse_limit)]
    pub(crate) down: Option<Limit>,
    /// Stop seeding at this ratio
    #[arg(long, value_name = "RATIO", value_parser = parse_ratio)]
    pub(crate) ratio: Option<f64>,
    /// The order of pieces
    #[arg(long, value_enum)]
    pub(crate) order: Option<Order>,
    /// The category; empty for none
    #[arg(long)]
    pub(crate) category: Option<String>,
    /// A label that it gets; repeat for more
    #[arg(long)]
    pub(crate) label: Vec<String>,
    /// A label that it loses; repeat for more
    #[arg(long)]
    pub(crate) unlabel: Vec<String>,
    /// Download only these files: names, directories or globs; repeat for more
    #[arg(long, value_name = "GLOB")]
    pub(crate) select: Vec<String>,
}

/// The order of pieces.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Order {
    /// Pieces that few peers have come first
    RarestFirst,
    /// From the first piece to the last
    Sequential,
}

/// A limit in bytes per second, or none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limit(pub(crate) Option<u64>);

#[derive(Debug, Args)]
pub(crate) struct MoveArgs {
    /// A number of `bt list`, how an info-hash begins, or a name
    pub(crate) id: String,
    /// A directory on the daemon's machine
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// A number of `bt list`, how an info-hash begins, or a name [default: all that run]
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct UndoArgs {
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Torrents in this state, or with this in their name
    pub(crate) filter: Option<String>,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DaemonArgs {
    /// Where to serve the APIs; without a password on loopback only
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9091")]
    pub(crate) api: SocketAddr,
    /// A name that the APIs are reached by, besides IP addresses and localhost; repeat for more
    #[arg(long, value_name = "NAME")]
    pub(crate) api_host: Vec<String>,
    /// The user's name for the APIs
    #[arg(long, value_name = "NAME", env = "BT_API_USER", default_value = "bt")]
    pub(crate) api_user: String,
    /// A file with the password for the APIs, or with its argon2 hash
    #[arg(long, value_name = "FILE", env = "BT_API_PASSWORD_FILE")]
    pub(crate) api_password_file: Option<PathBuf>,
    /// A network whose proxies are believed when they say who asks; repeat for more
    #[arg(long, value_name = "CIDR")]
    pub(crate) api_proxy: Vec<IpNet>,
    /// Where downloads go, at the first start [default: the current directory]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Where to listen for peers; PORT alone is all addresses [default: all addresses, a port from
    /// 6881 or any free one]
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_listen)]
    pub(crate) listen: Option<ListenAddr>,
    /// Where the daemon keeps its torrents and settings [default: $BT_HOME, or bt in
    /// $XDG_STATE_HOME]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) discovery: DiscoveryArgs,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
}

fn parse_limit(text: &str) -> Result<Limit, String> {
    match text {
        "none" => Ok(Limit(None)),
        rate => parse_rate(rate).map(|rate| Limit(Some(rate))),
    }
}
