//! What the user is told of bugs of ours that were contained.
//!
//! Decides: the words. Must not know: where a panic happened.
//! Invariant: only a count that grew is worth a warning.

use bt_session::Panics;

/// Warns the user when there are more panics than before.
pub(crate) fn warning(before: Panics, now: Panics) -> Option<String> {
    let what = if now.engines > before.engines {
        "the torrents left their peers and go on from what they have"
    } else if now.others > before.others {
        "a torrent or an announce failed"
    } else if now.connections > before.connections {
        "a connection ended"
    } else {
        return None;
    };
    Some(format!(
        "warning: a bug in bt: {what}; run again with -v and report what it says ({} so far)",
        now.total()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_are_shown_when_there_are_more() {
        let some = |connections, engines, others| Panics { connections, engines, others };
        assert_eq!(warning(some(0, 0, 0), some(0, 0, 0)), None);
        assert_eq!(warning(some(2, 1, 1), some(2, 1, 1)), None);
        let told = warning(some(2, 0, 0), some(2, 1, 0)).unwrap();
        assert!(
            told.contains("go on from what they have") && told.contains("(3 so far)"),
            "{told}"
        );
        assert!(warning(some(0, 0, 0), some(1, 0, 0)).unwrap().contains("a connection ended"));
        assert!(warning(some(0, 0, 0), some(0, 0, 1)).unwrap().contains("failed"));
    }
}
