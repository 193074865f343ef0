//! Prints how many bytes per second one core hashes, alone and in lanes: `cargo run --release -p bt-hash --example lanes`.

use std::time::Instant;

fn main() {
    let pieces: Vec<Vec<u8>> = (0..16).map(|n| vec![n; 1 << 20]).collect();
    let slices: Vec<[&[u8]; 1]> = pieces.iter().map(|piece| [piece.as_slice()]).collect();
    let messages: Vec<&[&[u8]]> = slices.iter().map(<[_; 1]>::as_slice).collect();
    let start = Instant::now();
    for piece in pieces.iter().cycle().take(20 * pieces.len()) {
        std::hint::black_box(bt_hash::sha1(piece));
    }
    println!("the sha1 crate: {:.2} GB/s", (20 << 24) as f64 / start.elapsed().as_secs_f64() / 1e9);
    for together in [1, 2, 4, 8, 16] {
        let start = Instant::now();
        let mut digests = Vec::new();
        for _ in 0..20 {
            messages.chunks(together).for_each(|messages| bt_hash::sha1_many(messages, &mut digests));
        }
        let rate = (20 << 24) as f64 / start.elapsed().as_secs_f64() / 1e9;
        println!("{together:>2} messages at a time: {rate:.2} GB/s");
    }
}
