//! Remote controls of clients: HTTP inside a network namespace.
//!
//! Decides: how a request is framed. Must not know: what is asked.
//! Invariant: one request for each connection, and every wait has an end.

use crate::Host;
use anyhow::{Context as _, Result};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// The time that one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A port on a namespace's loopback.
#[derive(Debug)]
pub(crate) struct Remote {
    netns: crate::net::NetnsGuard,
    port: u16,
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Status line and headers.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Remote {
    pub(crate) fn new(host: &Host, port: u16) -> Result<Remote> {
        Ok(Remote { netns: host.netns()?, port })
    }

    /// Opens a connection to the port.
    pub(crate) fn connect(&self) -> Result<TcpStream> {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let stream = self.netns.within(|| TcpStream::connect(at))?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        Ok(stream)
    }

    /// Sends a GET request for a path and reads the answer.
    pub(crate) fn get(&self, path: &str) -> Result<Answer> {
        self.ask("GET", path, &[], &[])
    }

    /// Sends a POST request with further header lines and a body, and reads the answer.
    pub(crate) fn post(&self, path: &str, headers: &[String], body: &[u8]) -> Result<Answer> {
        self.ask("POST", path, headers, body)
    }

    fn ask(&self, method: &str, path: &str, headers: &[String], body: &[u8]) -> Result<Answer> {
        let mut stream = self.connect()?;
        let mut request = format!(
            "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:{}\r\nContent-Length: {}\r\n",
            self.port,
            body.len()
        );
        for header in headers {
            request += &format!("{header}\r\n");
        }
        stream.write_all(&[request.as_bytes(), b"\r\n", body].concat())?;
        Answer::read(&mut BufReader::new(stream))
    }
}

impl Answer {
    fn read(stream: &mut BufReader<TcpStream>) -> Result<Answer> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head)? > 0 {}
        let mut answer = Answer { head, body: Vec::new() };
        // A length ends the body even if the other side keeps the connection open.
        match answer.header("content-length").and_then(|length| length.parse().ok()) {
            Some(length) => stream.take(length).read_to_end(&mut answer.body)?,
            None => stream.read_to_end(&mut answer.body)?,
        };
        Ok(answer)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    }

    pub(crate) fn is_ok(&self) -> bool {
        self.head.split(' ').nth(1) == Some("200")
    }

    pub(crate) fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| {
            format!("no JSON: {}{}", self.head, String::from_utf8_lossy(&self.body))
        })
    }
}
