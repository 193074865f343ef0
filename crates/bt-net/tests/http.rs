//! GETs against scripted servers on loopback.
//!
//! Decides: what must be read, followed and refused.
//! Must not know: how the client is built.
//! Invariant: every script is raw bytes, so a server may break any rule.

use bt_net::{Egress, EgressConfig, HttpOptions, HttpReply, NetError};
use bt_types::Source;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Starts a server that gives each connection the next of the replies; it records the heads of the
/// requests.
async fn scripted(answers: Vec<Vec<u8>>) -> (SocketAddr, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut heads = Vec::new();
        for answer in answers {
            let (stream, _) = listener.accept().await.unwrap();
            heads.push(serve(stream, &answer).await);
        }
        heads
    });
    (addr, task)
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &[u8]) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    // The client may have gone away in the middle of a long reply: some scripts test that.
    let _ = stream.write_all(answer).await;
    let _ = stream.shutdown().await;
    String::from_utf8(head).unwrap()
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn moved(to: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

async fn get(url: &str, options: HttpOptions) -> Result<HttpReply, NetError> {
    Egress::new(EgressConfig::default()).unwrap().http_get(url, &options).await
}

fn user() -> HttpOptions {
    HttpOptions::new(Source::User)
}

#[tokio::test]
async fn the_query_arrives_as_it_was_written() {
    let (addr, server) = scripted(vec![ok("hello")]).await;
    let reply = get(&format!("http://{addr}/a/announce?info_hash=%00%2B+~%ff&x=1#f"), user())
        .await
        .unwrap();
    assert_eq!(
        reply,
        HttpReply {
            version: (None, None),
            status: 200,
            body: b"hello".to_vec(),
            is_cut: false,
            retry_after: None,
            from: addr
        }
    );
    let head = server.await.unwrap().remove(0);
    assert!(head.starts_with("GET /a/announce?info_hash=%00%2B+~%ff&x=1 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: {addr}\r\n")), "{head}");
}

#[tokio::test]
async fn bodies_of_every_framing_are_read_and_capped() {
    let chunked =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"
            .to_vec();
    let until_close = b"HTTP/1.0 200 OK\r\n\r\nabcdef".to_vec();
    for answer in [ok("abcdef"), chunked, until_close] {
        for (max_body, fits) in [(6, true), (5, false)] {
            let (addr, _server) = scripted(vec![answer.clone()]).await;
            let result = get(&format!("http://{addr}/"), HttpOptions { max_body, ..user() }).await;
            match result {
                Ok(reply) => assert!(fits && reply.body == b"abcdef"),
                Err(error) => {
                    assert!(!fits && matches!(error, NetError::TooLarge { limit: 5 }), "{error}")
                }
            }
        }
    }
}

#[tokio::test]
async fn gzip_is_accepted_undone_and_capped() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &[b'x'; 1000]).unwrap();
    let gzip = gzip.finish().unwrap();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        gzip.len()
    );
    for (max_body, fits) in [(1000, true), (999, false)] {
        let (addr, server) = scripted(vec![[head.as_bytes(), &gzip].concat()]).await;
        let result = get(&format!("http://{addr}/"), HttpOptions { max_body, ..user() }).await;
        match result {
            Ok(reply) => assert!(fits && reply.body == [b'x'; 1000]),
            Err(error) => {
                assert!(!fits && matches!(error, NetError::TooLarge { limit: 999 }), "{error}")
            }
        }
        assert!(server.await.unwrap()[0].contains("accept-encoding: gzip\r\n"));
    }
    let (addr, _server) = scripted(vec![
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx".to_vec(),
    ])
    .await;
    assert!(matches!(get(&format!("http://{addr}/"), user()).await, Err(NetError::Encoding(_))));
}

#[tokio::test]
async fn rude_servers_give_errors() {
    let long_head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(100_000)).into_bytes();
    let many_headers = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: x\r\n".repeat(257)).into_bytes();
    for answer in [long_head, many_headers, b"220 smtp.example ESMTP\r\n".to_vec(), Vec::new()] {
        let (addr, _server) = scripted(vec![answer]).await;
        let result = get(&format!("http://{addr}/"), user()).await;
        assert!(matches!(result, Err(NetError::Http(_))), "{result:?}");
    }
}

#[tokio::test]
async fn what_is_untidy_but_whole_is_taken() {
    let body = |head: &str| {
        format!("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n{head}\r\nabcdef").into_bytes()
    };
    let answers = [
        body("Content-Encoding: none\r\n"),
        body("Content-Encoding: UTF-8\r\n"),
        body("X-A : b\r\n"),
        [b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-N\xe9: a\r\n\r\nabcdef".to_vec()].concat(),
        body(&"X: x\r\n".repeat(200)),
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n0\r\n\r\n".to_vec(),
    ];
    for answer in answers {
        let (addr, _server) = scripted(vec![answer.clone()]).await;
        let reply = get(&format!("http://{addr}/"), user())
            .await
            .unwrap_or_else(|error| panic!("{error}: {}", answer.escape_ascii()));
        assert!(reply.body == b"abcdef" && !reply.is_cut, "{}", answer.escape_ascii());
    }
    // The reader of the body must judge whether these are whole.
    let cut = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabcdef".to_vec(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n".to_vec(),
    ];
    for answer in cut {
        let (addr, _server) = scripted(vec![answer]).await;
        let reply = get(&format!("http://{addr}/"), user()).await.unwrap();
        assert!(reply.body == b"abcdef" && reply.is_cut);
    }
    let to = "/\u{fc}/announce";
    let (addr, server) = scripted(vec![moved(to), ok("there")]).await;
    assert_eq!(get(&format!("http://{addr}/"), user()).await.unwrap().body, b"there");
    assert!(server.await.unwrap()[1].starts_with("GET /%C3%BC/announce HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_password_is_sent_and_not_shown_and_a_server_says_when_to_come_back() {
    let busy = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n"
        .to_vec();
    let (addr, server) = scripted(vec![busy]).await;
    let reply = get(&format!("http://u%40:p%C3%BC@{addr}/x"), user()).await.unwrap();
    assert_eq!((reply.status, reply.retry_after), (429, Some(Duration::from_secs(3600))));
    let head = server.await.unwrap().remove(0);
    assert!(
        head.contains("authorization: Basic dUA6cMO8\r\n")
            && head.contains(&format!("host: {addr}\r\n")),
        "{head}"
    );
    let error = get("ftp://u:secret@h/x?key", user()).await.unwrap_err().to_string();
    assert!(!error.contains("secret") && !error.contains("key"), "{error}");
}

#[tokio::test]
async fn a_server_near_us_leads_to_itself_and_to_no_other_service_here() {
    let (other, _other) = scripted(vec![ok("another service")]).await;
    let (addr, _server) = scripted(vec![moved(&format!("http://{other}/"))]).await;
    assert!(matches!(get(&format!("http://{addr}/"), user()).await, Err(NetError::Redirect(_))));
    let (addr, _server) = scripted(vec![moved("/there"), ok("itself")]).await;
    assert_eq!(get(&format!("http://{addr}/"), user()).await.unwrap().body, b"itself");
}

#[tokio::test]
async fn a_silent_server_costs_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let result = get(&url, HttpOptions { timeout: Duration::from_millis(50), ..user() }).await;
    assert!(matches!(result, Err(NetError::Timeout)));
}

#[tokio::test]
async fn redirects_are_followed_up_to_the_limit() {
    for (redirects, arrives) in [(0, true), (5, true), (6, false)] {
        let mut answers = vec![moved("/next?x=1"); redirects];
        answers.push(ok("there"));
        let (addr, _server) = scripted(answers).await;
        match get(&format!("http://{addr}/"), user()).await {
            Ok(reply) => assert!(arrives && reply.body == b"there"),
            Err(error) => {
                assert!(!arrives && matches!(error, NetError::TooManyRedirects), "{error}")
            }
        }
    }
    let (addr, _server) =
        scripted(vec![b"HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n".to_vec()]).await;
    assert!(matches!(get(&format!("http://{addr}/"), user()).await, Err(NetError::Redirect(_))));
    let (addr, _server) = scripted(vec![moved("ftp://example.com/")]).await;
    assert!(matches!(
        get(&format!("http://{addr}/"), user()).await,
        Err(NetError::Redirect(_) | NetError::Url { .. })
    ));
    let (addr, _server) = scripted(vec![moved("magnet:?xt=urn:btih:00")]).await;
    let magnet = get(&format!("http://{addr}/"), user()).await;
    assert!(
        matches!(&magnet, Err(NetError::Magnet(link)) if link == "magnet:?xt=urn:btih:00"),
        "{magnet:?}"
    );
}

#[tokio::test]
async fn the_source_of_the_url_is_held_to_the_address_rule() {
    let (addr, _server) = scripted(vec![ok("private")]).await;
    let stranger = HttpOptions::new(Source::Host("8.8.8.8".parse().unwrap()));
    for host in ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"] {
        let result = get(&format!("http://{host}:{}/", addr.port()), stranger.clone()).await;
        assert!(matches!(result, Err(NetError::Refused { .. })), "{host}: {result:?}");
    }
    let pinned = HttpOptions { via: Some(addr), ..stranger };
    assert!(
        matches!(get("http://public.example/", pinned).await, Err(NetError::Refused { .. })),
        "nor by a chosen address"
    );
}

#[cfg(not(feature = "tls"))]
#[tokio::test]
async fn without_tls_https_is_refused_by_name_and_nothing_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let mut sent = Vec::new();
        listener.accept().await.unwrap().0.read_to_end(&mut sent).await.unwrap();
        sent
    });
    let options = HttpOptions { via: Some(([127, 0, 0, 1], port).into()), ..user() };
    let error = get(&format!("https://localhost:{port}/"), options).await.unwrap_err();
    assert!(error.to_string().contains("this build has no https (feature tls)"), "{error}");
    assert_eq!(server.await.unwrap(), b"");
}

#[cfg(feature = "tls")]
mod tls {
    use super::*;
    use bt_net::Roots;
    use std::sync::Arc;

    #[tokio::test]
    async fn https_needs_a_trusted_certificate_and_stays_https() {
        let certified = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = config
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            for answer in [ok("never sent"), ok("secret"), moved("http://localhost/")] {
                let (stream, _) = listener.accept().await.unwrap();
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream, &answer).await;
                }
            }
        });
        let url = format!("https://localhost:{port}/");
        let options = HttpOptions { via: Some(([127, 0, 0, 1], port).into()), ..user() };
        assert!(
            matches!(get(&url, options.clone()).await, Err(NetError::Tls { .. })),
            "not trusted"
        );
        let mut extra_roots = Roots::default();
        extra_roots.add_pem(certified.cert.pem().as_bytes()).unwrap();
        let trusting =
            Egress::new(EgressConfig { extra_roots, ..EgressConfig::default() }).unwrap();
        assert_eq!(trusting.http_get(&url, &options).await.unwrap().body, b"secret");
        assert!(
            matches!(trusting.http_get(&url, &options).await, Err(NetError::Redirect(_))),
            "https to http"
        );
    }
}
