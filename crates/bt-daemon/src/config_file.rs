//! The configuration file (TOML) and what the environment says of the settings.
//!
//! Decides: the keys, and what a value means.
//! Must not know: options, defaults, where the file is.
//! Invariant: a key that is not known is refused by name: nothing is accepted and ignored.

use crate::config::{Hooks, WatchFolder};
use bt_api::DaemonSettings;
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// How the names of variables begin that set one of the settings.
const VARIABLE: &str = "BT_SETTINGS_";
/// What stands for "no limit", as neither TOML nor the environment knows `null`.
const NONE: &str = "none";

/// What a configuration file says. Its keys are the options of `bt daemon`, with underscores.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConfigFile {
    /// Where the APIs are served.
    pub api: Option<String>,
    /// Names that the APIs are reached by.
    pub api_host: Vec<String>,
    /// The user's name.
    pub api_user: Option<String>,
    /// The file with the password.
    pub api_password_file: Option<PathBuf>,
    /// Networks whose proxies are believed.
    pub api_proxy: Vec<IpNet>,
    /// What comes before all paths.
    pub api_base_path: Option<String>,
    /// The certificate of the APIs.
    pub api_tls_cert: Option<PathBuf>,
    /// Its key.
    pub api_tls_key: Option<PathBuf>,
    /// Where data goes.
    pub dir: Option<PathBuf>,
    /// Where the state is kept.
    pub state: Option<PathBuf>,
    /// Where to listen for peers.
    pub listen: Option<String>,
    /// The limit to peers, as `500KiB/s`.
    pub up: Option<String>,
    /// The limit from peers, as `500KiB/s`.
    pub down: Option<String>,
    /// There is no DHT node.
    pub no_dht: bool,
    /// Peers are not exchanged.
    pub no_pex: bool,
    /// The local network is not asked.
    pub no_lsd: bool,
    /// Nodes of the DHT to begin at.
    pub dht_bootstrap: Vec<String>,
    /// Certificates to trust.
    pub ca: Vec<PathBuf>,
    /// Files with addresses that nothing is to do with.
    pub ip_filter: Vec<PathBuf>,
    /// Settings, with the keys of `/api/v1/settings`.
    pub settings: Value,
    /// Directories whose torrent files are added.
    pub watch: Vec<WatchFolder>,
    /// Programs that are run.
    pub hooks: Hooks,
}

impl ConfigFile {
    /// Reads the text of a file that lies in this directory: relative paths begin there.
    pub fn parse(text: &str, dir: &Path) -> Result<ConfigFile, String> {
        let mut file: ConfigFile = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            format!("line {line}: {}", error.message().replace('\n', ", "))
        })?;
        let paths = [
            &mut file.api_password_file,
            &mut file.api_tls_cert,
            &mut file.api_tls_key,
            &mut file.dir,
            &mut file.state,
        ];
        let paths = paths.into_iter().flatten().chain(&mut file.ca).chain(&mut file.ip_filter);
        let watched =
            file.watch.iter_mut().flat_map(|w| std::iter::once(&mut w.dir).chain(&mut w.to));
        for path in paths.chain(watched) {
            *path = dir.join(&path);
        }
        for folder in &file.watch {
            let category = &folder.category;
            if !category.is_empty() && !bt_api::is_category(category) {
                return Err(format!("watch: {category:?} cannot be a category"));
            }
            if let Some(tag) = folder.labels.iter().find(|tag| !bt_api::is_tag(tag)) {
                return Err(format!("watch: {tag:?} cannot be a label"));
            }
        }
        nulled(&mut file.settings);
        check_settings(&file.settings)?;
        Ok(file)
    }
}

/// Returns the merge patch that variables like `BT_SETTINGS_QUEUE_DOWNLOADS=5` make.
pub fn settings_of_variables(
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Value, String> {
    let mut patch = Value::Null;
    let paths = setting_paths();
    for (name, text) in variables {
        let Some(rest) = name.strip_prefix(VARIABLE) else { continue };
        let named = |path: &&Vec<String>| path.join("_").eq_ignore_ascii_case(rest);
        let path = paths.iter().find(named).ok_or_else(|| format!("there is no setting {name}"))?;
        set(&mut patch, path, value(&text));
    }
    check_settings(&patch).map(|()| patch)
}

/// Returns the merge patch of a change like `queue.downloads=5`.
pub fn setting_of_text(text: &str) -> Result<Value, String> {
    let (name, text) = text.split_once('=').ok_or("it has the form KEY=VALUE")?;
    let path: Vec<String> = name.trim().split('.').map(str::to_owned).collect();
    let mut patch = Value::Null;
    set(&mut patch, &path, value(text.trim()));
    check_settings(&patch).map(|()| patch)
}

/// Refuses what the settings do not have.
fn check_settings(patch: &Value) -> Result<(), String> {
    match patch {
        Value::Null => Ok(()),
        patch => DaemonSettings::default().with(patch).map(drop),
    }
}

/// Returns the paths of all settings that are a single value.
fn setting_paths() -> Vec<Vec<String>> {
    fn collect(value: &Value, path: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
        let Value::Object(object) = value else { return paths.push(path.clone()) };
        for (key, value) in object {
            path.push(key.clone());
            collect(value, path, paths);
            path.pop();
        }
    }
    let mut paths = Vec::new();
    let all = serde_json::to_value(DaemonSettings::default()).unwrap_or_default();
    collect(&all, &mut Vec::new(), &mut paths);
    paths
}

fn set(patch: &mut Value, path: &[String], value: Value) {
    let Some((key, rest)) = path.split_first() else {
        *patch = value;
        return;
    };
    if !patch.is_object() {
        *patch = Map::new().into();
    }
    if let Value::Object(object) = patch {
        set(object.entry(key.clone()).or_insert(Value::Null), rest, value);
    }
}

fn value(text: &str) -> Value {
    match text {
        NONE => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
    }
}

fn nulled(value: &mut Value) {
    match value {
        Value::String(text) if text == NONE => *value = Value::Null,
        Value::Object(object) => object.values_mut().for_each(nulled),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(text: &str) -> Result<ConfigFile, String> {
        ConfigFile::parse(text, Path::new("/etc/bt"))
    }

    #[test]
    fn a_file_says_what_the_options_say() {
        let text = r#"
            api = "0.0.0.0:9091"
            api_password_file = "password"
            api_proxy = ["10.0.0.0/8"]
            dir = "/srv/downloads"
            no_lsd = true
            [settings]
            start_added = false
            [settings.queue]
            downloads = 3
            seeds = "none"
            [[watch]]
            dir = "new"
            category = "film"
            delete = true
            [hooks]
            done = ["/usr/bin/logger", "%N is there"]
        "#;
        let file = parse(text).expect("a file");
        assert_eq!(file.api_password_file, Some("/etc/bt/password".into()));
        assert_eq!(file.dir, Some("/srv/downloads".into()));
        let queue = json!({"downloads": 3, "seeds": null});
        assert_eq!(file.settings, json!({"start_added": false, "queue": queue}));
        let [watch] = &file.watch[..] else { panic!("one folder") };
        assert_eq!((watch.dir.as_path(), watch.delete), (Path::new("/etc/bt/new"), true));
        assert_eq!(file.hooks.done, ["/usr/bin/logger", "%N is there"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("dirr = \"/srv\"", "unknown field `dirr`"),
            ("dir = 5", "line 1"),
            ("[settings.queue]\ndownloads = \"many\"", "many"),
            ("[settings]\nprogram = \"/bin/sh\"", "program"),
            ("[hooks]\ndone = \"rm -rf\"", "line 2"),
            ("api = ", "line 1"),
            ("[[watch]]\ndir = \"x\"\ncategory = \"../x\"", "category"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn variables_and_texts_set_settings() {
        let variables = |pairs: &[(&str, &str)]| {
            let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            settings_of_variables(pairs.iter().map(own).collect::<Vec<_>>())
        };
        let patch = variables(&[
            ("BT_SETTINGS_QUEUE_DOWNLOADS", "5"),
            ("BT_SETTINGS_SESSION_LIMITS_UP", "none"),
            ("BT_SETTINGS_INCOMPLETE_DIR", "/srv/part"),
            ("HOME", "/root"),
        ]);
        let expected = json!({
            "queue": {"downloads": 5},
            "session": {"limits": {"up": null}},
            "incomplete_dir": "/srv/part",
        });
        assert_eq!(patch, Ok(expected));
        assert!(variables(&[("BT_SETTINGS_NO_SUCH", "5")]).is_err());
        assert!(variables(&[("BT_SETTINGS_QUEUE_DOWNLOADS", "x")]).is_err());
        assert_eq!(setting_of_text("slow=true"), Ok(json!({"slow": true})));
        for wrong in ["slow", "slow=5", "no.such=1", "queue=3"] {
            assert!(setting_of_text(wrong).is_err(), "{wrong}");
        }
    }
}
