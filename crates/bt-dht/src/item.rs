//! Items that the DHT stores for any node (BEP 44).
//!
//! Decides: which bytes are signed, where an item is stored, how long it may be.
//! Must not know: which nodes store it.
//! Invariant: a `Value` is one bencoded value within the limit. The signature of a `Mutable` may be
//! wrong until [`Mutable::check`] was asked.

use crate::id::Id;
use alloc::format;
use alloc::vec::Vec;
use bt_bencoding::{Cursor, Limits};
use core::fmt;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

/// The longest encoded value, in bytes (BEP 44).
pub const VALUE_MAX: usize = 1000;
/// The longest salt, in bytes (BEP 44).
pub const SALT_MAX: usize = 64;

/// A bencoded value of at most [`VALUE_MAX`] bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Value(Vec<u8>);

/// A stored item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// Found by the hash of its value; it can never change.
    Immutable(Value),
    /// Found by the hash of its owner's key and salt; the owner replaces it.
    Mutable(Mutable),
}

/// A value that the owner of a key signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mutable {
    key: [u8; 32],
    salt: Vec<u8>,
    seq: i64,
    value: Value,
    signature: [u8; 64],
}

/// What is wrong with an item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ItemFault {
    /// The value is not exactly one bencoded value.
    NotBencoded,
    /// The value is longer than [`VALUE_MAX`].
    ValueTooLong,
    /// The salt is longer than [`SALT_MAX`].
    SaltTooLong,
    /// The sequence number is below zero.
    NegativeSeq,
    /// The signature is wrong, or the key is no ed25519 key.
    Signature,
}

impl fmt::Display for ItemFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ItemFault::NotBencoded => write!(f, "the value is not bencoded"),
            ItemFault::ValueTooLong => {
                write!(f, "the value is longer than {VALUE_MAX} bytes when encoded")
            }
            ItemFault::SaltTooLong => write!(f, "the salt is longer than {SALT_MAX} bytes"),
            ItemFault::NegativeSeq => write!(f, "the sequence number is negative"),
            ItemFault::Signature => write!(f, "the signature is wrong"),
        }
    }
}

impl core::error::Error for ItemFault {}

impl Value {
    /// Makes a value of bytes that are bencoded already.
    pub fn of(encoded: &[u8]) -> Result<Value, ItemFault> {
        if encoded.len() > VALUE_MAX {
            return Err(ItemFault::ValueTooLong);
        }
        Cursor::parse(encoded, Limits::NETWORK).map_err(|_| ItemFault::NotBencoded)?;
        Ok(Value(encoded.to_vec()))
    }

    /// Makes a value of a byte string.
    pub fn of_bytes(bytes: &[u8]) -> Result<Value, ItemFault> {
        Value::of(&bt_bencoding::write(|w| w.bytes(bytes)))
    }

    /// Returns the value as it is sent and signed.
    pub fn encoded(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({})", self.0.escape_ascii())
    }
}

impl Item {
    /// Returns where it is stored: the SHA-1 of the encoded value, or of key and salt.
    pub fn target(&self) -> Id {
        match self {
            Item::Immutable(value) => Id(bt_hash::sha1(&value.0)),
            Item::Mutable(mutable) => mutable_target(&mutable.key, &mutable.salt),
        }
    }

    /// Returns the stored value.
    pub fn value(&self) -> &Value {
        match self {
            Item::Immutable(value) => value,
            Item::Mutable(mutable) => &mutable.value,
        }
    }
}

/// Returns where the items of a key with a salt are stored; an empty salt counts as none.
pub fn mutable_target(key: &[u8; 32], salt: &[u8]) -> Id {
    Id(bt_hash::sha1(&[key.as_slice(), salt].concat()))
}

impl Mutable {
    /// Assembles an item from the network; only [`check`](Self::check) tells whether the signature
    /// is right.
    pub fn new(
        key: [u8; 32],
        salt: Vec<u8>,
        seq: i64,
        value: Value,
        signature: [u8; 64],
    ) -> Result<Mutable, ItemFault> {
        if salt.len() > SALT_MAX {
            return Err(ItemFault::SaltTooLong);
        }
        if seq < 0 {
            return Err(ItemFault::NegativeSeq);
        }
        Ok(Mutable { key, salt, seq, value, signature })
    }

    /// Signs a value with the 32 secret bytes of an ed25519 key.
    pub fn sign(
        secret: &[u8; 32],
        salt: Vec<u8>,
        seq: i64,
        value: Value,
    ) -> Result<Mutable, ItemFault> {
        let signer = SigningKey::from_bytes(secret);
        let signature = signer.sign(&signed_bytes(&salt, seq, &value)).to_bytes();
        Mutable::new(signer.verifying_key().to_bytes(), salt, seq, value, signature)
    }

    /// Checks that the owner of the key signed this.
    pub fn check(&self) -> Result<(), ItemFault> {
        let verify = || {
            let key = VerifyingKey::from_bytes(&self.key).ok()?;
            let signature = Signature::from_bytes(&self.signature);
            key.verify_strict(&signed_bytes(&self.salt, self.seq, &self.value), &signature).ok()
        };
        verify().ok_or(ItemFault::Signature)
    }

    /// Returns the owner's public ed25519 key.
    pub fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// Returns the salt, which sets several items of one key apart; empty for the first.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// Returns the version: it only grows.
    pub fn seq(&self) -> i64 {
        self.seq
    }

    /// Returns the value.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Returns the ed25519 signature.
    pub fn signature(&self) -> &[u8; 64] {
        &self.signature
    }
}

/// Returns the public key that belongs to 32 secret bytes.
pub fn public_key(secret: &[u8; 32]) -> [u8; 32] {
    SigningKey::from_bytes(secret).verifying_key().to_bytes()
}

/// Builds the signed bytes: the salt, if any, the sequence number and the value as they stand in a
/// dictionary.
fn signed_bytes(salt: &[u8], seq: i64, value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    if !salt.is_empty() {
        bytes.extend_from_slice(format!("4:salt{}:", salt.len()).as_bytes());
        bytes.extend_from_slice(salt);
    }
    bytes.extend_from_slice(format!("3:seqi{seq}e1:v").as_bytes());
    bytes.extend_from_slice(&value.0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn hex<const N: usize>(text: &str) -> [u8; N] {
        let bytes: Vec<u8> = (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect();
        bytes.try_into().unwrap()
    }

    const KEY: &str = "77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548";
    const SIGNATURE: &str = "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff\
                             1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01";
    const SALTED: &str = "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17d\
                          df9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08";

    /// The test vectors of BEP 44.
    #[test]
    fn the_vectors_of_the_proposal() {
        let value = Value::of(b"12:Hello World!").unwrap();
        let cases = [
            (b"".as_slice(), SIGNATURE, "4a533d47ec9c7d95b1ad75f576cffc641853b750"),
            (b"foobar", SALTED, "411eba73b6f087ca51a3795d9c8c938d365e32c1"),
        ];
        for (salt, signature, target) in cases {
            let item = |seq, signature| {
                Mutable::new(hex(KEY), salt.to_vec(), seq, value.clone(), signature).unwrap()
            };
            let signature = hex::<64>(signature);
            assert_eq!(item(1, signature).check(), Ok(()));
            assert_eq!(Item::Mutable(item(1, signature)).target(), Id::from_hex(target).unwrap());
            assert_eq!(item(2, signature).check(), Err(ItemFault::Signature));
            let mut broken = signature;
            broken[40] ^= 1;
            assert_eq!(item(1, broken).check(), Err(ItemFault::Signature));
        }
        let immutable = Item::Immutable(value);
        assert_eq!(
            immutable.target(),
            Id::from_hex("e5f96f6f38320f0f33959cb4d3d656452117aadb").unwrap()
        );
    }

    #[test]
    fn what_we_sign_we_accept() {
        let value = Value::of(b"li1ee").unwrap();
        let mine = Mutable::sign(&[7; 32], b"salt".to_vec(), 5, value.clone()).unwrap();
        assert_eq!((mine.check(), *mine.key()), (Ok(()), public_key(&[7; 32])));
        let moved =
            Mutable::new(*mine.key(), b"pepper".to_vec(), 5, value, *mine.signature()).unwrap();
        assert_eq!(moved.check(), Err(ItemFault::Signature));
    }

    #[test]
    fn limits() {
        assert_eq!(Value::of(b"1:ab"), Err(ItemFault::NotBencoded));
        assert_eq!(Value::of_bytes(&[0; VALUE_MAX]), Err(ItemFault::ValueTooLong));
        let value = Value::of_bytes(&[0; VALUE_MAX - 4]).unwrap();
        let long = Mutable::sign(&[7; 32], vec![0; SALT_MAX + 1], 1, value.clone());
        assert_eq!(long, Err(ItemFault::SaltTooLong));
        assert_eq!(Mutable::sign(&[7; 32], vec![], -1, value), Err(ItemFault::NegativeSeq));
    }
}
