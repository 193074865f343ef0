//! Magnet links between sessions on loopback.

use bt_bencoding::{Cursor, Limits};
use bt_piece_store::{CreateOptions, Progress, create_torrent};
use bt_session::dht::{Dht, DhtConfig};
use bt_session::{
    AddOptions, Discovery, Event, Magnet, Metainfo, Select, Session, SessionConfig,
    SessionSettings, TorrentError, TorrentEvent, TorrentState,
};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

fn config() -> SessionConfig {
    SessionConfig { listen: Some(ANY.into()), ..SessionConfig::default() }
}

/// A folder `tree` with two files in `dir`, and a torrent of it.
fn torrent(dir: &Path) -> Metainfo {
    torrent_of(dir, false)
}

fn torrent_of(dir: &Path, private: bool) -> Metainfo {
    let tree = dir.join("tree");
    std::fs::create_dir(&tree).unwrap();
    for (name, byte) in [("a", 1), ("b", 2)] {
        std::fs::write(tree.join(name), vec![byte; 100_000]).unwrap();
    }
    let options =
        CreateOptions { piece_length: Some(16 << 10), private, ..CreateOptions::default() };
    create_torrent(&tree, &options, &Progress::default()).unwrap().metainfo
}

async fn seeding(config: SessionConfig, torrent: &Metainfo, dir: &Path) -> Session {
    let session = Session::start(config).unwrap();
    session.add(torrent, AddOptions::new(dir)).unwrap().wait_active().await.unwrap();
    session
}

/// The link of a torrent.
fn link(torrent: &Metainfo) -> Magnet {
    Magnet::parse(&torrent.magnet()).unwrap()
}

#[tokio::test]
async fn a_link_leads_through_its_peer_to_the_files_that_are_chosen() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let torrent = torrent(from.path());
    let seeder = seeding(config(), &torrent, from.path()).await;
    let leecher = Session::start(config()).unwrap();
    let choose = |torrent: &Metainfo| {
        let is_b = |file: &bt_metainfo::FileEntry| file.path.last().is_some_and(|name| name == "b");
        Ok(Some(
            torrent
                .info
                .files
                .iter()
                .enumerate()
                .filter(|(_, file)| is_b(file))
                .map(|(index, _)| index)
                .collect(),
        ))
    };
    let peers = seeder.listen_addrs().to_vec();
    let options =
        AddOptions { peers, select: Select::By(Arc::new(choose)), ..AddOptions::new(to.path()) };
    let magnet = link(&torrent);
    let leech = leecher.add_magnet(&magnet, options.clone()).unwrap();
    assert_eq!(leecher.add_magnet(&magnet, options).unwrap_err(), TorrentError::Duplicate);
    assert_eq!(leech.wait_metadata().await.unwrap().info_bytes, torrent.info_bytes);
    leech.wait_complete().await.unwrap();
    assert_eq!(std::fs::read(to.path().join("tree/b")).unwrap(), [2; 100_000]);
    assert!(leech.bytes_wanted() < 150_000, "{}", leech.bytes_wanted());
    leecher.stop().await;
    seeder.stop().await;
}

#[tokio::test]
async fn metadata_alone_touches_no_disk() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let torrent = torrent(from.path());
    let seeder = seeding(config(), &torrent, from.path()).await;
    let leecher = Session::start(config()).unwrap();
    let options = AddOptions {
        metadata_only: true,
        peers: seeder.listen_addrs().to_vec(),
        ..AddOptions::new(to.path().join("x"))
    };
    let leech = leecher.add_magnet(&link(&torrent), options).unwrap();
    let found = leech.wait_metadata().await.unwrap();
    assert_eq!(Metainfo::from_bytes(&found.to_bytes()).unwrap().info_hashes, torrent.info_hashes);
    leech.state().wait_for(|state| *state == TorrentState::Known).await.unwrap();
    leech.stop().await;
    assert!(!to.path().join("x").exists());
    leecher.stop().await;
    seeder.stop().await;
}

#[tokio::test]
async fn two_sessions_meet_in_the_dht_and_remember_it() {
    let (from, to, state) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let torrent = torrent(from.path());
    let node = Dht::start(&[ANY.into()], DhtConfig::default()).unwrap();
    let bootstrap = vec![node.listen()[0].to_string()];
    let with_dht = || SessionConfig {
        dht: Some(DhtConfig { bootstrap: bootstrap.clone(), ..DhtConfig::default() }),
        ..config()
    };
    let seeder = seeding(with_dht(), &torrent, from.path()).await;
    let leecher =
        Session::start(SessionConfig { state_dir: Some(state.path().into()), ..with_dht() })
            .unwrap();
    // The side that searches first finds no peer and searches again.
    leecher
        .add_magnet(&link(&torrent), AddOptions::new(to.path()))
        .unwrap()
        .wait_complete()
        .await
        .unwrap();
    leecher.stop().await;

    // The next run begins at the nodes that this one knew.
    let dht = Some(DhtConfig::default());
    let later =
        Session::start(SessionConfig { state_dir: Some(state.path().into()), dht, ..config() })
            .unwrap();
    let again = AddOptions::new(to.path().join("again"));
    later.add_magnet(&link(&torrent), again).unwrap().wait_complete().await.unwrap();
    later.stop().await;
    seeder.stop().await;
    node.stop().await;
}

#[tokio::test]
async fn the_dht_is_searched_while_the_user_wants_it() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let torrent = torrent(from.path());
    let node = Node(tokio::net::UdpSocket::bind(ANY).await.unwrap());
    let bootstrap = vec![node.0.local_addr().unwrap().to_string()];
    let dht = Some(DhtConfig { bootstrap, ..DhtConfig::default() });
    let settings = SessionSettings { dht: false, ..SessionSettings::default() };
    let session = Session::start(SessionConfig { dht, settings, ..config() }).unwrap();
    let leech = session.add_magnet(&link(&torrent), AddOptions::new(to.path())).unwrap();
    let mut events = leech.events();
    // A node that has joined would search now.
    while !session.view().await.dht.unwrap().joined {
        let (query, transaction, at) = node.next().await;
        assert_ne!(query, "get_peers");
        node.answer(&transaction, at).await;
    }
    session.change(|settings| settings.dht = true);
    let began = TorrentEvent::Engine(Event::SearchBegan(Discovery::Dht));
    assert_eq!(events.recv().await.unwrap(), began, "the first search");
    while node.next().await.0 != "get_peers" {}
    session.change(|settings| settings.dht = false);
    while !matches!(
        events.recv().await.unwrap(),
        TorrentEvent::Engine(Event::SearchEnded { via: Discovery::Dht, .. })
    ) {}
    session.stop().await;
}

#[tokio::test]
async fn a_search_without_peers_is_stopped_at_once() {
    let from = tempfile::tempdir().unwrap();
    let torrent = torrent(from.path());
    let config = SessionConfig { dht: Some(DhtConfig::default()), ..config() };
    let session = Session::start(config).unwrap();
    let leech =
        session.add_magnet(&link(&torrent), AddOptions::new(from.path().join("to"))).unwrap();
    assert!(matches!(*leech.state().borrow(), TorrentState::Finding(_)));
    assert_eq!(leech.stop().await.status, None);
    assert_eq!(leech.wait_metadata().await.unwrap_err(), TorrentError::Stopping);
    session.stop().await;
}

/// The one node of a DHT, in the hands of a test.
struct Node(tokio::net::UdpSocket);

impl Node {
    /// The next datagram: the name of a query (`pong` for an answer), its transaction, and from
    /// where.
    async fn next(&self) -> (String, Vec<u8>, SocketAddr) {
        let mut buffer = [0; 2048];
        let (len, from) = self.0.recv_from(&mut buffer).await.unwrap();
        let message = Cursor::parse(&buffer[..len], Limits::NETWORK).unwrap();
        let text =
            |key: &[u8]| message.get(key).and_then(|value| value.as_bytes()).map(<[u8]>::to_vec);
        (
            text(b"q").map_or("pong".into(), |query| String::from_utf8(query).unwrap()),
            text(b"t").unwrap(),
            from,
        )
    }

    async fn answer(&self, transaction: &[u8], to: SocketAddr) {
        let head =
            format!("d1:rd2:id20:{}5:nodes0:5:token1:xe1:t{}:", "i".repeat(20), transaction.len());
        self.0.send_to(&[head.as_bytes(), transaction, b"1:y1:re"].concat(), to).await.unwrap();
    }

    /// Asks for a sign of life, and returns what queries came before it.
    async fn ping(&self, to: SocketAddr) -> Vec<String> {
        let ping = format!("d1:ad2:id20:{}e1:q4:ping1:t1:p1:y1:qe", "i".repeat(20));
        self.0.send_to(ping.as_bytes(), to).await.unwrap();
        let mut before = Vec::new();
        loop {
            match self.next().await.0 {
                pong if pong == "pong" => return before,
                query => before.push(query),
            }
        }
    }
}

#[tokio::test]
async fn a_link_that_turns_out_private_is_announced_nowhere() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let torrent = torrent_of(from.path(), true);
    let node = Node(tokio::net::UdpSocket::bind(ANY).await.unwrap());
    let bootstrap = vec![node.0.local_addr().unwrap().to_string()];
    let dht = Some(DhtConfig { bootstrap, ..DhtConfig::default() });
    let leecher = Session::start(SessionConfig { dht, ..config() }).unwrap();
    let leech = leecher.add_magnet(&link(&torrent), AddOptions::new(to.path())).unwrap();
    let (transaction, at) = loop {
        match node.next().await {
            (query, transaction, at) if query == "get_peers" => break (transaction, at),
            (_, transaction, at) => node.answer(&transaction, at).await,
        }
    };
    let seeder = Session::start(config()).unwrap();
    seeder
        .add(
            &torrent,
            AddOptions { peers: leecher.listen_addrs().to_vec(), ..AddOptions::new(from.path()) },
        )
        .unwrap();
    leech.wait_active().await.unwrap();
    node.ping(at).await;
    // The closest nodes are told our address at the end of a search.
    node.answer(&transaction, at).await;
    let heard = node.ping(at).await;
    assert!(!heard.iter().any(|query| query == "announce_peer"), "{heard:?}");
    leecher.stop().await;
    seeder.stop().await;
}
