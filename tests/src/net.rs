//! Network namespaces: a bridge, and hosts on it with an address of each family.
//!
//! Decides: names and addresses. Must not know: the programs in them.
//! Invariant: the machine's own network stays untouched, and everything is removed on drop.

use anyhow::{Context as _, Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A bridge in a namespace of its own.
#[derive(Debug)]
pub struct Net {
    bridge: Namespace,
    hosts: AtomicU32,
}

/// A namespace whose only way out is the bridge.
#[derive(Debug)]
pub struct Host {
    namespace: Namespace,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address, a unique local one.
    pub v6: Ipv6Addr,
}

/// A handle of a namespace, for sockets of this process.
#[derive(Debug)]
pub struct NetnsGuard(File);

impl Net {
    /// Makes a bridge; returns `None` where namespaces cannot be made: without root or `ip`.
    pub fn new() -> Option<Net> {
        let bridge = Namespace::new("net").ok()?;
        bridge.ip("link add bridge type bridge\nlink set bridge up\n").ok()?;
        bridge.pass_everything().ok()?;
        Some(Net { bridge, hosts: AtomicU32::new(0) })
    }

    /// Adds a host.
    pub fn host(&self) -> Result<Host> {
        let number = u8::try_from(self.hosts.fetch_add(1, Ordering::Relaxed) + 1)?;
        let namespace = Namespace::new(&format!("h{number}"))?;
        let (v4, v6) = (
            Ipv4Addr::new(10, 77, 0, number),
            Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, number.into()),
        );
        self.bridge.ip(&format!(
            "link add port{number} type veth peer name eth0 netns {}\nlink set port{number} master bridge up\n",
            namespace.name
        ))?;
        // Without duplicate address detection the address can be used at once.
        namespace.ip(&format!(
            "link set lo up\naddress add {v4}/24 dev eth0\naddress add {v6}/64 dev eth0 nodad\nlink set eth0 up\n\
             route add default dev eth0\n"
        ))?;
        Ok(Host { namespace, v4, v6 })
    }

    /// Adds a host for measurements, with Linux's default congestion control. The machine's own
    /// choice may pace, as BBR does, which needs a timer for each packet.
    pub fn fast_host(&self) -> Result<Host> {
        let host = self.host()?;
        let (v4, v6) = (host.v4, host.v6);
        host.namespace.ip(&format!(
            "route replace 10.77.0.0/24 dev eth0 src {v4} congctl cubic\nroute replace fd77::/64 dev eth0 src {v6} congctl cubic\n"
        ))?;
        Ok(host)
    }
}

impl Host {
    /// Returns a command that runs the same program in this host. Arguments, environment and
    /// directory are kept.
    pub fn inside(&self, command: &Command) -> Command {
        let mut wrapped = Command::new("ip");
        wrapped
            .args(["netns", "exec", &self.namespace.name])
            .arg(command.get_program())
            .args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(key, value),
                None => wrapped.env_remove(key),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            wrapped.current_dir(dir);
        }
        wrapped
    }

    /// Limits the uplink of this host to a rate like `100mbit`.
    pub fn shape(&self, rate: &str) -> Result<()> {
        let tbf = [
            "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", rate, "burst", "128kb",
            "latency", "50ms",
        ];
        run(Command::new("tc").args(["-n", &self.namespace.name]).args(tbf))
    }

    /// Adds addresses to the host, each in a network of 256.
    pub fn take_addresses(&self, addresses: &[Ipv4Addr]) -> Result<()> {
        let lines = addresses.iter().map(|address| format!("address add {address}/24 dev eth0\n"));
        self.namespace.ip(&lines.collect::<String>())
    }

    /// Runs lines of `ip` in this host. Its device to the bridge is `eth0`.
    pub fn ip(&self, lines: &str) -> Result<()> {
        self.namespace.ip(lines)
    }

    /// Opens a handle of the namespace.
    pub fn netns(&self) -> Result<NetnsGuard> {
        let path = format!("/run/netns/{}", self.namespace.name);
        Ok(NetnsGuard(File::open(&path).with_context(|| path)?))
    }
}

impl NetnsGuard {
    /// Makes a socket inside the namespace. The caller's thread stays outside.
    pub fn within<T: Send>(&self, make: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        // A namespace belongs to a thread, and this one ends with its work.
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))?;
                make()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// A named namespace.
#[derive(Debug)]
struct Namespace {
    name: String,
}

impl Namespace {
    fn new(role: &str) -> Result<Namespace> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("bt{}-{}-{role}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        run(Command::new("ip").args(["netns", "add", &name]))?;
        Ok(Namespace { name })
    }

    /// Takes packets on bridges past the firewall, where the machine has that module. It has no
    /// rules here, but costs a seed a twentieth of its speed.
    fn pass_everything(&self) -> Result<()> {
        let set = "for which in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e $which ] || echo 0 > $which; done";
        run(Command::new("ip").args(["netns", "exec", &self.name, "sh", "-c", set]))
    }

    /// Runs lines of `ip` in this namespace, all in one process, as a swarm has many hosts.
    fn ip(&self, lines: &str) -> Result<()> {
        let mut command = Command::new("ip");
        command.args(["-n", &self.name, "-batch", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        child.stdin.take().context("stdin is piped")?.write_all(lines.as_bytes())?;
        succeeded(&command, &child.wait_with_output()?)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = run(Command::new("ip").args(["netns", "del", &self.name]));
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    succeeded(command, &output)
}

fn succeeded(command: &Command, output: &std::process::Output) -> Result<()> {
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
