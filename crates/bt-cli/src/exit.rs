//! How a command ends: the exit codes of the contract, and errors that say what, why and the next
//! step.
//!
//! Decides: the code of each failure.
//! Must not know: how far the command got.
//! Invariant: every failure has a code below 10 and a snake_case name.

use bt_session::TorrentError;
use std::fmt;

/// The exit codes, as `bt help exit-codes` prints them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes of bt:
  0  ok
  1  any other failure
  2  wrong usage
  3  missing, unreadable or invalid torrent, magnet link or input
  4  the data does not verify
  5  network: no peers, metadata or tracker within --timeout
  6  disk: permission, I/O error, data moved away, or full for longer than --timeout
  7  interrupted; the same command continues
  8  the daemon is not reachable
  9  partial success";

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// snake_case, for programs.
    pub(crate) code: &'static str,
    /// For the user.
    pub(crate) message: String,
    /// It was printed already, because other output had to come after it.
    pub(crate) told: bool,
}

/// The exit codes that a failure can have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    Other = 1,
    Usage = 2,
    Input = 3,
    Verify = 4,
    Network = 5,
    Disk = 6,
    Interrupted = 7,
    Unreachable = 8,
    Partial = 9,
}

impl Failure {
    /// The failure of a torrent with this name that could not be added.
    pub(crate) fn of_adding(name: &str, error: &TorrentError) -> Failure {
        let exit = match error {
            TorrentError::Unsupported(_) | TorrentError::Metadata { .. } => Exit::Input,
            TorrentError::Selection(_) | TorrentError::Name(_) | TorrentError::Duplicate => {
                Exit::Usage
            }
            TorrentError::Foreign { .. }
            | TorrentError::Gone { .. }
            | TorrentError::Owned { .. }
            | TorrentError::Store { .. } => Exit::Disk,
            TorrentError::Stopping => Exit::Interrupted,
            // Also what a later session adds: its code says what it is.
            _ => Exit::Other,
        };
        Failure::new(exit, error.code(), format!("{name}: {error}"))
    }

    pub(crate) fn new(exit: Exit, code: &'static str, message: impl fmt::Display) -> Failure {
        Failure { exit, code, message: without_numbers(&message.to_string()), told: false }
    }

    pub(crate) fn usage(message: impl fmt::Display) -> Failure {
        Failure::new(Exit::Usage, "usage", message)
    }

    pub(crate) fn interrupted() -> Failure {
        Failure::new(
            Exit::Interrupted,
            "interrupted",
            "interrupted; run the same command again to continue",
        )
    }

    pub(crate) fn disk(path: &std::path::Path, error: &std::io::Error) -> Failure {
        let fault = bt_piece_store::fault_of(error);
        Failure::new(Exit::Disk, fault.name(), format!("{}: {error}", path.display()))
    }
}

/// Returns the system's error without the path of a temporary file, which says nothing to the user.
pub(crate) fn cause(error: &std::io::Error) -> String {
    let text = error.to_string();
    // As the crate `tempfile` words it.
    text.split(" at path ").next().unwrap_or_default().to_owned()
}

/// Advises the user when listening at an address failed.
pub(crate) fn listen_advice(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrNotAvailable => {
            "name an address of this machine (`ip address` lists them)"
        }
        std::io::ErrorKind::AddrInUse => {
            "another program listens there: stop it or name another port"
        }
        std::io::ErrorKind::PermissionDenied => {
            "name a port above 1023, as lower ones need more rights"
        }
        _ => "name another address and port",
    }
}

/// Removes the system's error numbers from a message, where they follow its words.
pub(crate) fn without_numbers(message: &str) -> String {
    const BEGIN: &str = " (os error ";
    let mut parts = message.split(BEGIN);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| match part.split_once(')') {
        Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => text + rest,
        _ => text + BEGIN + part,
    })
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::new(Exit::Other, "failure", format!("{error:#}"))
    }
}

/// The result of a command.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_names_the_fault_and_no_temporary_file() {
        let refused = tempfile::Builder::new().prefix(".probe-").tempfile_in("/proc").unwrap_err();
        assert!(!cause(&refused).contains("probe"), "{}", cause(&refused));
    }

    #[test]
    fn a_message_has_the_words_of_the_system_and_not_its_numbers() {
        let error = std::io::Error::from_raw_os_error(5);
        let table = [
            (format!("a: {error}; b: {error}!"), "a: Input/output error; b: Input/output error!"),
            ("(os error x) (os error 5".into(), "(os error x) (os error 5"),
        ];
        for (message, words) in table {
            assert_eq!(Failure::new(Exit::Disk, "io", message).message, words);
        }
    }
}
