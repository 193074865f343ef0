//! What a supervisor like systemd is told (`sd_notify(3)`).
//!
//! Decides: how often the watchdog hears of us.
//! Must not know: what runs.
//! Invariant: without `NOTIFY_SOCKET` nothing is sent.

use sd_notify::NotifyState;
use std::time::Duration;

/// Tells that all is loaded, and that requests are answered.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Tells that the configuration is read again; [`ready`] follows.
pub(crate) fn reloading() {
    let now = NotifyState::monotonic_usec_now().ok();
    let states: Vec<_> = [Some(NotifyState::Reloading), now].into_iter().flatten().collect();
    tell(&states);
}

/// Tells that we stop, which may take this long.
pub(crate) fn stopping(within: Duration) {
    let micros = u32::try_from(within.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(micros)]);
}

/// Tells that we live, and what we do.
pub(crate) fn alive(status: &str) {
    tell(&[NotifyState::Watchdog, NotifyState::Status(status)]);
}

/// Returns how often [`alive`] is to be called: twice in the time that the watchdog gives, and
/// every ten seconds at least, as people read the status.
pub(crate) fn alive_every() -> Duration {
    const STATUS: Duration = Duration::from_secs(10);
    sd_notify::watchdog_enabled()
        .map_or(STATUS, |time| (time / 2).clamp(Duration::from_millis(10), STATUS))
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        crate::output::say(format_args!("the supervisor was not told: {error}"));
    }
}
