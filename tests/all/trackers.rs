//! Trackers that are silent, speak TLS, or compress: what a client makes of them.
//!
//! Decides: the trackers' ways; each is a front before a real `bt tracker`. Must not know: how the
//! client is built.
//! Invariant: order is asserted, never speed.

use crate::Test;
use anyhow::{Context as _, Result, ensure};
use bt_tests::{LOOPBACK, PATIENCE, Process, Protocol, Stage, ensure_same, random_file};
use flate2::Compression;
use flate2::write::GzEncoder;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

#[test]
fn a_silent_first_tracker_does_not_delay_the_download() -> Test {
    let stage = Stage::new()?;
    let (_tracker, url) = stage.tracker(Protocol::Udp, LOOPBACK, None)?;
    let silent = TcpListener::bind(LOOPBACK)?;
    let silent_url = format!("http://{}/announce", silent.local_addr()?);
    let source = stage.path("content");
    random_file(&source, 1, 1 << 20)?;
    let torrent = stage.create(&source, &["-a", &silent_url, "-a", &url])?;

    // Only the second tracker knows the seeder, so both clients must have passed over the silent
    // one.
    let seeder =
        Process::start("seeder", &mut stage.seed("seeder", &torrent, &stage.path(""), LOOPBACK))?;
    let seeders_question = silent.accept()?.0;
    let copy = stage.path("copy");
    let leecher =
        Process::start("leecher", stage.get("leecher", &torrent, &copy, LOOPBACK).arg("--seed"))?;
    let leechers_question = silent.accept()?.0;
    leecher.wait_event("complete", PATIENCE)?;
    // The client has not given up on the silent one: the other was asked beside it, not after its
    // time-out.
    ensure!(is_open(leechers_question)?, "the silent tracker was waited for first");
    ensure_same(&source, &copy.join("content"))?;
    drop(seeders_question);
    leecher.stop(PATIENCE)?.expect_code(0)?;
    seeder.stop(PATIENCE)?.expect_code(0)?;
    Ok(())
}

/// Tells whether the client still waits for an answer.
fn is_open(mut stream: TcpStream) -> Result<bool> {
    stream.set_nonblocking(true)?;
    let mut request = [0; 4096];
    loop {
        match stream.read(&mut request) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(error) => return Ok(error.kind() == ErrorKind::WouldBlock),
        }
    }
}

#[test]
fn an_https_tracker_with_a_certificate_of_ones_own() -> Test {
    let stage = Stage::new()?;
    let (_tracker, behind) = stage.tracker(Protocol::Http, LOOPBACK, None)?;
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()])?;
    let ca = stage.path("ca.pem");
    fs::write(&ca, certified.cert.pem())?;
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der())
        .map_err(anyhow::Error::msg)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = Arc::new(
        config.with_no_client_auth().with_single_cert(vec![certified.cert.der().clone()], key)?,
    );
    let (front, _requests) = front(address(&behind)?, move |stream, relay| {
        relay(&mut StreamOwned::new(ServerConnection::new(Arc::clone(&config))?, stream))
    })?;
    let url = format!("https://{front}/announce");

    let source = stage.path("content");
    random_file(&source, 2, 1 << 20)?;
    let torrent = stage.create(&source, &["-a", &url])?;
    let mut seed = stage.seed("seeder", &torrent, &stage.path(""), LOOPBACK);
    let seeder = Process::start("seeder", seed.arg("--ca").arg(&ca))?;
    let copy = stage.path("copy");
    let mut get = stage.get("leecher", &torrent, &copy, LOOPBACK);
    Process::run("leecher", get.arg("--ca").arg(&ca), PATIENCE)?.expect_code(0)?;
    ensure_same(&source, &copy.join("content"))?;
    let asked =
        ask(&stage, "announce", &torrent, &[Path::new("--ca"), &ca])?.expect_code(0)?.last()?;
    ensure!(asked["trackers"][0]["external_ip"] == "127.0.0.1", "{asked}");
    let scraped =
        ask(&stage, "scrape", &torrent, &[Path::new("--ca"), &ca])?.expect_code(0)?.last()?;
    ensure!(scraped["trackers"][0]["downloaded"] == 1, "{scraped}");

    let untrusted = ask(&stage, "announce", &torrent, &[])?.expect_code(5)?;
    ensure!(untrusted.err.contains("certificate"), "{}", untrusted.err);
    seeder.stop(PATIENCE)?.expect_code(0)?;
    Ok(())
}

#[test]
fn a_file_that_is_no_certificate_is_refused_with_its_name() -> Test {
    let stage = Stage::new()?;
    let source = stage.path("content");
    random_file(&source, 3, 1 << 14)?;
    let torrent = stage.create(&source, &["-a", "https://127.0.0.1:1/announce"])?;
    let no_pem = stage.path("no.pem");
    fs::write(&no_pem, "not a certificate")?;
    for (file, why) in [
        (no_pem, "no certificate"),
        (stage.path("missing.pem"), "No such file"),
        (stage.path(""), "directory"),
    ] {
        for verb in ["get", "seed", "announce", "scrape"] {
            let refused =
                ask(&stage, verb, &torrent, &[Path::new("--ca"), &file])?.expect_code(3)?;
            ensure!(refused.last()?["code"] == "invalid_ca", "{verb}: {}", refused.out);
            let (name, told) = (file.to_string_lossy(), &refused.err);
            ensure!(
                told.contains(&*name) && told.contains(why) && told.contains("PEM"),
                "{verb}: {told}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_tracker_that_compresses_is_understood() -> Test {
    let stage = Stage::new()?;
    let (_tracker, behind) = stage.tracker(Protocol::Http, LOOPBACK, None)?;
    let (front, requests) = front(address(&behind)?, |mut stream, relay| {
        let mut plain = Plain { stream: &mut stream, answer: Vec::new() };
        relay(&mut plain)?;
        let answer = plain.answer;
        let head =
            answer.windows(4).position(|end| end == b"\r\n\r\n").context("an answer has a head")?
                + 4;
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&answer[head..])?;
        let gzip = gzip.finish()?;
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
            gzip.len()
        );
        Ok(stream.write_all(&[head.as_bytes(), &gzip].concat())?)
    })?;
    let source = stage.path("content");
    random_file(&source, 4, 1 << 14)?;
    let torrent = stage.create(&source, &["-a", &format!("http://{front}/announce")])?;
    let asked = ask(&stage, "announce", &torrent, &[])?.expect_code(0)?.last()?;
    ensure!(asked["trackers"][0]["leechers"] == 1, "{asked}");
    let scraped = ask(&stage, "scrape", &torrent, &[])?.expect_code(0)?.last()?;
    ensure!(scraped["trackers"][0]["downloaders"] == 0, "{scraped}");
    ensure!(
        requests.try_iter().all(|request| request.contains("accept-encoding: gzip\r\n")),
        "gzip was asked for"
    );
    Ok(())
}

/// Runs `bt VERB TORRENT` to its end.
fn ask(stage: &Stage, verb: &str, torrent: &Path, options: &[&Path]) -> Result<bt_tests::Finished> {
    Process::run(verb, stage.bt("asker").arg(verb).arg(torrent).args(options), PATIENCE)
}

fn address(url: &str) -> Result<SocketAddr> {
    Ok(url.split('/').nth(2).context("a URL has a host")?.parse()?)
}

/// A function that passes a request on to the tracker behind, and the answer back.
type Relay<'a> = &'a dyn Fn(&mut dyn Channel) -> Result<()>;

trait Channel: Read + Write {}
impl<T: Read + Write> Channel for T {}

/// Starts a server that runs `speak` for each connection, in front of the tracker at `behind`; it
/// reports the requests.
fn front(
    behind: SocketAddr,
    speak: impl Fn(TcpStream, Relay<'_>) -> Result<()> + Send + 'static,
) -> Result<(SocketAddr, Receiver<String>)> {
    let listener = TcpListener::bind(LOOPBACK)?;
    let addr = listener.local_addr()?;
    let (tell, requests) = sync_channel(1024);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client without trust in the certificate breaks off; the next connection is served
            // all the same.
            let _ = speak(stream, &|client| {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    client.read_exact(&mut byte)?;
                    request.extend(byte);
                }
                let _ = tell.send(String::from_utf8_lossy(&request).into_owned());
                let mut tracker = TcpStream::connect(behind)?;
                tracker.write_all(&request)?;
                // The client asks for the connection to be closed, so the answer ends with it.
                let mut answer = Vec::new();
                tracker.read_to_end(&mut answer)?;
                client.write_all(&answer)?;
                Ok(client.flush()?)
            });
        }
    });
    Ok((addr, requests))
}

/// Reads the request of the client and sends no answer.
struct Plain<'a> {
    stream: &'a mut TcpStream,
    answer: Vec<u8>,
}

impl Read for Plain<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Plain<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.answer.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
