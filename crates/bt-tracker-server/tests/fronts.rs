//! The fronts over real loopback sockets, as raw bytes.
//!
//! Decides: what a client of each protocol must see.
//! Must not know: how the server is built.
//! Invariant: every wait ends with a reply or a closed connection.

use bt_tracker_server::{Config, TrackerServer};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

const ANNOUNCE: &str =
    "/announce?info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=6881&left=0";

async fn start() -> TrackerServer {
    let both: Vec<SocketAddr> = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
    TrackerServer::start(Config { http: both.clone(), udp: both, ..Config::default() })
        .await
        .unwrap()
}

/// Sends the bytes and reads until the server closes.
async fn exchange(addr: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // A server that refuses may close before it has read everything: bytes that came until then
    // count.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn both_families_and_protocols_share_one_table() {
    let server = start().await;
    for addr in server.http_addrs() {
        let answer = exchange(
            *addr,
            format!("GET {ANNOUNCE} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("d8:complete"), "{answer}");
    }
    for addr in server.udp_addrs() {
        let bind: SocketAddr = if addr.is_ipv4() {
            "127.0.0.1:0".parse().unwrap()
        } else {
            "[::1]:0".parse().unwrap()
        };
        let socket = UdpSocket::bind(bind).await.unwrap();
        socket.connect(addr).await.unwrap();
        let mut reply = [0; 64];
        socket.send(b"\0\0\x04\x17\x27\x10\x19\x80\0\0\0\0abcd").await.unwrap();
        assert_eq!(socket.recv(&mut reply).await.unwrap(), 16);
        let mut scrape = [&reply[8..16], b"\0\0\0\x02efgh"].concat();
        scrape.extend([b'a'; 20]);
        socket.send(&scrape).await.unwrap();
        assert_eq!(socket.recv(&mut reply).await.unwrap(), 20);
        assert_eq!(reply[..12], *b"\0\0\0\x02efgh\0\0\0\x02", "two seeds came over HTTP");
    }
    assert_eq!((server.stats().torrents, server.stats().peers), (1, 2));
    server.stop().await;
}

#[tokio::test]
async fn pipelined_requests_are_all_answered_also_byte_by_byte() {
    let server = start().await;
    let request = format!("GET {ANNOUNCE} HTTP/1.1\r\nHost: t\r\n\r\n").repeat(20);
    let request = request + "GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
    let answer = exchange(server.http_addrs()[0], request.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 21, "{answer}");

    let mut stream = TcpStream::connect(server.http_addrs()[0]).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in format!("GET {ANNOUNCE} HTTP/1.0\r\n\r\n").bytes() {
        stream.write_all(&[byte]).await.unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("d8:complete"), "{answer}");
}

#[tokio::test]
async fn a_head_is_answered_as_a_get_without_its_body() {
    let server = start().await;
    for target in [ANNOUNCE.into(), ANNOUNCE.replace("/announce", "//announce/"), "/".into()] {
        let request = format!("HEAD {target} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
        let answer = exchange(server.http_addrs()[0], request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_connection_carries_a_hundred_requests() {
    let server = start().await;
    let request = format!("GET {ANNOUNCE} HTTP/1.1\r\nHost: t\r\n\r\n").repeat(150);
    let answer = exchange(server.http_addrs()[0], request.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 100);
    assert_eq!(answer.matches("connection: close").count(), 1);
}

#[tokio::test]
async fn a_long_scrape_is_compressed_for_who_accepts_it_and_an_announce_is_not() {
    let server = start().await;
    let hashes: Vec<String> =
        (10..74).map(|n| format!("info_hash=aaaaaaaaaaaaaaaaaa{n}")).collect();
    let scrape = format!("/scrape?{}", hashes.join("&"));
    let get = async |target: &str, accept: &str| {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: t\r\n{accept}Connection: close\r\n\r\n");
        exchange(server.http_addrs()[0], request.as_bytes()).await
    };
    let plain = get(&scrape, "").await;
    assert!(
        plain.matches("downloaders").count() == 64 && !plain.contains("content-encoding"),
        "{plain}"
    );
    let gzip = get(&scrape, "Accept-Encoding: gzip, deflate\r\n").await;
    assert!(gzip.contains("content-encoding: gzip\r\n") && gzip.len() < plain.len() / 2, "{gzip}");
    let announce = get(ANNOUNCE, "Accept-Encoding: gzip\r\n").await;
    assert!(announce.contains("d8:complete"), "{announce}");
}

#[tokio::test]
async fn what_is_malformed_gets_a_short_answer() {
    let server = start().await;
    let line = |method: &str, target: &str| {
        format!("{method} {target} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").into_bytes()
    };
    let table = [
        (line("GET", "/announce"), "HTTP/1.1 200", "14:failure reason17:missing info_hash"),
        (line("GET", "/announce?info_hash=%"), "HTTP/1.1 200", "invalid info_hash"),
        (line("GET", "/elsewhere"), "HTTP/1.1 404", ""),
        (line("POST", ANNOUNCE), "HTTP/1.1 405", ""),
        (line("GET", &format!("/{}", "x".repeat(20_000))), "HTTP/1.1 4", ""),
        (b"rubbish\r\n\r\n".to_vec(), "HTTP/1.1 400", ""),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n".to_vec(), "HTTP/1.1 400", ""),
    ];
    for (request, status, body) in table {
        let answer = exchange(server.http_addrs()[0], &request).await;
        let request = String::from_utf8_lossy(&request[..request.len().min(60)]).into_owned();
        assert!(answer.starts_with(status) && answer.contains(body), "{request:?} got {answer:?}");
        assert!(answer.len() < 512, "{request:?} got a long answer");
    }
}

#[tokio::test]
async fn a_taken_address_is_an_error_that_names_it() {
    let server = start().await;
    let taken = server.http_addrs()[0];
    let error = TrackerServer::start(Config { http: vec![taken], ..Config::default() })
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains(&taken.to_string()), "{error}");
}

#[tokio::test]
async fn stop_closes_every_connection_and_frees_the_addresses() {
    let server = start().await;
    let (http, udp) = (server.http_addrs().to_vec(), server.udp_addrs().to_vec());
    let mut idle = TcpStream::connect(http[0]).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n").await.unwrap();
    assert_eq!(idle.read_u8().await.unwrap(), b'H', "served and kept alive");
    server.stop().await;
    let mut rest = Vec::new();
    let _ = idle.read_to_end(&mut rest).await;
    assert!(TcpStream::connect(http[0]).await.is_err());
    TrackerServer::start(Config { http, udp, ..Config::default() }).await.unwrap();
}

/// Announces an info-hash over UDP from a socket, and returns how many peers are in its swarm.
async fn announce_over_udp(socket: &UdpSocket, id: &[u8], hash: [u8; 20]) -> u32 {
    let port = socket.local_addr().unwrap().port().to_be_bytes();
    let head =
        [id, b"\0\0\0\x01efgh", &hash, &[b'p'; 20], &[0; 8], &[0; 7], &[1], &[0; 8]].concat();
    let request = [&head[..], &[0; 12], &[0xff; 4], &port].concat();
    assert_eq!(request.len(), 98);
    socket.send(&request).await.unwrap();
    let mut reply = [0; 2_048];
    let length = socket.recv(&mut reply).await.unwrap();
    assert!(length >= 20 && reply[..8] == *b"\0\0\0\x01efgh", "{:?}", &reply[..length]);
    u32::from_be_bytes(reply[12..16].try_into().unwrap())
}

async fn connect_over_udp(socket: &UdpSocket) -> [u8; 8] {
    let mut reply = [0; 64];
    socket.send(b"\0\0\x04\x17\x27\x10\x19\x80\0\0\0\0abcd").await.unwrap();
    assert_eq!(socket.recv(&mut reply).await.unwrap(), 16);
    reply[8..16].try_into().unwrap()
}

#[tokio::test]
async fn workers_share_the_torrents_and_answer_as_one() {
    for workers in [1, 2, 3, 8] {
        let udp: Vec<SocketAddr> = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
        let http = vec!["127.0.0.1:0".parse().unwrap()];
        let workers = std::num::NonZero::new(workers);
        let server =
            TrackerServer::start(Config { udp, http, workers, ..Config::default() }).await.unwrap();
        for (number, addr) in server.udp_addrs().iter().enumerate() {
            let bind = if addr.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
            for client in 0..4 {
                let socket = UdpSocket::bind(bind).await.unwrap();
                socket.connect(addr).await.unwrap();
                // An id of any worker is good with all of them.
                let id = connect_over_udp(&socket).await;
                for first in 0..20 {
                    let leechers = announce_over_udp(&socket, &id, [first; 20]).await;
                    assert_eq!(leechers, (number * 4 + client + 1) as u32, "{workers:?} workers");
                }
                let hashes: Vec<u8> = (0..20).flat_map(|first| [first; 20]).collect();
                let scrape = [&id[..], b"\0\0\0\x02efgh", &hashes].concat();
                socket.send(&scrape).await.unwrap();
                let mut reply = [0; 2_048];
                assert_eq!(socket.recv(&mut reply).await.unwrap(), 8 + 20 * 12);
                let counts = reply[8..8 + 240].chunks(12);
                let all = counts.map(|counts| u32::from_be_bytes(counts[8..].try_into().unwrap()));
                assert_eq!(all.collect::<Vec<_>>(), vec![(number * 4 + client + 1) as u32; 20]);
            }
        }
        assert_eq!((server.stats().torrents, server.stats().peers), (20, 160));
        let target =
            "/scrape?info_hash=%05%05%05%05%05%05%05%05%05%05%05%05%05%05%05%05%05%05%05%05";
        let request = format!("GET {target} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
        let answer = exchange(server.http_addrs()[0], request.as_bytes()).await;
        assert!(answer.contains("10:incompletei8e"), "{answer}");
        server.stop().await;
    }
}

#[tokio::test]
async fn an_address_that_another_tracker_has_is_an_error_whatever_the_workers() {
    for workers in [1, 2] {
        let workers = std::num::NonZero::new(workers);
        let udp = vec!["127.0.0.1:0".parse().unwrap()];
        let server =
            TrackerServer::start(Config { udp, workers, ..Config::default() }).await.unwrap();
        let udp = server.udp_addrs().to_vec();
        let again = Config { udp: udp.clone(), workers, ..Config::default() };
        let error = TrackerServer::start(again.clone()).await.unwrap_err().to_string();
        assert!(error.contains(&udp[0].to_string()), "{error}");
        server.stop().await;
        TrackerServer::start(again).await.unwrap().stop().await;
    }
}

#[tokio::test]
async fn a_burst_beyond_a_batch_is_answered_whole() {
    let workers = std::num::NonZero::new(2);
    let udp = vec!["127.0.0.1:0".parse().unwrap()];
    let server = TrackerServer::start(Config { udp, workers, ..Config::default() }).await.unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server.udp_addrs()[0]).await.unwrap();
    for round in 0..20u8 {
        for number in 0..100u8 {
            let request =
                [b"\0\0\x04\x17\x27\x10\x19\x80\0\0\0\0".as_slice(), &[round, number, 0, 0]];
            socket.send(&request.concat()).await.unwrap();
        }
        let mut told = [false; 100];
        for _ in 0..100 {
            let mut reply = [0; 64];
            assert_eq!(socket.recv(&mut reply).await.unwrap(), 16);
            assert_eq!(reply[4], round);
            told[usize::from(reply[5])] = true;
        }
        assert!(told.iter().all(|told| *told));
    }
    // Garbage between requests gets no answer and costs no other its own.
    for garbage in [&[][..], b"x", &[0xff; 98], &[0; 1_400]] {
        socket.send(garbage).await.unwrap();
        connect_over_udp(&socket).await;
    }
}
