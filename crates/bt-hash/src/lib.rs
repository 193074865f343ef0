//! SHA-1 and SHA-256 of many messages at once, each a list of slices.
//!
//! Decides: how digests are computed.
//! Must not know: what is hashed.
//! Invariant: `digest_many` equals hashing each message alone, with any slices.
//!
//! A piece arrives scattered over network buffers, so a message is a list of slices and is never
//! joined. A processor with SHA instructions hashes several messages side by side on one core, and
//! a processor with AVX-512 more of them. `sha1_ni.rs` and `wide.rs` say why that is faster. Others
//! hash one after another with the RustCrypto crates, which are also the oracle in tests.
//!
//! ```
//! let whole: &[&[u8]] = &[b"hello"];
//! let parts: &[&[u8]] = &[b"he", b"llo"];
//! let mut digests = Vec::new();
//! bt_hash::sha1_many(&[whole, parts], &mut digests);
//! assert_eq!(digests[0], digests[1]);
//! ```
#![deny(unsafe_op_in_unsafe_fn)]

#[cfg(target_arch = "x86_64")]
mod lanes;
#[cfg(target_arch = "x86_64")]
mod sha1_ni;
#[cfg(target_arch = "x86_64")]
mod wide;

use sha1::Digest as _;

/// Bytes that one compression takes.
#[cfg(target_arch = "x86_64")]
const BLOCK: usize = 64;
/// The input of one compression.
#[cfg(target_arch = "x86_64")]
type Block = [u8; BLOCK];

/// The digest of one SHA-1 message.
pub type Sha1Digest = [u8; 20];
/// The digest of one SHA-256 message.
pub type Sha256Digest = [u8; 32];

/// The hash of a torrent's pieces: SHA-1 in v1, SHA-256 in v2 (BEP 52).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// 20-byte digests.
    Sha1,
    /// 32-byte digests.
    Sha256,
}

/// A digest of either algorithm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Digest {
    /// From [`Algorithm::Sha1`].
    Sha1(Sha1Digest),
    /// From [`Algorithm::Sha256`].
    Sha256(Sha256Digest),
}

/// Returns how many messages fill the lanes of this processor, from 1 to 16: more at once are
/// hashed no faster.
pub fn lanes(algorithm: Algorithm) -> usize {
    #[cfg(target_arch = "x86_64")]
    if let Some(cpu) = lanes::Cpu::detect() {
        return cpu.lanes(algorithm);
    }
    let _ = algorithm;
    1
}

/// Hashes every message and appends one digest each to `digests`, in order.
pub fn digest_many(algorithm: Algorithm, messages: &[&[&[u8]]], digests: &mut Vec<Digest>) {
    match algorithm {
        Algorithm::Sha1 => {
            let mut sha1 = Vec::with_capacity(messages.len());
            sha1_many(messages, &mut sha1);
            digests.extend(sha1.into_iter().map(Digest::Sha1));
        }
        Algorithm::Sha256 => {
            let mut sha256 = Vec::with_capacity(messages.len());
            sha256_many(messages, &mut sha256);
            digests.extend(sha256.into_iter().map(Digest::Sha256));
        }
    }
}

/// Hashes like [`digest_many`] with SHA-1, without the enum around each digest.
pub fn sha1_many(messages: &[&[&[u8]]], digests: &mut Vec<Sha1Digest>) {
    #[cfg(target_arch = "x86_64")]
    if let Some(cpu) = lanes::Cpu::detect() {
        lanes::sha1_many(cpu, messages, digests);
        return;
    }
    digests.extend(messages.iter().map(|message| Sha1Digest::from(alone::<sha1::Sha1>(message))));
}

/// Hashes like [`digest_many`] with SHA-256, without the enum around each digest.
pub fn sha256_many(messages: &[&[&[u8]]], digests: &mut Vec<Sha256Digest>) {
    #[cfg(target_arch = "x86_64")]
    if let Some(cpu) = lanes::Cpu::detect() {
        lanes::sha256_many(cpu, messages, digests);
        return;
    }
    digests
        .extend(messages.iter().map(|message| Sha256Digest::from(alone::<sha2::Sha256>(message))));
}

/// Hashes one message, by the portable path.
fn alone<Hash: sha1::Digest>(message: &[&[u8]]) -> sha1::digest::Output<Hash> {
    let mut state = Hash::new();
    message.iter().for_each(|slice| state.update(slice));
    state.finalize()
}

/// Hashes one contiguous message with SHA-1.
pub fn sha1(message: &[u8]) -> Sha1Digest {
    sha1::Sha1::digest(message).into()
}

/// Hashes one contiguous message with SHA-256.
pub fn sha256(message: &[u8]) -> Sha256Digest {
    sha2::Sha256::digest(message).into()
}

/// A hash that is fed as the bytes come, for messages too large to hold.
#[derive(Clone, Debug)]
pub struct State(Inner);

#[derive(Clone, Debug)]
enum Inner {
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
}

impl State {
    /// Makes the state before any byte.
    pub fn new(algorithm: Algorithm) -> State {
        State(match algorithm {
            Algorithm::Sha1 => Inner::Sha1(sha1::Sha1::new()),
            Algorithm::Sha256 => Inner::Sha256(sha2::Sha256::new()),
        })
    }

    /// Feeds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Inner::Sha1(state) => state.update(bytes),
            Inner::Sha256(state) => state.update(bytes),
        }
    }

    /// Returns the digest of all bytes fed.
    pub fn finish(self) -> Digest {
        match self.0 {
            Inner::Sha1(state) => Digest::Sha1(state.finalize().into()),
            Inner::Sha256(state) => Digest::Sha256(state.finalize().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn published_vectors() {
        assert_eq!(hex(&sha1(b"abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(hex(&sha1(b"")), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        assert_eq!(
            hex(&sha256(b"abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn every_length_around_a_block_is_padded_right() {
        let bytes = [0x5a; 200];
        let messages: Vec<[&[u8]; 1]> = (0..=200).map(|len| [&bytes[..len]]).collect();
        let messages: Vec<&[&[u8]]> = messages.iter().map(<[_; 1]>::as_slice).collect();
        // Enough messages to use all lanes, and few enough to use the SHA instructions.
        for together in [1, 3, 8, 16, 201] {
            let (mut sha1s, mut sha256s) = (Vec::new(), Vec::new());
            messages.chunks(together).for_each(|messages| sha1_many(messages, &mut sha1s));
            messages.chunks(together).for_each(|messages| sha256_many(messages, &mut sha256s));
            for (len, (one, other)) in sha1s.iter().zip(&sha256s).enumerate() {
                assert_eq!(*one, sha1(&bytes[..len]), "{len} bytes, {together} together");
                assert_eq!(*other, sha256(&bytes[..len]), "{len} bytes, {together} together");
            }
        }
    }

    proptest! {
        #[test]
        fn lanes_equal_the_portable_path(
            messages in proptest::collection::vec(proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..6), 0..40),
        ) {
            let slices: Vec<Vec<&[u8]>> = messages.iter().map(|message| message.iter().map(Vec::as_slice).collect()).collect();
            let slices: Vec<&[&[u8]]> = slices.iter().map(Vec::as_slice).collect();
            let (mut sha1, mut sha256) = (Vec::new(), Vec::new());
            sha1_many(&slices, &mut sha1);
            sha256_many(&slices, &mut sha256);
            prop_assert_eq!(sha1, slices.iter().map(|message| Sha1Digest::from(alone::<sha1::Sha1>(message))).collect::<Vec<Sha1Digest>>());
            prop_assert_eq!(sha256, slices.iter().map(|message| Sha256Digest::from(alone::<sha2::Sha256>(message))).collect::<Vec<Sha256Digest>>());
        }

        #[test]
        fn slicing_never_matters(message: Vec<u8>, cuts: Vec<usize>) {
            let mut slices = Vec::new();
            let mut rest = message.as_slice();
            for cut in cuts {
                let (head, tail) = rest.split_at(cut % (rest.len() + 1));
                slices.push(head);
                rest = tail;
            }
            slices.push(rest);
            let mut many = Vec::new();
            digest_many(Algorithm::Sha1, &[&slices, &[&message]], &mut many);
            digest_many(Algorithm::Sha256, &[&slices], &mut many);
            prop_assert_eq!(many, [Digest::Sha1(sha1(&message)), Digest::Sha1(sha1(&message)), Digest::Sha256(sha256(&message))]);
        }
    }
}

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
