//! Many nodes at once, in virtual time: a small network for every day; `examples/swarm.rs` is the
//! large one.
//!
//! Decides: what must be found in spite of which bad nodes.
//! Must not know: the inside of a node.
//! Invariant: all chance comes from the seed.

mod world;

use world::{Course, run};

const COURSE: Course =
    Course { nodes: 150, loss: 10, bad: 30, stored: 20, lookups_each: 5, seed: 1 };

#[test]
fn a_stored_peer_is_found_in_spite_of_loss_and_liars() {
    let report = run(COURSE);
    println!("{report}");
    assert!(report.found * 100 >= report.lookups * 99, "{report}");
    assert_eq!(run(COURSE), report, "the same seed is the same run");
}

#[test]
fn without_trouble_everything_is_found_with_few_messages() {
    let report = run(Course { loss: 0, bad: 0, ..COURSE });
    println!("{report}");
    assert_eq!((report.found, report.lookups), (100, 100));
    assert_eq!(report.stores, 20 * 8, "eight nodes store each peer");
}
