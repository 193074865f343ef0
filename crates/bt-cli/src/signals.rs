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
    /// Nothing but [`Stop::hung_up`]: a service outlives the terminal that started it.
    GoesOn,
}

/// Whether a signal asked us to stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Rc<Signals>);

#[derive(Debug, Default)]
struct Signals {
    is_asked: Cell<bool>,
    asked: Notify,
    /// The exit code of a second signal.
    code: Cell<i32>,
    /// SIGHUP came, where that does not stop.
    hung_up: Notify,
}

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
                        Hangup::GoesOn => {
                            task.0.hung_up.notify_one();
                            continue;
                        }
                    },
                }
                if task.0.is_asked.replace(true) {
                    std::process::exit(task.0.code.get());
                }
                task.0.asked.notify_waiters();
            }
        });
        Ok(stop)
    }

    /// Sets the exit code of a second signal.
    pub(crate) fn exit_with(&self, code: i32) {
        self.0.code.set(code);
    }

    /// Returns whether the first signal came.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.is_asked.get()
    }

    /// Waits for the first signal.
    pub(crate) async fn asked(&self) {
        while !self.is_asked() {
            self.0.asked.notified().await;
        }
    }

    /// Waits for SIGHUP, where that does not stop.
    pub(crate) async fn hung_up(&self) {
        self.0.hung_up.notified().await;
    }
}
