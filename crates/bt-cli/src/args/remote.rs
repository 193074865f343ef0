//! The options of `bt daemon`, and of the verbs that a daemon carries out.
//!
//! Decides: names, defaults and help of options.
//! Must not know: what a command does.
//! Invariant: an option that is accepted has an effect.

use super::{DiscoveryArgs, TrustArgs, parse_ratio};
use crate::addresses::{ListenAddr, parse_listen};
use crate::units::parse_rate;
use bt_daemon::{ApiAddr, BasePath};
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use std::path::PathBuf;
use url::Url;

/// Where the daemon is if nothing says so.
pub(crate) const USUAL_API: &str = "http://127.0.0.1:9091";

/// Where the daemon is.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Daemon")]
pub(crate) struct ApiArgs {
    /// The daemon's URL, as http://user:password@host:9091 or unix:/run/bt/api
    #[arg(
        long,
        value_name = "URL",
        env = "BT_API",
        default_value = USUAL_API,
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
    /// The daemon's URL: it is asked, and no other process unless --state is given [default: the
    /// daemon of this machine, and each `bt get` and `bt seed` of the state directory]
    #[arg(long, value_name = "URL", env = "BT_API", hide_env_values = true)]
    pub(crate) api: Option<Url>,
    /// Where the progress of `bt get` and `bt seed` is remembered [default: $BT_HOME, or bt in
    /// $XDG_STATE_HOME]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct UndoArgs {
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The other client
    pub(crate) client: OtherClient,
    /// Where it keeps its torrents: qBittorrent's BT_backup, or Transmission's configuration
    pub(crate) dir: PathBuf,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not start what is imported
    #[arg(long)]
    pub(crate) stopped: bool,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

/// A client whose torrents can be imported.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum OtherClient {
    /// qBittorrent 4 and 5, with resume data in files
    Qbittorrent,
    /// Transmission 2 to 4
    Transmission,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Torrents in this state, or with this in their name
    pub(crate) filter: Option<String>,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

/// Each option is a variable of the environment and a key of the configuration file, too.
#[derive(Debug, Args)]
pub(crate) struct DaemonArgs {
    /// The configuration file [default: bt/config.toml in $XDG_CONFIG_HOME, or
    /// /etc/bt/config.toml]
    #[arg(long, value_name = "FILE", env = "BT_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Read the configuration, say what is wrong with it, and exit
    #[arg(long)]
    pub(crate) check_config: bool,
    /// Where downloads go [default: at the first start the current directory]
    #[arg(short, long, value_name = "DIR", env = "BT_DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Where the daemon keeps its torrents and settings [default: $BT_HOME, or bt in
    /// $XDG_STATE_HOME]
    #[arg(long, value_name = "DIR", env = "BT_STATE")]
    pub(crate) state: Option<PathBuf>,
    /// Where to listen for peers; PORT alone is all addresses [default: all addresses, a port from
    /// 6881 or any free one]
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_listen, env = "BT_LISTEN")]
    pub(crate) listen: Option<ListenAddr>,
    /// Upload limit, as 500KiB/s or 2MB/s
    #[arg(long, value_parser = parse_rate, value_name = "RATE", env = "BT_UP")]
    pub(crate) up: Option<u64>,
    /// Download limit, as 500KiB/s or 2MB/s
    #[arg(long, value_parser = parse_rate, value_name = "RATE", env = "BT_DOWN")]
    pub(crate) down: Option<u64>,
    /// One of the settings of the API, as queue.downloads=5; repeat for more. In the environment
    /// it is BT_SETTINGS_QUEUE_DOWNLOADS
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// A directory whose torrent files are added; repeat for more
    #[arg(long, value_name = "DIR", env = "BT_WATCH", value_delimiter = ':')]
    pub(crate) watch: Vec<PathBuf>,
    /// A file with addresses of peers that nothing is to do with: P2P text, eMule's format or
    /// networks, also as gzip; repeat for more
    #[arg(long, value_name = "FILE", env = "BT_IP_FILTER", value_delimiter = ':')]
    pub(crate) ip_filter: Vec<PathBuf>,
    /// A program to run when a torrent was added
    #[arg(long, value_name = "PROGRAM", env = "BT_ON_ADDED")]
    pub(crate) on_added: Option<String>,
    /// A program to run when a torrent is complete
    #[arg(long, value_name = "PROGRAM", env = "BT_ON_DONE")]
    pub(crate) on_done: Option<String>,
    /// A program to run when a torrent reached a seed limit
    #[arg(long, value_name = "PROGRAM", env = "BT_ON_DONE_SEEDING")]
    pub(crate) on_done_seeding: Option<String>,
    #[command(flatten)]
    pub(crate) http: ApiServerArgs,
    #[command(flatten)]
    pub(crate) discovery: DiscoveryArgs,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
}

/// How the APIs and the page are served.
#[derive(Debug, Args)]
#[command(next_help_heading = "APIs and page")]
pub(crate) struct ApiServerArgs {
    /// Where to serve them, also unix:/PATH; without a password for this machine only [default:
    /// 127.0.0.1:9091]
    #[arg(long, value_name = "ADDR:PORT", env = "BT_DAEMON_API")]
    pub(crate) api: Option<ApiAddr>,
    /// A name that they are reached by, besides IP addresses and localhost; repeat for more
    #[arg(long, value_name = "NAME", env = "BT_API_HOST", value_delimiter = ',')]
    pub(crate) api_host: Vec<String>,
    /// The user's name [default: bt]
    #[arg(long, value_name = "NAME", env = "BT_API_USER")]
    pub(crate) api_user: Option<String>,
    /// A file with the password, or with its argon2 hash
    #[arg(long, value_name = "FILE", env = "BT_API_PASSWORD_FILE")]
    pub(crate) api_password_file: Option<PathBuf>,
    /// A network whose proxies are believed when they say who asks; repeat for more
    #[arg(long, value_name = "CIDR", env = "BT_API_PROXY", value_delimiter = ',')]
    pub(crate) api_proxy: Vec<IpNet>,
    /// What comes before all their paths, as /bt, for a proxy that passes it on
    #[arg(long, value_name = "PATH", env = "BT_API_BASE_PATH")]
    pub(crate) api_base_path: Option<BasePath>,
    /// A certificate in PEM, to serve them over TLS
    #[arg(long, value_name = "FILE", env = "BT_API_TLS_CERT")]
    pub(crate) api_tls_cert: Option<PathBuf>,
    /// The key of the certificate
    #[arg(long, value_name = "FILE", env = "BT_API_TLS_KEY")]
    pub(crate) api_tls_key: Option<PathBuf>,
}

fn parse_limit(text: &str) -> Result<Limit, String> {
    match text {
        "none" => Ok(Limit(None)),
        rate => parse_rate(rate).map(|rate| Limit(Some(rate))),
    }
}
