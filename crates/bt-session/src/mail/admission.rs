//! Admission of incoming connections: the caps of the process, and the guard of each connection.
//!
//! Decides: nothing; `Admissions` of the engine decides.
//! Must not know: sockets, torrents.
//! Invariant: every accepted connection holds a guard, which is given back when the connection ends
//! for any reason.

use bt_engine::admission::{Admission, Admissions};
use bt_types::Time;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The admissions, shared by the listeners and the passes of accepted connections.
pub(crate) type SharedAdmissions = Arc<Mutex<Admissions>>;

/// The admission of one accepted connection.
#[derive(Debug)]
pub(crate) struct AdmissionGuard {
    admissions: SharedAdmissions,
    admission: Option<Admission>,
}

impl AdmissionGuard {
    pub(crate) fn ask(
        admissions: &SharedAdmissions,
        now: Time,
        ip: IpAddr,
    ) -> Option<AdmissionGuard> {
        let admission = lock(admissions).accept(now, ip)?;
        Some(AdmissionGuard { admissions: Arc::clone(admissions), admission: Some(admission) })
    }

    /// Returns the number of the guard, and the number of the connection that must end to make room
    /// for it.
    pub(crate) fn numbers(&self) -> Option<(u64, Option<u64>)> {
        self.admission.as_ref().map(|admission| (admission.number, admission.instead_of))
    }

    /// Notes that the connection completed its handshake.
    pub(crate) fn handshaken(&self) {
        if let Some(admission) = &self.admission {
            lock(&self.admissions).handshaken(admission);
        }
    }
}

impl Drop for AdmissionGuard {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.take() {
            lock(&self.admissions).ended(admission);
        }
    }
}

/// Locks the admissions. A panic elsewhere leaves them usable: their counts change one at a time.
fn lock(admissions: &SharedAdmissions) -> std::sync::MutexGuard<'_, Admissions> {
    admissions.lock().unwrap_or_else(PoisonError::into_inner)
}
