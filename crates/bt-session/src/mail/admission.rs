//! Admission of incoming connections: the desk of the process, and the pass of each connection.
//!
//! Decides: nothing; the desk decides.
//! Must not know: sockets, torrents.
//! Invariant: every accepted connection holds a pass, which is given back when the connection ends
//! for any reason.

use bt_engine::desk::{Admission, Desk};
use bt_types::Time;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The desk, shared by the listener and the passes of accepted connections.
pub(crate) type SharedDesk = Arc<Mutex<Desk>>;

/// The admission of one accepted connection.
#[derive(Debug)]
pub(crate) struct AdmissionGuard {
    desk: SharedDesk,
    admission: Option<Admission>,
}

impl AdmissionGuard {
    pub(crate) fn ask(desk: &SharedDesk, now: Time, ip: IpAddr) -> Option<AdmissionGuard> {
        let admission = lock(desk).accept(now, ip)?;
        Some(AdmissionGuard { desk: Arc::clone(desk), admission: Some(admission) })
    }

    /// Returns the number of the pass, and the number of the connection that must end to make room
    /// for it.
    pub(crate) fn numbers(&self) -> Option<(u64, Option<u64>)> {
        self.admission.as_ref().map(|admission| (admission.number, admission.instead_of))
    }

    /// Notes that the connection completed its handshake.
    pub(crate) fn shaken(&self) {
        if let Some(admission) = &self.admission {
            lock(&self.desk).shaken(admission);
        }
    }
}

impl Drop for AdmissionGuard {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.take() {
            lock(&self.desk).ended(admission);
        }
    }
}

/// Locks the desk. A panic elsewhere leaves it usable: its counts are changed one at a time.
pub(crate) fn lock(desk: &SharedDesk) -> std::sync::MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}
