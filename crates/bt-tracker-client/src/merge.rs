//! Merges two answers of one tracker, one for each address family.
//!
//! Decides: how long the second answer is waited for, and which numbers count.
//! Must not know: protocols.
//! Invariant: an answer is never lost because the other family failed.

use crate::{Answered, TrackerError};
use bt_tracker_wire::Answer;
use std::collections::HashSet;
use std::pin::pin;
use std::time::Duration;
use tokio::time::timeout;

/// Time for the other family once one has answered: a dead IPv6 route must not hold back the peers.
const PATIENCE: Duration = Duration::from_secs(3);

type Outcome = Result<Answered, TrackerError>;

/// Waits for both and merges their answers; fails only when both fail.
pub(crate) async fn first_of_both(
    v4: impl Future<Output = Outcome>,
    v6: impl Future<Output = Outcome>,
) -> Outcome {
    let (mut v4, mut v6) = (pin!(v4), pin!(v6));
    tokio::select! {
        early = &mut v4 => settle(early, v6).await,
        early = &mut v6 => settle(early, v4).await,
    }
}

async fn settle(early: Outcome, late: impl Future<Output = Outcome>) -> Outcome {
    match early {
        Ok(early) => match timeout(PATIENCE, late).await {
            Ok(Ok(late)) => Ok(merge(early, late)),
            Ok(Err(_)) | Err(_) => Ok(early),
        },
        Err(early) => match late.await {
            Ok(late) => Ok(late),
            // A tracker's own words tell more than a network error, and its time for the next
            // request must be obeyed.
            Err(late) if weight(&late) > weight(&early) => Err(late),
            Err(_) => Err(early),
        },
    }
}

/// Ranks an error by how much it tells of when the tracker may be asked again.
fn weight(error: &TrackerError) -> u8 {
    match error {
        TrackerError::Refused(_) => 2,
        TrackerError::Status { retry_after: Some(_), .. } => 1,
        _ => 0,
    }
}

fn merge(mut early: Answered, late: Answered) -> Answered {
    if let (Answer::Announce(ours), Answer::Announce(other)) = (&mut early.answer, late.answer) {
        let known: HashSet<_> = ours.peers.iter().copied().collect();
        ours.peers.extend(other.peers.into_iter().filter(|peer| !known.contains(peer)));
        // Trackers that count by family see a part each, the others see the whole twice: the larger
        // number is nearer.
        ours.seeders = ours.seeders.max(other.seeders);
        ours.leechers = ours.leechers.max(other.leechers);
        ours.interval = ours.interval.max(other.interval);
        ours.min_interval = ours.min_interval.max(other.min_interval);
        ours.warning = ours.warning.take().or(other.warning);
        ours.tracker_id = ours.tracker_id.take().or(other.tracker_id);
        ours.external_ip = ours.external_ip.or(other.external_ip);
    }
    early
}

#[cfg(test)]
mod tests {
    use super::*;
    use bt_tracker_wire::{AnnounceReply, Failure};
    use std::future::{pending, ready};

    fn answered(peers: &[&str], seeders: u32) -> Answered {
        let peers = peers.iter().map(|peer| peer.parse().unwrap()).collect();
        let reply = AnnounceReply {
            interval: 5 * seeders,
            seeders: Some(seeders),
            peers,
            ..AnnounceReply::default()
        };
        Answered { answer: Answer::Announce(reply), from: [1, 2, 3, 4].into() }
    }

    fn refused() -> TrackerError {
        TrackerError::Refused(Failure::new("no"))
    }

    #[tokio::test(start_paused = true)]
    async fn one_answer_is_enough_and_two_are_merged() {
        let (v4, v6) = (
            answered(&["1.1.1.1:1", "2.2.2.2:2"], 2),
            answered(&["2.2.2.2:2", "[2001:db8::1]:1"], 3),
        );
        let both = first_of_both(ready(Ok(v4.clone())), ready(Ok(v6))).await.unwrap();
        let Answer::Announce(reply) = both.answer else { panic!("not an announce") };
        assert_eq!((reply.peers.len(), reply.seeders, reply.interval), (3, Some(3), 15));

        let alone = Some(v4.clone());
        assert_eq!(first_of_both(ready(Ok(v4.clone())), ready(Err(refused()))).await.ok(), alone);
        assert_eq!(first_of_both(ready(Err(refused())), ready(Ok(v4.clone()))).await.ok(), alone);
        assert_eq!(
            first_of_both(pending(), ready(Ok(v4.clone()))).await.ok(),
            alone,
            "the other never answers"
        );
        assert_eq!(first_of_both(ready(Ok(v4)), pending()).await.ok(), alone);
    }

    #[tokio::test]
    async fn when_both_fail_the_words_of_the_tracker_are_kept() {
        let rests =
            || TrackerError::Status { status: 503, retry_after: Some(Duration::from_secs(900)) };
        for (v4, v6, kept) in [
            (refused(), TrackerError::Busy, refused()),
            (TrackerError::Busy, refused(), refused()),
            (rests(), refused(), refused()),
            (TrackerError::Busy, rests(), rests()),
            (rests(), TrackerError::Busy, rests()),
        ] {
            let error = first_of_both(ready(Err(v4)), ready(Err(v6))).await.unwrap_err();
            assert_eq!(error.into_failure(), kept.into_failure());
        }
    }
}
