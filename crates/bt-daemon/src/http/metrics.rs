//! `/metrics` for Prometheus.
//!
//! Decides: which figures there are. None for a single torrent.
//! Must not know: how they are drawn.
//! Invariant: their number does not grow with the torrents.

use super::App;
use super::gate::Caller;
use crate::http::auth::Identity;
use crate::token::Scope;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use bt_api::DaemonState;
use bt_api::v1::row;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const STATES: [&str; 8] =
    ["downloading", "seeding", "metadata", "checking", "moving", "queued", "stopped", "failed"];

pub(super) fn router() -> Router<App> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(State(app): State<App>, Extension(caller): Extension<Caller>) -> Response {
    if !matches!(caller.identity, Identity::Known(scope) if scope >= Scope::Metrics) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let mut text = String::new();
    match encode(&mut text, &registry(&app.keeper.state())) {
        Ok(()) => ([(header::CONTENT_TYPE, KIND)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

type Label = Vec<(&'static str, &'static str)>;

fn registry(state: &DaemonState) -> Registry {
    let mut registry = Registry::with_prefix("bt");
    let torrents = Family::<Label, Gauge>::default();
    for name in STATES {
        torrents.get_or_create(&vec![("state", name)]).set(0);
    }
    for torrent in state.torrents() {
        let name = row(torrent).state.state;
        if let Some(name) = STATES.into_iter().find(|known| *known == name) {
            torrents.get_or_create(&vec![("state", name)]).inc();
        }
    }
    registry.register("torrents", "Torrents by state", torrents);
    let view = &state.session;
    let figure = |value: u64| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    for (name, help, value) in [
        ("peers", "Connections to peers", view.connections as u64),
        ("dials", "Dials under way", view.dials as u64),
        ("down_rate_bytes", "Payload bytes per second from peers", view.down_rate),
        ("up_rate_bytes", "Payload bytes per second to peers", view.up_rate),
        ("store_bytes", "Bytes of blocks that are not written yet", view.store_bytes),
        ("disk_orders", "Orders that wait for a disk thread", view.disk_orders as u64),
        (
            "dht_nodes",
            "Nodes of the DHT that are known",
            view.dht.map_or(0, |dht| dht.nodes as u64),
        ),
        ("free_space_bytes", "Bytes free where data goes", state.free_space.unwrap_or(0)),
    ] {
        registry.register(name, help, figure(value));
    }
    let (up, down) = (
        state.earlier.0.saturating_add(view.bytes_up),
        state.earlier.1.saturating_add(view.bytes_down),
    );
    registry.register("sent_bytes", "Payload bytes to peers, all runs", ConstCounter::new(up));
    registry.register(
        "received_bytes",
        "Payload bytes from peers, all runs",
        ConstCounter::new(down),
    );
    registry.register(
        "panics",
        "Bugs that ended something",
        ConstCounter::new(view.panics.total()),
    );
    let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The version", version);
    registry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_state() {
        let mut state = DaemonState::default();
        state.add(bt_types::InfoHash([1; 20]), bt_api::Record::default(), None);
        state.session.bytes_up = 5;
        state.earlier = (7, 0);
        let mut text = String::new();
        encode(&mut text, &registry(&state)).expect("text");
        for line in [
            "bt_torrents{state=\"stopped\"} 1",
            "bt_torrents{state=\"seeding\"} 0",
            "bt_sent_bytes_total 12",
            "bt_build_info{version=\"0.1.0\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
