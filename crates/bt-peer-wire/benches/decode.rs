//! Measures how fast messages are parsed from a peer's bytes: `cargo bench -p bt-peer-wire`.
//!
//! Decides: nothing. Must not know: how messages are parsed.
//! Invariant: the bench measures the work that `examples/decode.rs` counts.

#[path = "../examples/decode.rs"]
#[allow(dead_code, reason = "its `main` is that of another program")]
mod example;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};

fn main() {
    divan::main();
}

/// Blocks of 16 KiB.
#[divan::bench]
fn blocks(bencher: Bencher<'_, '_>) {
    let stream = example::stream(true, 256);
    bencher.counter(BytesCount::new(stream.len())).bench(|| example::decode(&stream));
}

/// Messages of nine bytes.
#[divan::bench]
fn haves(bencher: Bencher<'_, '_>) {
    let stream = example::stream(false, 1000);
    bencher.counter(ItemsCount::new(1000usize)).bench(|| example::decode(&stream));
}
