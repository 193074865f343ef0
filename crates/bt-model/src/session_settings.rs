//! Defines what a user wants of all torrents of a session together.
//!
//! Decides: the settings and their defaults. Must not know: how a setting is carried out.
//! Invariant: the same settings, given again, change nothing. Each can change while the session
//! runs.

use crate::settings::Rates;

/// What a user wants of a whole session.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(default))]
pub struct SessionSettings {
    /// The rate limits of all torrents together.
    pub limits: Rates,
    /// Most connections of all torrents together; `None` means 500. More connections than that
    /// stay, and no further ones are made.
    pub connections_max: Option<u32>,
    /// Most connections of one torrent; `None` means 100. A torrent's own
    /// [`TorrentSettings::peers_max`](crate::TorrentSettings::peers_max) counts if it is lower.
    pub peers_max: Option<u32>,
    /// Whether torrents that are not private find peers by the DHT (BEP 5), if the session has a
    /// node. The node answers other nodes in any case.
    pub dht: bool,
    /// Whether torrents that are not private find peers on the local network (BEP 14).
    pub lsd: bool,
    /// Whether torrents that are not private exchange peers with their peers (BEP 11).
    pub pex: bool,
}

impl Default for SessionSettings {
    /// Returns no rate limit; peers come from the DHT and from other peers, besides trackers and
    /// the user.
    fn default() -> SessionSettings {
        SessionSettings {
            limits: Rates::default(),
            connections_max: None,
            peers_max: None,
            dht: true,
            lsd: false,
            pex: true,
        }
    }
}

#[cfg(all(test, feature = "serde"))]
mod tests {
    use super::*;

    #[test]
    fn settings_are_stored_and_what_is_missing_is_the_default() {
        let settings = SessionSettings {
            limits: Rates { up: None, down: Some(7) },
            connections_max: Some(50),
            dht: false,
            ..SessionSettings::default()
        };
        let text = serde_json::to_string(&settings).expect("values");
        let expected = concat!(
            r#"{"limits":{"up":null,"down":7},"connections_max":50,"peers_max":null,"#,
            r#""dht":false,"lsd":false,"pex":true}"#
        );
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<SessionSettings>(&text).expect("the same"), settings);
        let some: SessionSettings = serde_json::from_str(r#"{"lsd":true}"#).expect("defaults");
        assert_eq!(some, SessionSettings { lsd: true, ..SessionSettings::default() });
    }
}
