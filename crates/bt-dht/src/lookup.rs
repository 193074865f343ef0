//! An iterative lookup (BEP 5): closer and closer nodes to a target, several asked at once.
//!
//! Decides: which node to ask next, and when enough have answered.
//! Must not know: what is asked, sockets, time.
//! Invariant: every address is asked at most once; at most one node of a host and two of a network
//! are asked. Nodes whose id does not follow from their address (BEP 42) come last, so that
//! choosing an id moves no node next to a target.

use crate::contact::{Contact, network_of, same_host};
use crate::id::Id;
use crate::secure::is_secure;
use crate::table::K;
use alloc::vec::Vec;
use bt_types::{Source, may_name};
use core::net::SocketAddr;

/// Queries in flight at once; a late query does not count.
const PARALLEL: usize = 4;
/// Most nodes that are remembered; beyond it the farthest unasked node is forgotten.
const CANDIDATES_MAX: usize = 96;
/// Most nodes that are asked of one network.
const NETWORK_MAX: usize = 2;
/// Most nodes that are taken from one answer.
const NAMED_MAX: usize = K;

#[derive(Debug)]
pub(crate) struct Lookup {
    target: Id,
    /// In the order in which they are asked.
    candidates: Vec<Candidate>,
}

#[derive(Debug)]
struct Candidate {
    addr: SocketAddr,
    /// Unknown for an address that only the user named.
    id: Option<Id>,
    named_by: Source,
    state: State,
}

#[derive(PartialEq, Eq, Debug)]
enum State {
    Fresh,
    Asked,
    /// Asked a while ago; an answer may still come.
    Late,
    Answered {
        token: Option<Vec<u8>>,
    },
    Failed,
}

/// A node to ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Asking {
    pub(crate) addr: SocketAddr,
    /// The id of the node that must answer; any id when it is unknown.
    pub(crate) id: Option<Id>,
    pub(crate) named_by: Source,
}

impl Asking {
    /// Makes the question to a node that answered us before.
    pub(crate) fn known(contact: Contact) -> Asking {
        Asking {
            addr: contact.addr,
            id: Some(contact.id),
            named_by: Source::Host(contact.addr.ip()),
        }
    }
}

impl Lookup {
    pub(crate) fn new(target: Id) -> Lookup {
        Lookup { target, candidates: Vec::new() }
    }

    pub(crate) fn target(&self) -> Id {
        self.target
    }

    /// Adds an address whose node is not known yet: it is asked first.
    pub(crate) fn add_address(&mut self, addr: SocketAddr) {
        self.add(addr, None, Source::User);
    }

    /// Adds a node to begin with, which answered us before.
    pub(crate) fn add_known(&mut self, contact: Contact) {
        self.add(contact.addr, Some(contact.id), Source::Host(contact.addr.ip()));
    }

    /// Picks the next node to ask now, if any.
    pub(crate) fn next(&mut self) -> Option<Asking> {
        if self.candidates.iter().filter(|candidate| candidate.state == State::Asked).count()
            >= PARALLEL
        {
            return None;
        }
        let window = self.window();
        let candidate = self
            .candidates
            .iter_mut()
            .take(window)
            .find(|candidate| candidate.state == State::Fresh)?;
        candidate.state = State::Asked;
        Some(Asking { addr: candidate.addr, id: candidate.id, named_by: candidate.named_by })
    }

    /// Takes the answer of a node, which names others. The caller checked that it is the node that
    /// was asked.
    pub(crate) fn answered(
        &mut self,
        from: Contact,
        token: Option<Vec<u8>>,
        named: impl Iterator<Item = Contact>,
    ) {
        let Some(at) = self.candidates.iter().position(|candidate| candidate.addr == from.addr)
        else {
            return;
        };
        let mut candidate = self.candidates.remove(at);
        (candidate.id, candidate.state) = (Some(from.id), State::Answered { token });
        self.place(candidate);
        let source = Source::Host(from.addr.ip());
        for contact in named.take(NAMED_MAX).filter(|contact| may_name(source, contact.addr)) {
            self.add(contact.addr, Some(contact.id), source);
        }
    }

    /// Marks a node that did not answer in the usual time: another is asked meanwhile.
    pub(crate) fn is_late(&mut self, addr: SocketAddr) {
        self.mark(addr, State::Late);
    }

    /// Marks a node that does not answer, or answers wrongly.
    pub(crate) fn failed(&mut self, addr: SocketAddr) {
        self.mark(addr, State::Failed);
    }

    /// Returns whether nothing is left to ask or to wait for. Late nodes are waited for only while
    /// too few have answered.
    pub(crate) fn is_done(&self) -> bool {
        let enough = self.answers() >= K;
        self.candidates.iter().take(self.window()).all(|candidate| match candidate.state {
            State::Fresh | State::Asked => false,
            State::Late => enough,
            State::Answered { .. } | State::Failed => true,
        })
    }

    /// Counts the nodes that have answered.
    pub(crate) fn answers(&self) -> usize {
        self.candidates
            .iter()
            .filter(|candidate| matches!(candidate.state, State::Answered { .. }))
            .count()
    }

    /// Returns the closest nodes that answered.
    pub(crate) fn closest(&self) -> impl Iterator<Item = Contact> {
        let answered = self
            .candidates
            .iter()
            .filter(|candidate| matches!(candidate.state, State::Answered { .. }));
        answered
            .filter_map(|candidate| Some(Contact { id: candidate.id?, addr: candidate.addr }))
            .take(K)
    }

    /// Returns the closest nodes that let us store something, with their tokens.
    pub(crate) fn holders(&self) -> Vec<(Contact, Vec<u8>)> {
        let holder = |candidate: &Candidate| match &candidate.state {
            State::Answered { token: Some(token) } => {
                Some((Contact { id: candidate.id?, addr: candidate.addr }, token.clone()))
            }
            _ => None,
        };
        self.candidates.iter().filter_map(holder).take(K).collect()
    }

    /// Returns how many candidates count: up to the eighth that has answered.
    fn window(&self) -> usize {
        let answered = |(_, candidate): &(usize, &Candidate)| {
            matches!(candidate.state, State::Answered { .. })
        };
        self.candidates
            .iter()
            .enumerate()
            .filter(answered)
            .nth(K - 1)
            .map_or(self.candidates.len(), |(at, _)| at + 1)
    }

    fn add(&mut self, addr: SocketAddr, id: Option<Id>, named_by: Source) {
        let known = |candidate: &Candidate| {
            same_host(candidate.addr, addr) || (id.is_some() && candidate.id == id)
        };
        let network = network_of(addr);
        let neighbours = self
            .candidates
            .iter()
            .filter(|candidate| network_of(candidate.addr) == network)
            .count();
        if neighbours >= NETWORK_MAX || self.candidates.iter().any(known) {
            return;
        }
        self.place(Candidate { addr, id, named_by, state: State::Fresh });
        if self.candidates.len() > CANDIDATES_MAX
            && let Some(last) =
                self.candidates.iter().rposition(|candidate| candidate.state == State::Fresh)
        {
            self.candidates.remove(last);
        }
    }

    fn place(&mut self, candidate: Candidate) {
        let target = self.target;
        let rank = |candidate: &Candidate| {
            candidate.id.map(|id| (!is_secure(id, candidate.addr.ip()), id.distance(target)))
        };
        let own = rank(&candidate);
        let at = self.candidates.partition_point(|other| rank(other) <= own);
        self.candidates.insert(at, candidate);
    }

    fn mark(&mut self, addr: SocketAddr, state: State) {
        let asked = |candidate: &&mut Candidate| {
            candidate.addr == addr && matches!(candidate.state, State::Asked | State::Late)
        };
        if let Some(candidate) = self.candidates.iter_mut().find(asked) {
            candidate.state = state;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secure::secure_id;
    use bt_types::Rng;
    use std::net::{IpAddr, Ipv4Addr};

    /// Makes node `number` of a private network, at distance `number` from the target of zeros.
    fn node(number: u8) -> Contact {
        let mut id = [0; 20];
        id[1] = number;
        Contact { id: Id(id), addr: SocketAddr::new(Ipv4Addr::new(10, 0, 0, number).into(), 1) }
    }

    fn start(numbers: impl IntoIterator<Item = u8>) -> Lookup {
        let mut lookup = Lookup::new(Id([0; 20]));
        numbers.into_iter().for_each(|number| lookup.add_known(node(number)));
        lookup
    }

    fn asked(lookup: &mut Lookup) -> Vec<SocketAddr> {
        core::iter::from_fn(|| lookup.next()).map(|asking| asking.addr).collect()
    }

    fn addrs(numbers: impl IntoIterator<Item = u8>) -> Vec<SocketAddr> {
        numbers.into_iter().map(|number| node(number).addr).collect()
    }

    #[test]
    fn the_closest_are_asked_first_and_some_at_once() {
        let mut lookup = start([50, 40, 60, 30, 20]);
        assert_eq!(asked(&mut lookup), addrs([20, 30, 40, 50]));
        lookup.answered(node(30), None, [node(5), node(70)].into_iter());
        assert_eq!(asked(&mut lookup), addrs([5]));
        lookup.is_late(node(20).addr);
        assert_eq!(asked(&mut lookup), addrs([60]), "a late node lets another be asked");
        lookup.failed(node(40).addr);
        assert_eq!(asked(&mut lookup), addrs([70]));
        assert!(!lookup.is_done());
    }

    #[test]
    fn eight_answers_from_the_closest_are_enough() {
        let mut lookup = start(1..=20);
        for number in 1..=8 {
            asked(&mut lookup);
            assert!(!lookup.is_done());
            lookup.answered(node(number), Some([number].into()), core::iter::empty());
        }
        assert_eq!(asked(&mut lookup), []);
        assert!(lookup.is_done());
        assert_eq!(lookup.closest().collect::<Vec<_>>(), (1..=8).map(node).collect::<Vec<_>>());
        assert_eq!(lookup.holders().len(), 8);
    }

    #[test]
    fn a_late_node_is_not_waited_for_when_enough_have_answered() {
        let mut lookup = start(1..=9);
        asked(&mut lookup);
        lookup.is_late(node(1).addr);
        for number in 2..=9 {
            assert!(!lookup.is_done());
            asked(&mut lookup);
            lookup.answered(node(number), None, core::iter::empty());
        }
        assert!(lookup.is_done());
        let mut few = start(1..=2);
        asked(&mut few);
        few.is_late(node(1).addr);
        few.answered(node(2), None, core::iter::empty());
        assert!(!few.is_done(), "with few answers it is");
        few.failed(node(1).addr);
        assert!(few.is_done());
    }

    #[test]
    fn an_id_next_to_the_target_is_worth_nothing_if_the_address_may_not_have_it() {
        let mut lookup = Lookup::new(Id([0; 20]));
        let ip = |last| IpAddr::from(Ipv4Addr::new(5, last, 7, 8));
        let mut rng = Rng::from_seed(1);
        let liar = Contact { id: Id([0; 20]), addr: SocketAddr::new(ip(1), 1) };
        let honest = Contact { id: secure_id(ip(2), &mut rng), addr: SocketAddr::new(ip(2), 1) };
        [liar, honest].into_iter().for_each(|contact| lookup.add_known(contact));
        assert_eq!(asked(&mut lookup), [honest.addr, liar.addr]);
    }

    #[test]
    fn nobody_makes_us_ask_a_host_twice_a_network_often_or_an_address_of_our_own() {
        let mut lookup = Lookup::new(Id([0; 20]));
        let stranger = Contact { addr: "5.6.7.8:1".parse().unwrap(), ..node(1) };
        lookup.add_known(stranger);
        asked(&mut lookup);
        let named = [
            "9.9.9.1:1",
            "9.9.9.1:2",
            "9.9.9.2:1",
            "9.9.9.3:1",
            "10.0.0.1:1",
            "127.0.0.1:1",
            "224.0.0.1:1",
            "5.6.7.8:2",
        ];
        let named = named
            .iter()
            .zip(2..)
            .map(|(text, number)| Contact { addr: text.parse().unwrap(), ..node(number) });
        lookup.answered(stranger, None, named);
        assert_eq!(
            asked(&mut lookup),
            ["9.9.9.1:1".parse().unwrap(), "9.9.9.2:1".parse().unwrap()]
        );
    }

    #[test]
    fn addresses_without_an_id_are_asked_first_and_placed_by_their_answer() {
        let mut lookup = start([10]);
        lookup.add_address(node(90).addr);
        assert_eq!(asked(&mut lookup), addrs([90, 10]));
        lookup.answered(node(90), None, core::iter::empty());
        lookup.answered(node(10), None, core::iter::empty());
        assert_eq!(lookup.closest().collect::<Vec<_>>(), [node(10), node(90)]);
    }

    #[test]
    fn what_is_remembered_is_limited() {
        let mut lookup = start([]);
        for third in 0..4 {
            for last in 0..250 {
                let ip = Ipv4Addr::new(10, 0, third, last);
                lookup.add_known(Contact {
                    id: Id([last; 20]).beside(usize::from(third), &mut Rng::from_seed(last.into())),
                    addr: SocketAddr::new(ip.into(), 1),
                });
            }
        }
        assert_eq!(lookup.candidates.len(), CANDIDATES_MAX);
    }
}
