//! `bt daemon`: run a daemon until stopped.
//!
//! Decides: what a signal does, and the errors of a start.
//! Must not know: torrents, HTTP, where a setting was written.
//! Invariant: the ready line is printed after the sockets are bound and the state is loaded. A
//! configuration that cannot be used changes nothing of a daemon that runs.

use crate::args::DaemonArgs;
use crate::daemon_config;
use crate::exit::{self, Exit, Failure, Outcome};
use crate::json::{Event, Ready};
use crate::output::Output;
use crate::signals::{Hangup, Stop};
use crate::supervisor;
use bt_daemon::{Daemon, DaemonError};
use std::time::Duration;
use tokio::task::LocalSet;

/// How long the end may take: trackers are told, and what is known is stored.
const STOP_TIME: Duration = Duration::from_secs(30);

pub(crate) async fn run(args: DaemonArgs, output: &Output) -> Outcome {
    LocalSet::new().run_until(run_local(args, output)).await
}

async fn run_local(args: DaemonArgs, output: &Output) -> Outcome {
    let stop = Stop::listen(Hangup::GoesOn).map_err(anyhow::Error::from)?;
    let config = daemon_config::make(&args)?;
    if args.check_config {
        Daemon::check(&config).map_err(failure)?;
        output.line(format_args!("the configuration is valid"));
        return Ok(());
    }
    let daemon = Daemon::start(config).await.map_err(failure)?;
    let listen = daemon.peer_addrs();
    output.event(&Event::Ready(Ready::Daemon { api: daemon.url(), listen: &listen }));
    output.line(format_args!("ready: {}", daemon.url()));
    supervisor::ready();
    let mut beat = tokio::time::interval(supervisor::alive_every());
    loop {
        tokio::select! {
            () = stop.asked() => break,
            () = daemon.asked_to_stop() => break,
            () = stop.hung_up() => reload(&daemon, &args, output).await,
            _ = beat.tick() => {
                // A supervisor that hears nothing starts us again.
                if daemon.is_alive() {
                    supervisor::alive(&daemon.status());
                }
            }
        }
    }
    supervisor::stopping(STOP_TIME);
    daemon.stop().await;
    output.event(&Event::Stopped { reason: None });
    Ok(())
}

/// Reads the configuration again. What is wrong with it is said, and the earlier one holds.
async fn reload(daemon: &Daemon, args: &DaemonArgs, output: &Output) {
    supervisor::reloading();
    let reloaded = match daemon_config::make_again(args) {
        Ok(config) => daemon.reload(config).await.map_err(failure),
        Err(failure) => Err(failure),
    };
    match reloaded {
        Ok(()) => output.note(format_args!("the configuration was read again")),
        Err(failure) => {
            output.note(format_args!("the earlier configuration holds: {}", failure.message));
        }
    }
    supervisor::ready();
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
        DaemonError::Tls(_) => Failure::new(Exit::Input, "tls", error),
        DaemonError::IpFilter(_) => Failure::new(Exit::Input, "ip_filter", error),
        DaemonError::Settings(_) => Failure::new(Exit::Usage, "config", error),
        DaemonError::Tokens(_) => Failure::new(Exit::Disk, "state", error),
        DaemonError::Session(_) | DaemonError::Random(_) => {
            Failure::from(anyhow::Error::from(error))
        }
    }
}
