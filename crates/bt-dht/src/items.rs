//! The items that we store for other nodes (BEP 44).
//!
//! Decides: which version of an item stays, and for how long.
//! Must not know: tokens, messages.
//! Invariant: a version never goes back; every stored signature was checked; never more items than
//! the limit.

use crate::crowd::who_yields;
use crate::id::Id;
use crate::item::{Item, ItemFault};
use alloc::collections::BTreeMap;
use bt_types::Time;
use core::net::IpAddr;
use core::time::Duration;

/// Most items that are kept.
pub(crate) const ITEMS_MAX: usize = 500;
/// Time that an item is kept after it was last put (BEP 44).
const ITEM_LIFE: Duration = Duration::from_secs(2 * 60 * 60);

/// Why an item is not stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    /// The signature is wrong.
    Fault(ItemFault),
    /// The stored version is not the one to replace.
    CasMismatch,
    /// A newer version is stored, or another value of the same version.
    OldSeq,
}

#[derive(Debug, Default)]
pub(crate) struct ItemStore {
    items: BTreeMap<Id, Kept>,
}

#[derive(Debug)]
struct Kept {
    item: Item,
    since: Time,
    /// The host that put it first: putting it again must not free that host of it.
    by: IpAddr,
}

impl ItemStore {
    /// Stores an item, or renews it. When there are too many, the oldest of the network with most
    /// items goes.
    pub(crate) fn put(
        &mut self,
        now: Time,
        by: IpAddr,
        item: Item,
        cas: Option<i64>,
    ) -> Result<(), Refused> {
        let target = item.target();
        if let Item::Mutable(new) = &item {
            new.check().map_err(Refused::Fault)?;
            if let Some(Item::Mutable(old)) = self.get(target) {
                if cas.is_some_and(|cas| cas != old.seq()) {
                    return Err(Refused::CasMismatch);
                }
                if new.seq() < old.seq() || (new.seq() == old.seq() && new.value() != old.value()) {
                    return Err(Refused::OldSeq);
                }
            }
        }
        if self.items.len() >= ITEMS_MAX && !self.items.contains_key(&target) {
            let gone = who_yields(
                by,
                self.items.iter().map(|(target, kept)| (kept.by, kept.since, *target)),
            );
            gone.map(|gone| self.items.remove(&gone));
        }
        let by = self.items.get(&target).map_or(by, |kept| kept.by);
        self.items.insert(target, Kept { item, since: now, by });
        Ok(())
    }

    pub(crate) fn get(&self, target: Id) -> Option<&Item> {
        self.items.get(&target).map(|kept| &kept.item)
    }

    /// Forgets items that were not put again.
    pub(crate) fn expire(&mut self, now: Time) {
        self.items.retain(|_, kept| now.since(kept.since) < ITEM_LIFE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::{Mutable, Value};
    use std::vec::Vec;

    fn host(number: u8) -> IpAddr {
        IpAddr::from([5, 6, number, 7])
    }

    fn version(seq: i64, text: &[u8]) -> Item {
        Item::Mutable(
            Mutable::sign(&[1; 32], Vec::new(), seq, Value::of_bytes(text).unwrap()).unwrap(),
        )
    }

    #[test]
    fn versions_only_grow() {
        let mut store = ItemStore::default();
        for (seq, text, cas, expected) in [
            (5, b"five", None, Ok(())),
            (4, b"four", None, Err(Refused::OldSeq)),
            (5, b"FIVE", None, Err(Refused::OldSeq)),
            (5, b"five", None, Ok(())),
            (6, b"six.", Some(4), Err(Refused::CasMismatch)),
            (6, b"six.", Some(5), Ok(())),
        ] {
            assert_eq!(
                store.put(Time::ZERO, host(1), version(seq, text), cas),
                expected,
                "{seq} {cas:?}"
            );
        }
        let target = version(0, b"").target();
        assert_eq!(store.get(target), Some(&version(6, b"six.")));
    }

    #[test]
    fn a_forged_item_is_not_stored() {
        let Item::Mutable(mine) = version(1, b"mine") else { unreachable!() };
        let forged =
            Mutable::new(*mine.key(), Vec::new(), 2, mine.value().clone(), *mine.signature())
                .unwrap();
        let refused = ItemStore::default().put(Time::ZERO, host(1), Item::Mutable(forged), None);
        assert_eq!(refused, Err(Refused::Fault(ItemFault::Signature)));
    }

    #[test]
    fn one_network_does_not_push_out_what_others_put() {
        let mut store = ItemStore::default();
        let item = |number: usize| Item::Immutable(Value::of_bytes(&number.to_be_bytes()).unwrap());
        (0..100).for_each(|number| {
            store.put(Time::ZERO, host(number as u8), item(number), None).unwrap()
        });
        for number in 100..5_000 {
            let flooder = core::net::Ipv6Addr::from((0x2a00 << 112) | ((number as u128) << 64));
            store.put(Time::from_secs(1), flooder.into(), item(number), None).unwrap();
            store.put(Time::from_secs(1), flooder.into(), item(number % 100), None).unwrap();
        }
        assert_eq!(store.items.len(), ITEMS_MAX);
        assert!((0..100).all(|number| store.get(item(number).target()).is_some()));
        store.put(Time::from_secs(2), host(200), item(9_999), None).unwrap();
        assert!(store.get(item(9_999).target()).is_some(), "newcomers find room");
    }

    #[test]
    fn items_expire_and_are_limited() {
        let mut store = ItemStore::default();
        let item = |number: usize| Item::Immutable(Value::of_bytes(&number.to_be_bytes()).unwrap());
        for number in 0..ITEMS_MAX + 5 {
            store.put(Time(u64::try_from(number).unwrap()), host(1), item(number), None).unwrap();
        }
        assert_eq!(store.items.len(), ITEMS_MAX);
        assert!(store.get(item(4).target()).is_none() && store.get(item(5).target()).is_some());
        store.expire(Time::from_secs(7200) + Duration::from_micros(5));
        assert!(store.get(item(5).target()).is_none() && store.get(item(6).target()).is_some());
    }
}
