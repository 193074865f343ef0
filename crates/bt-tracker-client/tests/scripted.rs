//! The client against scripted trackers on loopback.
//!
//! Decides: what the caller must get for each reply of a tracker.
//! Must not know: how the client is built.
//! Invariant: the trackers speak raw bytes over HTTP, and `UdpReply` over UDP.

use bt_net::{Egress, EgressConfig, NetError};
use bt_tracker_client::{TrackerClient, TrackerError};
use bt_tracker_wire::{
    AddressFamily, Announce, AnnounceReply, Event, Failure, RetryIn, SwarmCounts, UdpReply,
    UdpRequest,
};
use bt_types::{InfoHash, PeerId, Rng};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

const DEADLINE: Duration = Duration::from_secs(30);

fn client() -> TrackerClient {
    TrackerClient::new(Egress::new(EgressConfig::default()).unwrap(), Rng::from_seed(1))
}

fn announce() -> Announce {
    Announce {
        event: Event::Started,
        left: 9,
        key: 0xabc,
        ..Announce::new(InfoHash([0x20; 20]), PeerId([b'p'; 20]), 6881)
    }
}

/// Starts an HTTP tracker that gives each connection the next of the replies; returns the request
/// lines.
async fn http_tracker(
    answers: Vec<(u16, &'static [u8])>,
) -> (SocketAddr, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut lines = Vec::new();
        for (status, body) in answers {
            let mut stream = listener.accept().await.unwrap().0;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            lines.push(
                String::from_utf8(head).unwrap().lines().next().unwrap_or_default().to_owned(),
            );
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(&[answer.as_bytes(), body].concat()).await.unwrap();
        }
        lines
    });
    (addr, task)
}

#[tokio::test]
async fn an_http_announce_and_its_scrape() {
    let peers = b"d8:intervali60e5:peers24:\x7f\0\0\x01\0\x09\x0a\0\0\x01\0\x09\0\0\0\0\0\x09\x08\x08\x08\x08\0\0e";
    let counts = b"d5:filesd20:                    d8:completei3eeee";
    let (addr, tracker) = http_tracker(vec![(200, peers), (200, counts)]).await;
    let url = format!("http://{addr}/announce?passkey=s");
    let announced = client().announce(&url, &announce(), DEADLINE).await.unwrap();
    let expected: Vec<SocketAddr> =
        vec!["127.0.0.1:9".parse().unwrap(), "10.0.0.1:9".parse().unwrap()];
    assert_eq!(announced.reply.peers, expected, "not the unreachable ones");
    assert_eq!((announced.reply.interval, announced.from), (60, addr.ip()));
    let scraped = client().scrape(&url, &[InfoHash([0x20; 20])], DEADLINE).await.unwrap();
    assert_eq!(
        scraped.swarms,
        [(InfoHash([0x20; 20]), SwarmCounts { complete: 3, ..SwarmCounts::default() })]
    );
    let lines = tracker.await.unwrap();
    assert!(
        lines[0].starts_with("GET /announce?passkey=s&info_hash=%20%20")
            && lines[0].contains("&event=started"),
        "{lines:?}"
    );
    assert!(lines[1].starts_with("GET /scrape?passkey=s&info_hash=%20%20"), "{lines:?}");
}

#[tokio::test]
async fn an_http_tracker_gets_its_id_back_and_tells_us_our_address() {
    let body = b"d11:external ip4:\x05\x06\x07\x088:intervali60e5:peers0:10:tracker id3:a&be";
    let (addr, tracker) = http_tracker(vec![(200, body), (200, body)]).await;
    let (client, url) = (client(), format!("http://{addr}/announce"));
    let reply = client.announce(&url, &announce(), DEADLINE).await.unwrap().reply;
    assert_eq!(reply.external_ip, Some([5, 6, 7, 8].into()));
    client
        .announce(&url, &Announce { tracker_id: reply.tracker_id, ..announce() }, DEADLINE)
        .await
        .unwrap();
    let lines = tracker.await.unwrap();
    assert!(!lines[0].contains("trackerid") && lines[1].contains("&trackerid=a%26b"), "{lines:?}");
}

#[tokio::test]
async fn what_an_http_tracker_does_wrong_is_told_apart() {
    let ask = async |status, body| {
        let (addr, _tracker) = http_tracker(vec![(status, body)]).await;
        client()
            .announce(&format!("http://{addr}/announce"), &announce(), DEADLINE)
            .await
            .unwrap_err()
    };
    let refusal = b"d14:failure reason2:no8:retry in5:nevere";
    assert!(
        matches!(ask(200, refusal).await, TrackerError::Refused(failure) if failure == Failure::new("no").retry(RetryIn::Never))
    );
    assert!(matches!(ask(403, refusal).await, TrackerError::Refused(_)));
    assert!(matches!(
        ask(404, b"d8:intervali60ee").await,
        TrackerError::Status { status: 404, .. }
    ));
    assert!(matches!(ask(200, b"<html>").await, TrackerError::Malformed(_)));
}

#[tokio::test]
async fn every_address_of_a_name_is_tried() {
    // "localhost" may have one address: the resolver of this test is the list of addresses itself.
    let (addr, tracker) = http_tracker(vec![(200, b"d8:intervali60e5:peers0:e")]).await;
    let dead = SocketAddr::from(([127, 0, 0, 9], addr.port()));
    let silent = SocketAddr::from(([127, 0, 0, 8], addr.port()));
    let _silent = std::net::TcpListener::bind(silent).unwrap();
    let url = format!("http://{addr}/announce");
    let reply =
        client().announce_at(&url, &announce(), &[dead, addr], DEADLINE).await.unwrap().reply;
    assert_eq!(reply.interval, 60);
    assert_eq!(tracker.await.unwrap().len(), 1);
    let (addr, _tracker) = http_tracker(vec![(200, b"d8:intervali60e5:peers0:e")]).await;
    let url = format!("http://{addr}/announce");
    let reply =
        client().announce_at(&url, &announce(), &[silent, addr], Duration::from_secs(2)).await;
    assert!(
        reply.is_ok(),
        "one that accepts and says nothing costs its share of the time: {reply:?}"
    );
}

#[tokio::test]
async fn the_path_rule_and_unreachable_trackers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let error = client()
        .announce(&format!("http://{addr}/admin"), &announce(), DEADLINE)
        .await
        .unwrap_err();
    assert!(matches!(error, TrackerError::PrivatePath(_)), "{error}");
    let error = client().scrape(&format!("http://{addr}/scrape"), &[], DEADLINE).await.unwrap_err();
    assert!(matches!(error, TrackerError::NotScrapable), "{error}");
    drop(listener);
    for url in [format!("http://{addr}/announce"), format!("udp://{addr}/announce")] {
        let error = client().announce(&url, &announce(), DEADLINE).await.unwrap_err();
        assert!(matches!(error, TrackerError::Net(NetError::Connect { .. })), "{url}: {error}");
    }
}

/// Starts a UDP tracker that answers `requests` datagrams and returns them.
async fn udp_tracker(
    bind: &str,
    requests: usize,
) -> (SocketAddr, tokio::task::JoinHandle<Vec<UdpRequest>>) {
    let socket = UdpSocket::bind(bind).await.unwrap();
    let addr = socket.local_addr().unwrap();
    let family = if addr.is_ipv4() { AddressFamily::V4 } else { AddressFamily::V6 };
    let task = tokio::spawn(async move {
        let (mut seen, mut buffer) = (Vec::new(), [0; 2_048]);
        for _ in 0..requests {
            let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
            let request = UdpRequest::parse(&buffer[..len]).unwrap();
            let reply = match &request {
                UdpRequest::Connect { transaction } => {
                    UdpReply::Connect { transaction: *transaction, connection: 42 }
                }
                UdpRequest::Announce { transaction, .. } => {
                    let peers =
                        vec!["8.8.8.8:8".parse().unwrap(), "[2001:db8::8]:8".parse().unwrap()];
                    UdpReply::Announce {
                        transaction: *transaction,
                        reply: AnnounceReply { interval: 60, peers, ..Default::default() },
                    }
                }
                UdpRequest::Scrape { transaction, .. } => {
                    UdpReply::Error { transaction: *transaction, message: "no scrape".into() }
                }
            };
            socket.send_to(b"noise from a stranger", from).await.unwrap();
            socket.send_to(&reply.write(family), from).await.unwrap();
            seen.push(request);
        }
        seen
    });
    (addr, task)
}

#[tokio::test]
async fn a_udp_announce_connects_once_a_minute_in_both_families() {
    for (bind, peer) in [("127.0.0.1:0", "8.8.8.8:8"), ("[::1]:0", "[2001:db8::8]:8")] {
        let (addr, tracker) = udp_tracker(bind, 3).await;
        let (client, url) = (client(), format!("udp://{addr}/announce?key=1"));
        for _ in 0..2 {
            let announced = client.announce(&url, &announce(), DEADLINE).await.unwrap();
            assert_eq!(announced.reply.peers, [peer.parse().unwrap()]);
        }
        let seen = tracker.await.unwrap();
        let sent = Announce { url_data: Some(b"/announce?key=1".to_vec()), ..announce() };
        let expected = |request: &UdpRequest| matches!(request, UdpRequest::Announce { connection: 42, announce, .. } if *announce == sent);
        assert!(
            matches!(seen[0], UdpRequest::Connect { .. })
                && expected(&seen[1])
                && expected(&seen[2]),
            "{seen:?}"
        );
    }
}

#[tokio::test]
async fn a_udp_refusal_carries_the_words_of_the_tracker() {
    let (addr, _tracker) = udp_tracker("127.0.0.1:0", 2).await;
    let error = client()
        .scrape(&format!("udp://{addr}"), &[InfoHash([1; 20])], DEADLINE)
        .await
        .unwrap_err();
    assert!(matches!(error, TrackerError::Refused(failure) if failure.reason == "no scrape"));
}
