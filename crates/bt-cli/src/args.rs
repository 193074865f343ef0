//! The command line, as clap reads it: the flat verbs of the contract and their options.
//!
//! Decides: names, defaults and help of options.
//! Must not know: what a command does.
//! Invariant: an option that is accepted has an effect.

mod remote;

pub(crate) use remote::{
    AddArgs, ApiArgs, DaemonArgs, IdsArgs, ImportArgs, InfoArgs, MoveArgs, Order, OtherClient,
    RemoveArgs, SetArgs, USUAL_API, UndoArgs, WatchArgs, WhyArgs,
};

use crate::addresses::{ListenAddr, PeerAddr, parse_host_port, parse_listen, parse_peer};
use crate::units::{parse_duration, parse_piece_length, parse_rate, parse_size};
use bt_types::InfoHash;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// Create, share, download and track torrents.
#[derive(Debug, Parser)]
#[command(name = "bt", version, propagate_version = true, disable_help_subcommand = true)]
#[command(after_help = "`bt help exit-codes` explains the exit codes.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How results and progress are shown.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Print JSON on standard output, one object per line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How to show progress
    #[arg(long, global = true, value_enum, default_value_t = ProgressMode::Auto, value_name = "MODE")]
    pub(crate) progress: ProgressMode,
    /// Print only results and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Log more to standard error (-v, -vv)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// How progress is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum ProgressMode {
    /// Bars on a terminal, plain lines elsewhere
    Auto,
    /// Live bars
    Bar,
    /// One line every ten seconds or ten per cent
    Plain,
    /// Nothing
    None,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the whole story on this machine: a tracker, a seeder, leechers, every copy verified
    #[command(after_help = "Examples:\n  bt demo\n  bt demo holiday/ --leechers 5 --keep")]
    Demo(DemoArgs),
    /// Make a .torrent of a file or directory
    #[command(
        after_help = "Examples:\n  bt create holiday/ -a udp://tracker.example:6969/announce\n  bt create film.mkv --piece-length 4M --private -o film.torrent"
    )]
    Create(CreateArgs),
    /// Describe a torrent or a magnet link
    #[command(
        after_help = "Examples:\n  bt show holiday.torrent --files\n  bt show --json 'magnet:?xt=urn:btih:…'"
    )]
    Show(ShowArgs),
    /// Check data against a torrent and name what is bad
    #[command(
        after_help = "Examples:\n  bt verify holiday.torrent\n  bt verify holiday.torrent /mnt/backup"
    )]
    Verify(VerifyArgs),
    /// Download torrents, then exit
    #[command(visible_alias = "download")]
    #[command(
        after_help = "Examples:\n  bt get holiday.torrent -d downloads\n  bt get 'magnet:?xt=urn:btih:…' --select '*.jpg' --seed-ratio 1.5\n  bt get holiday.torrent --listen 6881 --peer seedbox.example:6881 --timeout 10m"
    )]
    Get(GetArgs),
    /// Check data and seed it until stopped
    #[command(
        after_help = "Examples:\n  bt seed holiday/\n  bt seed holiday.torrent -d /mnt/data --up 2MiB/s"
    )]
    Seed(SeedArgs),
    /// Run a tracker
    #[command(
        after_help = "Examples:\n  bt tracker\n  bt tracker --udp 0.0.0.0:6969 --interval 10m"
    )]
    Tracker(TrackerArgs),
    /// Run a daemon that programs and pages drive over HTTP
    #[command(
        after_help = "Examples:\n  bt daemon\n  bt daemon --dir /srv/downloads --state /var/lib/bt --api 127.0.0.1:9091"
    )]
    Daemon(DaemonArgs),
    /// Add torrents to a daemon
    #[command(
        after_help = "Examples:\n  bt add holiday.torrent\n  bt add 'magnet:?xt=urn:btih:…' --category film --stopped"
    )]
    Add(AddArgs),
    /// Describe a torrent of a daemon
    #[command(after_help = "Examples:\n  bt info 3\n  bt info holiday --files --peers")]
    Info(InfoArgs),
    /// Stop torrents of a daemon
    #[command(after_help = "Examples:\n  bt pause 3\n  bt pause holiday 3059b465")]
    Pause(IdsArgs),
    /// Start torrents of a daemon
    #[command(after_help = "Examples:\n  bt resume 3\n  bt resume holiday 3059b465")]
    Resume(IdsArgs),
    /// Hash all data of a daemon's torrents again
    #[command(after_help = "Examples:\n  bt check 3\n  bt check holiday")]
    Check(IdsArgs),
    /// Remove torrents from a daemon; their data stays unless --with-data is given
    #[command(after_help = "Examples:\n  bt remove 3\n  bt remove holiday --with-data")]
    Remove(RemoveArgs),
    /// Change limits, order, category and labels of a daemon's torrents
    #[command(
        after_help = "Examples:\n  bt set 3 --down 2MiB/s --up none\n  bt set holiday --category film --label new --order sequential"
    )]
    Set(SetArgs),
    /// Move the data of a daemon's torrent to another directory
    #[command(after_help = "Examples:\n  bt move 3 /srv/films\n  bt move holiday /mnt/photos")]
    Move(MoveArgs),
    /// Say why torrents of a daemon, of `bt get` and of `bt seed` are slow or wait, and what would
    /// help
    #[command(after_help = "Examples:\n  bt why\n  bt why 3\n  bt why --state /srv/bt")]
    Why(WhyArgs),
    /// Take back the last removal without data, move or change of a daemon
    #[command(after_help = "Examples:\n  bt undo\n  bt undo --api http://nas.example:9091")]
    Undo(UndoArgs),
    /// Import all torrents of another client into a daemon, with their data as it is
    #[command(
        after_help = "Examples:\n  bt import qbittorrent ~/.local/share/qBittorrent/BT_backup --dry-run\n  bt import transmission ~/.config/transmission-daemon"
    )]
    Import(ImportArgs),
    /// Watch the torrents of a daemon
    #[command(after_help = "Examples:\n  bt watch\n  bt watch downloading")]
    Watch(WatchArgs),
    /// Announce to a torrent's trackers once and print what they say
    #[command(
        after_help = "Examples:\n  bt announce holiday.torrent\n  bt announce 'magnet:?xt=urn:btih:…&tr=udp://tracker.example:6969'"
    )]
    Announce(AnnounceArgs),
    /// Ask a torrent's trackers for the size of its swarm
    #[command(
        after_help = "Examples:\n  bt scrape holiday.torrent\n  bt scrape --json 'magnet:?xt=urn:btih:…&tr=udp://tracker.example:6969'"
    )]
    Scrape(AskArgs),
    /// Talk to the DHT, or run a node of it
    #[command(
        after_help = "Examples:\n  bt dht node --listen 0.0.0.0:6881\n  bt dht get-peers HASH --dht-bootstrap 192.0.2.1:6881"
    )]
    Dht(DhtArgs),
    /// List the torrents of a daemon, or with --state the downloads that are remembered
    #[command(after_help = "Examples:\n  bt list downloading\n  bt list --state /srv/bt --json")]
    List(ListArgs),
    /// Forget downloads that are remembered; their data stays
    #[command(after_help = "Examples:\n  bt forget holiday\n  bt forget 3059b465 --state /srv/bt")]
    Forget(ForgetArgs),
    /// Print the magnet link of a torrent
    #[command(
        after_help = "Examples:\n  bt magnet holiday.torrent\n  bt magnet https://site.example/holiday.torrent"
    )]
    Magnet(MagnetArgs),
    /// Print a completion script for a shell
    #[command(
        after_help = "Examples:\n  bt completions bash > ~/.local/share/bash-completion/completions/bt\n  bt completions fish > ~/.config/fish/completions/bt.fish"
    )]
    Completions(CompletionsArgs),
    /// Write the man pages into a directory
    #[command(
        after_help = "Examples:\n  bt man ~/.local/share/man/man1\n  bt man . && man ./bt-get.1"
    )]
    Man(ManArgs),
    /// Print help, for a command or on `exit-codes`
    Help(HelpArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// What to share; generated data if not given
    pub(crate) path: Option<PathBuf>,
    /// Amount of generated data
    #[arg(long, value_parser = parse_size, default_value = "64MiB")]
    pub(crate) size: u64,
    /// Number of downloaders
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=50))]
    pub(crate) leechers: u8,
    /// The seeder's upload limit, so that sharing shows
    #[arg(long, value_parser = parse_rate, default_value = "16MiB/s", value_name = "RATE")]
    pub(crate) up: u64,
    /// Keep the copies, and print where they are
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The file or directory
    pub(crate) path: PathBuf,
    /// Where to write [default: NAME.torrent in the current directory]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// A tracker; repeat for further tiers, separate by commas within a tier
    #[arg(short, long, value_name = "URL")]
    pub(crate) announce: Vec<String>,
    /// Bytes per piece, a power of two, as 256K or 4M [default: chosen by the size]
    #[arg(long, value_parser = parse_piece_length, value_name = "SIZE")]
    pub(crate) piece_length: Option<u64>,
    /// Set the private flag: no DHT, PEX or local discovery
    #[arg(long)]
    pub(crate) private: bool,
    /// A web server that has the data; repeat for more
    #[arg(long, value_name = "URL")]
    pub(crate) web_seed: Vec<String>,
    /// Value of the `source` field; changes the info-hash
    #[arg(long)]
    pub(crate) source: Option<String>,
    /// Free text
    #[arg(long)]
    pub(crate) comment: Option<String>,
    /// Leave out files and directories: names, or globs; repeat for more
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    /// Do not record when it was made
    #[arg(long)]
    pub(crate) no_date: bool,
    /// Another name than that of the file or directory
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Overwrite an existing file
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// A .torrent file, `-`, an http(s) URL, a magnet link or an info-hash
    pub(crate) source: OsString,
    /// List the files
    #[arg(long)]
    pub(crate) files: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// A .torrent file
    pub(crate) torrent: OsString,
    /// Where the data is: the directory that contains it, or the data itself
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
}

/// Options of `get` and `seed` about the network and state.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Network and state")]
pub(crate) struct NetArgs {
    /// Where to listen for peers; PORT alone is all addresses [default: all addresses, a port from
    /// 6881 or any free one]
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_listen)]
    pub(crate) listen: Option<ListenAddr>,
    /// A peer to connect to; repeat for more
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_peer)]
    pub(crate) peer: Vec<PeerAddr>,
    /// Upload limit, as 500KiB/s or 2MB/s
    #[arg(long, value_parser = parse_rate, value_name = "RATE")]
    pub(crate) up: Option<u64>,
    /// Download limit, as 500KiB/s or 2MB/s
    #[arg(long, value_parser = parse_rate, value_name = "RATE")]
    pub(crate) down: Option<u64>,
    /// Where progress is remembered [default: $BT_HOME, or bt in $XDG_STATE_HOME]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// A file with addresses of peers that nothing is to do with: P2P text, eMule's format or
    /// networks, also as gzip; repeat for more
    #[arg(long, value_name = "FILE")]
    pub(crate) ip_filter: Vec<PathBuf>,
    /// Ignore saved progress and save none; what is saved of these downloads is forgotten
    #[arg(long)]
    pub(crate) no_resume: bool,
    #[command(flatten)]
    pub(crate) discovery: DiscoveryArgs,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
}

/// Where peers come from besides trackers. Private torrents use none of these.
#[derive(Clone, Debug, Args)]
pub(crate) struct DiscoveryArgs {
    /// Do not look for peers in the DHT
    #[arg(long, env = "BT_NO_DHT", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) no_dht: bool,
    /// A DHT node to begin at, in place of the public ones; repeat for more
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_host_port, conflicts_with = "no_dht")]
    pub(crate) dht_bootstrap: Vec<String>,
    /// Do not ask peers for other peers, and tell them of none
    #[arg(long, env = "BT_NO_PEX", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) no_pex: bool,
    /// Do not look for peers on the local network
    #[arg(long, env = "BT_NO_LSD", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) no_lsd: bool,
}

/// Whom to trust over HTTPS.
#[derive(Clone, Debug, Args)]
pub(crate) struct TrustArgs {
    /// Certificates in PEM to trust for HTTPS, besides the ones that browsers trust; repeat for
    /// more
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// .torrent files, `-`, http(s) URLs, magnet links, info-hashes, or files of links
    #[arg(required = true)]
    pub(crate) source: Vec<OsString>,
    /// Where to download to
    #[arg(short, long, default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Download only these files: names, directories or globs, with or without the torrent's name;
    /// repeat for more
    #[arg(long, value_name = "GLOB")]
    pub(crate) select: Vec<String>,
    /// Seed after the download until stopped
    #[arg(long)]
    pub(crate) seed: bool,
    /// Seed until this share ratio
    #[arg(long, value_name = "RATIO", value_parser = parse_ratio)]
    pub(crate) seed_ratio: Option<f64>,
    /// Seed after the download for this time
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) seed_time: Option<Duration>,
    /// Give up after this time without progress [default: wait]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
    /// Fetch the .torrent file that a magnet link stands for, and nothing else
    #[arg(long)]
    pub(crate) metadata_only: bool,
    /// Where to write it [default: NAME.torrent in the current directory]
    #[arg(short, long, value_name = "FILE", requires = "metadata_only")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) net: NetArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SeedArgs {
    /// .torrent files, or files and directories to make torrents of
    #[arg(required = true)]
    pub(crate) path: Vec<PathBuf>,
    /// Where the data is [default: the current directory, or beside what a torrent is made of]
    #[arg(short, long)]
    pub(crate) dir: Option<PathBuf>,
    /// A tracker for torrents that are made
    #[arg(short, long, value_name = "URL")]
    pub(crate) announce: Vec<String>,
    /// Trust the data without hashing it
    #[arg(long)]
    pub(crate) no_check: bool,
    #[command(flatten)]
    pub(crate) net: NetArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TrackerArgs {
    /// Serve UDP here; repeat for more [default: 0.0.0.0:6969 and `[::]:6969`, unless --http is
    /// given]
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_listen)]
    pub(crate) udp: Vec<ListenAddr>,
    /// Serve HTTP here; repeat for more [default: 0.0.0.0:6969 and `[::]:6969`, unless --udp is
    /// given]
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_listen)]
    pub(crate) http: Vec<ListenAddr>,
    /// How often peers shall announce
    #[arg(long, value_name = "TIME", value_parser = parse_interval, default_value = "30m")]
    pub(crate) interval: Duration,
    /// Threads that answer UDP; each owns a part of the torrents [default: as many as processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: Option<u16>,
    /// Memory for torrents and peers; when it is used up, the subscriber that has most gives way
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "512MiB")]
    pub(crate) memory: u64,
}

#[derive(Debug, Args)]
pub(crate) struct AskArgs {
    /// A .torrent file, `-`, an http(s) URL, a magnet link or an info-hash
    pub(crate) source: OsString,
    /// How long to wait for each tracker
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "15s")]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DhtArgs {
    #[command(subcommand)]
    pub(crate) verb: DhtVerb,
    /// Where to listen (UDP); repeat for the other address family [default: any port; for `node`
    /// 6881]
    #[arg(long, global = true, value_name = "ADDR:PORT", value_parser = parse_listen)]
    pub(crate) listen: Vec<ListenAddr>,
    /// A node to begin at; repeat for more
    #[arg(long, global = true, value_name = "HOST:PORT", value_parser = parse_host_port)]
    pub(crate) dht_bootstrap: Vec<String>,
    /// How long to wait for the first node
    #[arg(long, global = true, value_name = "TIME", value_parser = parse_duration, default_value = "15s")]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DhtVerb {
    /// Ask whether there is a node at an address
    #[command(
        after_help = "Examples:\n  bt dht ping 192.0.2.1:6881\n  bt dht ping --json '[2001:db8::1]:6881'"
    )]
    Ping {
        /// The node
        #[arg(value_name = "HOST:PORT", value_parser = parse_peer)]
        addr: PeerAddr,
    },
    /// Find the peers of a torrent
    #[command(
        after_help = "Examples:\n  bt dht get-peers HASH\n  bt dht get-peers HASH --announce 6881"
    )]
    GetPeers {
        /// The info-hash, 40 hex digits
        #[arg(value_name = "HASH", value_parser = parse_hash)]
        hash: InfoHash,
        /// Announce a peer of this machine at this port
        #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
        announce: Option<u16>,
        /// Count all peers, also those that are not told (BEP 33)
        #[arg(long)]
        scrape: bool,
    },
    /// Fetch an item
    #[command(
        after_help = "Examples:\n  bt dht get TARGET\n  bt dht get TARGET --salt news --json"
    )]
    Get {
        /// Where it is stored, 40 hex digits
        #[arg(value_parser = parse_hash)]
        target: InfoHash,
        /// The salt of a mutable item
        #[arg(long, value_name = "TEXT")]
        salt: Option<String>,
    },
    /// Store a text
    #[command(
        after_help = "Examples:\n  bt dht put 'a text of up to 1000 bytes'\n  bt dht put 'news of today' --key my.key --salt news"
    )]
    Put {
        /// The text
        value: String,
        /// Sign it with the key in this file, 64 hex digits, made if there is none: then it can be
        /// replaced
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// What sets several items of one key apart
        #[arg(long, value_name = "TEXT", requires = "key")]
        salt: Option<String>,
        /// The version [default: one more than the newest that is found]
        #[arg(long, requires = "key", value_parser = clap::value_parser!(i64).range(0..))]
        seq: Option<i64>,
    },
    /// Run a node until stopped: others can begin at it
    #[command(
        after_help = "Examples:\n  bt dht node\n  bt dht node --listen 0.0.0.0:6881 --listen '[::]:6881'"
    )]
    Node,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Torrents in this state, or with this in their name
    #[arg(conflicts_with = "state")]
    pub(crate) filter: Option<String>,
    /// List what is remembered, here or in this directory [default: $BT_HOME, or bt in
    /// $XDG_STATE_HOME]
    #[arg(long, value_name = "DIR", num_args = 0..=1)]
    pub(crate) state: Option<Option<PathBuf>>,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    /// Names, or info-hashes or how they begin, as `bt list --state` prints them
    #[arg(required = true, value_name = "TORRENT")]
    pub(crate) torrent: Vec<String>,
    /// Where downloads are remembered [default: $BT_HOME, or bt in $XDG_STATE_HOME]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct AnnounceArgs {
    #[command(flatten)]
    pub(crate) ask: AskArgs,
    /// Let a daemon announce this torrent of its own: a number of `bt list`, how an info-hash
    /// begins, or a name
    #[arg(long, value_name = "URL")]
    pub(crate) api: Option<Url>,
}

#[derive(Debug, Args)]
pub(crate) struct MagnetArgs {
    /// A .torrent file, `-`, an http(s) URL, a magnet link or an info-hash
    pub(crate) source: OsString,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Where to; it is created if it is not there
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct HelpArgs {
    /// A command, or `exit-codes`
    pub(crate) topic: Option<String>,
}

fn parse_hash(text: &str) -> Result<InfoHash, String> {
    InfoHash::from_hex(text).ok_or_else(|| "it has 40 hex digits".into())
}

/// Parses the announce interval: with 0 peers would flood the tracker.
fn parse_interval(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        interval if interval < Duration::from_secs(1) => {
            Err("an interval is 1s at least; 30m is usual".into())
        }
        interval => Ok(interval),
    }
}

fn parse_ratio(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(ratio) if ratio.is_finite() && ratio >= 0.0 => Ok(ratio),
        _ => Err("a ratio is a number like 1.5".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn without_examples(command: &clap::Command) -> Vec<String> {
        let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let count = examples.lines().filter(|line| line.starts_with("  bt ")).count();
        let own =
            (count < 2 && command.get_name() != "help").then(|| command.get_name().to_owned());
        own.into_iter().chain(command.get_subcommands().flat_map(without_examples)).collect()
    }

    #[test]
    fn each_command_shows_two_examples() {
        assert_eq!(without_examples(&Cli::command()), ["bt"], "the first page lists the commands");
    }
}
