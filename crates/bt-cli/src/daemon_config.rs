//! The configuration of `bt daemon`: options over the environment over the file.
//!
//! Decides: which of these counts, and where the file is.
//! Must not know: what a daemon does with it.
//! Invariant: the file is read only. What it says and is not valid is an error that names the file.

use crate::addresses::{ListenAddr, parse_listen};
use crate::args::DaemonArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::transfer;
use crate::units::parse_rate;
use bt_api::merge_settings;
use bt_daemon::{
    ApiAddr, ConfigFile, DaemonConfig, Hooks, HttpConfig, Reloadable, TlsFiles, WatchFolder,
    setting_of_text, settings_of_variables,
};
use bt_session::SessionConfig;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where the file is if nothing says so and the user has none.
const SYSTEM: &str = "/etc/bt/config.toml";
/// The user's name for the APIs.
const USER: &str = "bt";

/// Makes the configuration.
pub(crate) fn make(args: &DaemonArgs) -> Outcome<DaemonConfig> {
    let file = File::read(args)?;
    let at_first = std::env::current_dir().map_err(anyhow::Error::from)?;
    let state = args.state.as_deref().or(file.says.state.as_deref());
    let mut discovery = args.discovery.clone();
    discovery.no_dht |= file.says.no_dht;
    if discovery.dht_bootstrap.is_empty() {
        discovery.dht_bootstrap = file.says.dht_bootstrap.clone();
    }
    let mut trust = args.trust.clone();
    if trust.ca.is_empty() {
        trust.ca = file.says.ca.clone();
    }
    let roots = trust.roots()?;
    let listen = file.parse("listen", file.says.listen.as_deref(), parse_listen)?;
    let session = SessionConfig {
        listen: args.listen.or(listen).map(ListenAddr::for_session),
        extra_roots: roots.clone(),
        dht: transfer::dht(&discovery),
        ..SessionConfig::default()
    };
    let reloadable = reloadable(args, &file)?;
    let dir = dir(args, &file)?;
    let api = file.parse("api", file.says.api.as_deref(), ApiAddr::from_str)?;
    let base = file.says.api_base_path.as_deref();
    let base = file.parse("api_base_path", base, FromStr::from_str)?;
    let defaults = DaemonConfig::new(transfer::state_dir(state)?, dir.unwrap_or(at_first));
    Ok(DaemonConfig {
        api: args.http.api.clone().or(api).unwrap_or(defaults.api),
        tls: tls(args, &file)?,
        base_path: args.http.api_base_path.clone().or(base).unwrap_or_default(),
        session,
        extra_roots: roots,
        reloadable,
        ..defaults
    })
}

/// Makes anew what can change while the daemon runs.
pub(crate) fn make_again(args: &DaemonArgs) -> Outcome<Reloadable> {
    reloadable(args, &File::read(args)?)
}

fn reloadable(args: &DaemonArgs, file: &File) -> Outcome<Reloadable> {
    let http = &args.http;
    let says = &file.says;
    let password = http.api_password_file.as_deref().or(says.api_password_file.as_deref());
    let or = |own: &Option<String>, file: &[String]| match own {
        Some(program) => vec![program.clone()],
        None => file.to_vec(),
    };
    let watched = |dir: &PathBuf| {
        let dir = std::path::absolute(dir).map_err(anyhow::Error::from)?;
        let labels = Default::default();
        let (to, category) = (None, String::new());
        Ok(WatchFolder { dir, to, category, labels, stopped: false, delete: false })
    };
    let watch = match args.watch.is_empty() {
        true => says.watch.clone(),
        false => args.watch.iter().map(watched).collect::<Outcome<_>>()?,
    };
    Ok(Reloadable {
        http: HttpConfig {
            hosts: or_file(&http.api_host, &says.api_host),
            user: http.api_user.clone().or(says.api_user.clone()).unwrap_or_else(|| USER.into()),
            password: password.map(read_password).transpose()?,
            proxies: or_file(&http.api_proxy, &says.api_proxy),
        },
        settings: settings(args, file)?,
        watch,
        ip_filter: or_file(&args.ip_filter, &says.ip_filter),
        hooks: Hooks {
            added: or(&args.on_added, &says.hooks.added),
            done: or(&args.on_done, &says.hooks.done),
            done_seeding: or(&args.on_done_seeding, &says.hooks.done_seeding),
        },
    })
}

/// Returns the settings that hold whatever an API set before.
fn settings(args: &DaemonArgs, file: &File) -> Outcome<Value> {
    let says = &file.says;
    let mut patch = says.settings.clone();
    let rate = |name, text: &Option<String>| file.parse(name, text.as_deref(), parse_rate);
    let no_pex = args.discovery.no_pex || says.no_pex;
    let no_lsd = args.discovery.no_lsd || says.no_lsd;
    let own = [
        (args.up.or(rate("up", &says.up)?)).map(|up| json!({"session": {"limits": {"up": up}}})),
        (args.down.or(rate("down", &says.down)?))
            .map(|down| json!({"session": {"limits": {"down": down}}})),
        no_pex.then(|| json!({"session": {"pex": false}})),
        no_lsd.then(|| json!({"session": {"lsd": false}})),
        dir(args, file)?.map(|dir| json!({ "dir": dir })),
    ];
    own.iter().flatten().for_each(|own| merge_settings(&mut patch, own));
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
    });
    let variables = settings_of_variables(variables).map_err(Failure::usage)?;
    if !variables.is_null() {
        merge_settings(&mut patch, &variables);
    }
    for text in &args.set {
        let own =
            setting_of_text(text).map_err(|why| Failure::usage(format!("--set {text}: {why}")))?;
        merge_settings(&mut patch, &own);
    }
    Ok(patch)
}

fn dir(args: &DaemonArgs, file: &File) -> Outcome<Option<PathBuf>> {
    let dir = args.dir.as_ref().or(file.says.dir.as_ref()).map(std::path::absolute);
    Ok(dir.transpose().map_err(anyhow::Error::from)?)
}

fn tls(args: &DaemonArgs, file: &File) -> Outcome<Option<TlsFiles>> {
    let cert = args.http.api_tls_cert.clone().or(file.says.api_tls_cert.clone());
    let key = args.http.api_tls_key.clone().or(file.says.api_tls_key.clone());
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert, key })),
        (None, None) => Ok(None),
        _ => Err(Failure::usage("--api-tls-cert and --api-tls-key go together")),
    }
}

fn or_file<T: Clone>(own: &[T], file: &[T]) -> Vec<T> {
    if own.is_empty() { file.to_vec() } else { own.to_vec() }
}

/// The configuration file.
struct File {
    /// Where it is; `None` where there is none.
    path: Option<PathBuf>,
    says: ConfigFile,
}

impl File {
    fn read(args: &DaemonArgs) -> Outcome<File> {
        let Some(path) = args.config.clone().or_else(usual) else {
            return Ok(File { path: None, says: ConfigFile::default() });
        };
        let path = std::path::absolute(path).map_err(anyhow::Error::from)?;
        let text = std::fs::read_to_string(&path).map_err(|error| unusable(&path, &error))?;
        let dir = path.parent().unwrap_or(Path::new("/"));
        let says = ConfigFile::parse(&text, dir).map_err(|why| unusable(&path, &why))?;
        Ok(File { path: Some(path), says })
    }

    fn parse<T, E: std::fmt::Display>(
        &self,
        key: &str,
        text: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Outcome<Option<T>> {
        let path = self.path.as_deref().unwrap_or(Path::new(""));
        text.map(parse).transpose().map_err(|why| unusable(path, &format!("`{key}`: {why}")))
    }
}

/// Returns the file that is read without `--config`, if it is there.
fn usual() -> Option<PathBuf> {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || var("HOME").map(|home| home.join(".config"));
    let own = var("XDG_CONFIG_HOME").or_else(home).map(|dir| dir.join("bt/config.toml"));
    own.into_iter().chain([PathBuf::from(SYSTEM)]).find(|path| path.exists())
}

fn unusable(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    let why = format!("the configuration in {} cannot be used: {why}", path.display());
    Failure::new(Exit::Usage, "config", why)
}

/// Reads the first line of a file.
fn read_password(path: &Path) -> Outcome<String> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let why = format!("cannot read the password in {}: {error}", path.display());
        Failure::new(Exit::Input, "password", why)
    })?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
