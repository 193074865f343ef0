//! rTorrent without a terminal.
//!
//! Decides: its settings. Must not know: the peer on the other side.
//! Invariant: its session, port and remote control are its own.

use super::{PORT, utf8, version};
use crate::Process;
use crate::client::{Client, ClientConfig, ClientProgress, Running, until};
use crate::remote::Remote;
use anyhow::Result;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::Command;

const REMOTE: u16 = 5000;

/// The program.
#[derive(Clone, Copy, Debug)]
pub struct Rtorrent;

impl Client for Rtorrent {
    fn name(&self) -> &'static str {
        "rTorrent"
    }

    fn version(&self) -> Option<String> {
        version("rtorrent", &["-h"])
    }

    fn open(&self, at: &ClientConfig<'_>) -> Result<Box<dyn Running>> {
        fs::create_dir_all(at.dir)?;
        let session = at.home.join("session");
        fs::create_dir_all(&session)?;
        let settings = at.home.join("rtorrent.rc");
        let (dir, session) = (utf8(at.dir)?, utf8(&session)?);
        fs::write(
            &settings,
            format!(
                "system.daemon.set = true\ndirectory.default.set = \"{dir}\"\nsession.path.set = \"{session}\"\n\
                 network.port_range.set = {PORT}-{PORT}\nnetwork.port_random.set = no\ndht.mode.set = disable\n\
                 protocol.pex.set = no\ntrackers.use_udp.set = yes\nnetwork.scgi.open_port = \"127.0.0.1:{REMOTE}\"\n"
            ),
        )?;
        let mut command = Command::new("rtorrent");
        command.args(["-n", "-o"]).arg(format!("import={}", utf8(&settings)?)).env("HOME", at.home);
        let process = Process::start("rtorrent", &mut at.host.inside(&command))?;
        let running = RunningRtorrent {
            process,
            remote: Remote::new(at.host, REMOTE)?,
            torrent: at.source().into(),
        };
        until("rTorrent's remote control", || running.ask("system.client_version", &[]).ok())?;
        Ok(Box::new(running))
    }
}

#[derive(Debug)]
struct RunningRtorrent {
    process: Process,
    remote: Remote,
    torrent: PathBuf,
}

impl RunningRtorrent {
    /// One XML-RPC call with strings as parameters. It is framed as SCGI: headers as a netstring,
    /// then the body.
    fn ask(&self, method: &str, params: &[&str]) -> Result<String> {
        let params: String = params
            .iter()
            .map(|param| format!("<param><value><string>{param}</string></value></param>"))
            .collect();
        let body = format!(
            "<?xml version=\"1.0\"?><methodCall><methodName>{method}</methodName><params>{params}</params></methodCall>"
        );
        let headers = format!("CONTENT_LENGTH\0{}\0SCGI\01\0", body.len());
        let mut stream = self.remote.connect()?;
        write!(stream, "{}:{headers},{body}", headers.len())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        anyhow::ensure!(
            answer.contains("<methodResponse>") && !answer.contains("<fault>"),
            "rTorrent: {method}: {answer}"
        );
        Ok(answer)
    }
}

impl Running for RunningRtorrent {
    fn add(&mut self) -> Result<()> {
        // The text stands in XML.
        self.ask("load.start", &["", &utf8(&self.torrent)?.replace('&', "&amp;")]).map(drop)
    }

    fn progress(&mut self) -> Result<ClientProgress> {
        let answer = self.ask(
            "d.multicall2",
            &["", "main", "d.complete=", "d.hashing=", "d.completed_bytes=", "d.up.total="],
        )?;
        let numbers: Vec<u64> = answer
            .split("<i8>")
            .skip(1)
            .filter_map(|rest| rest.split('<').next()?.parse().ok())
            .collect();
        if numbers.is_empty() {
            return Ok(ClientProgress::default());
        }
        let [complete, hashing, bytes_done, bytes_up] = numbers[..] else {
            anyhow::bail!("rTorrent: {answer}")
        };
        Ok(ClientProgress {
            metadata: false,
            complete: complete == 1 && hashing == 0,
            bytes_done,
            bytes_up,
        })
    }

    fn transcript(&self) -> String {
        self.process.transcript()
    }

    fn process(&self) -> Option<&Process> {
        Some(&self.process)
    }
}
