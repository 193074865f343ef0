//! The order of the queue.
//!
//! Decides: where torrents are after some of them moved.
//! Must not know: which of them run.
//! Invariant: an order has the same torrents before and after.

use crate::command::QueueMove;
use bt_types::InfoHash;

/// Returns the order of torrents after some of them moved, which keep their order among
/// themselves. `all` are all torrents in the order of the queue.
pub fn queue_move(all: &[InfoHash], moved: &[InfoHash], to: QueueMove) -> Vec<InfoHash> {
    let is_moved = |hash: &InfoHash| moved.contains(hash);
    let (going, staying): (Vec<_>, Vec<_>) = all.iter().copied().partition(is_moved);
    match to {
        QueueMove::Top => going.into_iter().chain(staying).collect(),
        QueueMove::Bottom => staying.into_iter().chain(going).collect(),
        QueueMove::To(place) => {
            let mut staying = staying;
            let at = staying.len().min(place as usize);
            let rest = staying.split_off(at);
            staying.into_iter().chain(going).chain(rest).collect()
        }
        QueueMove::Up => step(all.iter().copied(), is_moved),
        QueueMove::Down => {
            let mut order = step(all.iter().rev().copied(), is_moved);
            order.reverse();
            order
        }
    }
}

/// Moves each of some elements one place towards the begin, past one that does not move.
fn step(
    all: impl Iterator<Item = InfoHash>,
    is_moved: impl Fn(&InfoHash) -> bool,
) -> Vec<InfoHash> {
    let mut order: Vec<InfoHash> = Vec::new();
    for hash in all {
        match order.last() {
            Some(before) if is_moved(&hash) && !is_moved(before) => {
                let at = order.len() - 1;
                order.insert(at, hash);
            }
            _ => order.push(hash),
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torrents_move_in_the_queue_and_keep_their_order() {
        let order = |numbers: &[u8]| numbers.iter().map(|n| InfoHash([*n; 20])).collect::<Vec<_>>();
        for (to, expected) in [
            (QueueMove::Top, [2, 4, 1, 3, 5]),
            (QueueMove::Bottom, [1, 3, 5, 2, 4]),
            (QueueMove::Up, [2, 1, 4, 3, 5]),
            (QueueMove::Down, [1, 3, 2, 5, 4]),
            (QueueMove::To(1), [1, 2, 4, 3, 5]),
            (QueueMove::To(99), [1, 3, 5, 2, 4]),
        ] {
            let moved = queue_move(&order(&[1, 2, 3, 4, 5]), &order(&[4, 2]), to);
            assert_eq!(moved, order(&expected), "{to:?}");
        }
        let first = queue_move(&order(&[1, 2, 3]), &order(&[1, 2]), QueueMove::Up);
        assert_eq!(first, order(&[1, 2, 3]), "those at the top stay");
    }
}
