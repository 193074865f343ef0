//! Measures how many bytes per second one core hashes, alone and in lanes: `cargo bench -p
//! bt-hash`.
//!
//! Decides: nothing.
//! Must not know: which lanes there are.
//! Invariant: every line hashes the same bytes.

use bt_hash::Algorithm;
use divan::Bencher;
use divan::counter::BytesCount;

/// Messages of one MiB each.
const MESSAGES: usize = 16;

fn main() {
    divan::main();
}

/// Hashes one message after another, with the `sha1` crate.
#[divan::bench]
fn sha1_alone(bencher: Bencher<'_, '_>) {
    let pieces = pieces();
    let bench = bencher.counter(BytesCount::new(MESSAGES << 20));
    bench.bench(|| pieces.iter().map(|piece| bt_hash::sha1(piece)).collect::<Vec<_>>());
}

/// Hashes `together` messages at a time.
#[divan::bench(args = [1, 2, 4, 8, 16])]
fn sha1_together(bencher: Bencher<'_, '_>, together: usize) {
    many(bencher, Algorithm::Sha1, together);
}

/// Hashes `together` messages at a time with SHA-256.
#[divan::bench(args = [1, 8, 16])]
fn sha256_together(bencher: Bencher<'_, '_>, together: usize) {
    many(bencher, Algorithm::Sha256, together);
}

fn many(bencher: Bencher<'_, '_>, algorithm: Algorithm, together: usize) {
    let pieces = pieces();
    let slices: Vec<[&[u8]; 1]> = pieces.iter().map(|piece| [piece.as_slice()]).collect();
    let messages: Vec<&[&[u8]]> = slices.iter().map(<[_; 1]>::as_slice).collect();
    bencher.counter(BytesCount::new(MESSAGES << 20)).bench(|| {
        let mut digests = Vec::with_capacity(MESSAGES);
        messages
            .chunks(together)
            .for_each(|messages| bt_hash::digest_many(algorithm, messages, &mut digests));
        digests
    });
}

fn pieces() -> Vec<Vec<u8>> {
    (0..MESSAGES).map(|n| vec![n as u8; 1 << 20]).collect()
}
