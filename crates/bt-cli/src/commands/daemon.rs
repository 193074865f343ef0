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
use std::path::Path;
use tokio::task::LocalSet;

pub(crate) async fn run(args: DaemonArgs, output: &Output) -> Outcome {
    LocalSet::new().run_until(run_local(args, output)).await
}

async fn run_local(args: DaemonArgs, output: &Output) -> Outcome {
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
        http: HttpConfig {
            hosts: args.api_host,
            user: args.api_user,
            password: args.api_password_file.as_deref().map(read_password).transpose()?,
            proxies: args.api_proxy,
        },
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

/// Reads the first line of a file.
fn read_password(path: &Path) -> Outcome<String> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let why = format!("cannot read the password in {}: {error}", path.display());
        Failure::new(Exit::Input, "password", why)
    })?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
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
        DaemonError::NoPassword(_) => Failure::usage(format!("{error} (--api-password-file FILE)")),
        DaemonError::Password(_) => Failure::new(Exit::Input, "password", error),
        DaemonError::Tokens(_) => Failure::new(Exit::Disk, "state", error),
        DaemonError::Session(_) | DaemonError::Random(_) => {
            Failure::from(anyhow::Error::from(error))
        }
    }
}
