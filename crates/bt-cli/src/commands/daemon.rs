//! `bt daemon`: run a daemon until stopped.
//!
//! Decides: the defaults of its directories, and the errors of a start.
//! Must not know: torrents, HTTP.
//! Invariant: the ready line is printed after the sockets are bound and the state is loaded.

use crate::addresses::ListenAddr;
use crate::args::DaemonArgs;
use crate::exit::{self, Exit, Failure, Outcome};
use crate::json::{Event, Ready};
use crate::output::Output;
use crate::signals::{Hangup, Stop};
use crate::transfer;
use bt_daemon::{Daemon, DaemonConfig, DaemonError, HttpConfig};
use bt_session::SessionConfig;
use tokio::task::LocalSet;

pub(crate) async fn run(args: DaemonArgs, output: &Output) -> Outcome {
    LocalSet::new().run_until(run_local(args, output)).await
}

async fn run_local(args: DaemonArgs, output: &Output) -> Outcome {
    if !args.api.ip().is_loopback() {
        return Err(Failure::usage(format!(
            "{} can be reached by others, and there is no password; serve on 127.0.0.1",
            args.api
        )));
    }
    let stop = Stop::listen(Hangup::GoesOn).map_err(anyhow::Error::from)?;
    let dir = std::path::absolute(args.dir.unwrap_or_else(|| ".".into()));
    let roots = args.trust.roots()?;
    let config = DaemonConfig {
        api: args.api,
        session: SessionConfig {
            listen: args.listen.map(ListenAddr::for_session),
            extra_roots: roots.clone(),
            dht: transfer::dht(&args.discovery),
            ..SessionConfig::default()
        },
        extra_roots: roots,
        http: HttpConfig { hosts: args.api_host },
        ..DaemonConfig::new(
            transfer::state_dir(args.state.as_deref())?,
            dir.map_err(anyhow::Error::from)?,
        )
    };
    let daemon = Daemon::start(config).await.map_err(failure)?;
    let api = format!("http://{}/", daemon.api_addr());
    let listen = daemon.peer_addrs();
    output.event(&Event::Ready(Ready::Daemon { api: &api, listen: &listen }));
    output.line(format_args!("ready: {api}"));
    tokio::select! {
        () = stop.asked() => {}
        () = daemon.asked_to_stop() => {}
    }
    daemon.stop().await;
    output.event(&Event::Stopped { reason: None });
    Ok(())
}

fn failure(error: DaemonError) -> Failure {
    match &error {
        DaemonError::Listen { source, .. } => {
            let advice = exit::listen_advice(source);
            Failure::new(Exit::Other, "cannot_listen", format!("{error}; {advice} with --api"))
        }
        DaemonError::Session(bt_session::StartError::Listen { source, .. }) => {
            let advice = exit::listen_advice(source);
            Failure::new(Exit::Other, "cannot_listen", format!("{error}; {advice} with --listen"))
        }
        DaemonError::InUse { .. } => Failure::new(Exit::Other, "in_use", error),
        DaemonError::State { .. } => Failure::new(Exit::Disk, "state", error),
        DaemonError::Session(_) | DaemonError::Random(_) => {
            Failure::from(anyhow::Error::from(error))
        }
    }
}
