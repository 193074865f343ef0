//! SIGINT, SIGTERM and SIGHUP: the first signal stops in good order, the second ends at once.
//!
//! Decides: the exit code of a second signal.
//! Must not know: what is being stopped.
//! Invariant: a user who presses Ctrl-C twice gets the prompt back.

use std::cell::Cell;
use std::rc::Rc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

/// What SIGHUP does: it comes when the terminal is closed, and from a supervisor that wants
/// configuration to be read again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hangup {
    /// The same as SIGTERM.
    Stops,
    /// Nothing: a service outlives the terminal that started it.
    GoesOn,
}

/// Whether a signal asked us to stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Rc<(Cell<bool>, Notify, Cell<i32>)>);

impl Stop {
    /// Listens for signals from now on. Must be called on a `LocalSet`.
    pub(crate) fn listen(hangup: Hangup) -> std::io::Result<Stop> {
        let stop = Stop::default();
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let mut hung_up = signal(SignalKind::hangup())?;
        let task = stop.clone();
        tokio::task::spawn_local(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hung_up.recv() => match hangup {
                        Hangup::Stops => {}
                        Hangup::GoesOn => continue,
                    },
                }
                let (asked, wake, code) = &*task.0;
                if asked.replace(true) {
                    std::process::exit(code.get());
                }
                wake.notify_waiters();
            }
        });
        Ok(stop)
    }

    /// Sets the exit code of a second signal.
    pub(crate) fn exit_with(&self, code: i32) {
        self.0.2.set(code);
    }

    /// Returns whether the first signal came.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.0.get()
    }

    /// Waits for the first signal.
    pub(crate) async fn asked(&self) {
        while !self.is_asked() {
            self.0.1.notified().await;
        }
    }
}
