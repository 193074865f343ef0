//! A process that is watched line by line and killed when it is dropped.
//!
//! Decides: how long it waits, and what a failure message shows. Must not know: which program runs.
//! Invariant: a wait is a deadline on an output or act of the process, never a guess at its speed.

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The wait until a new process has memory of its own, which takes moments.
const OWN_MEMORY_WITHIN: Duration = Duration::from_secs(10);

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    out: Lines,
    err: Lines,
}

/// The result of a program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Seconds of processor time, in user and in system mode.
    pub cpu_seconds: f64,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Process {
    /// Starts a program without standard input; `name` appears in failure messages.
    pub fn start(name: &str, command: &mut Command) -> Result<Process> {
        Process::spawn(name, command.stdin(Stdio::null()))
    }

    /// Starts a program whose standard input takes lines of the caller.
    pub fn start_told(name: &str, command: &mut Command) -> Result<Process> {
        Process::spawn(name, command.stdin(Stdio::piped()))
    }

    fn spawn(name: &str, command: &mut Command) -> Result<Process> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().with_context(|| format!("{name}: cannot start {command:?}"))?;
        let out = Lines::of(child.stdout.take().context("stdout is piped")?);
        let err = Lines::of(child.stderr.take().context("stderr is piped")?);
        wait_for_own_memory(child.id())?;
        Ok(Process { name: name.into(), child, out, err })
    }

    /// Runs a program to its end, which must come within `limit`.
    pub fn run(name: &str, command: &mut Command, limit: Duration) -> Result<Finished> {
        Process::start(name, command)?.finish(limit)
    }

    /// Waits for the first line of standard output that is a JSON object with this `event`.
    pub fn wait_event(&self, event: &str, limit: Duration) -> Result<Value> {
        self.wait_for(&format!("event {event:?}"), limit, |object| object["event"] == event)
    }

    /// Waits for the first JSON object on standard output that `wanted` accepts. Earlier output
    /// counts.
    pub fn wait_for(
        &self,
        what: &str,
        limit: Duration,
        mut wanted: impl FnMut(&Value) -> bool,
    ) -> Result<Value> {
        self.wait_line(what, limit, |line| {
            serde_json::from_str(line).ok().filter(|object| wanted(object))
        })
    }

    /// Waits for the first line of standard output that `pick` accepts, and returns its result.
    pub fn wait_line<T>(
        &self,
        what: &str,
        limit: Duration,
        pick: impl FnMut(&str) -> Option<T>,
    ) -> Result<T> {
        match self.out.wait(limit, pick) {
            Some(found) => Ok(found),
            None => {
                bail!(
                    "{}: waited {limit:?} for {what}: it did not come\n{}",
                    self.name,
                    self.transcript()
                )
            }
        }
    }

    /// Returns the JSON objects on standard output so far.
    pub fn objects(&self) -> Vec<Value> {
        self.out.lock().text.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Returns the last JSON object on standard output with this `event`, so far.
    pub fn last_event(&self, event: &str) -> Option<Value> {
        let text = &self.out.lock().text;
        text.iter()
            .rev()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|object| object["event"] == event)
    }

    /// Writes a line to the standard input of the process.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        let input = self
            .child
            .stdin
            .as_mut()
            .with_context(|| format!("{} has no standard input", self.name))?;
        Ok(writeln!(input, "{line}")?)
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub fn interrupt(&self) -> Result<()> {
        Ok(kill_process(self.pid()?, Signal::INT)?)
    }

    /// Sends SIGTERM, as a service manager does.
    pub fn terminate(&self) -> Result<()> {
        Ok(kill_process(self.pid()?, Signal::TERM)?)
    }

    /// Sends SIGHUP, as a service manager does that wants configuration to be read again.
    pub fn hang_up(&self) -> Result<()> {
        Ok(kill_process(self.pid()?, Signal::HUP)?)
    }

    /// Sends SIGKILL: the process ends at once and can save nothing.
    pub fn kill(&self) -> Result<()> {
        Ok(kill_process(self.pid()?, Signal::KILL)?)
    }

    /// Sends SIGINT and waits for the end of the process.
    pub fn stop(self, limit: Duration) -> Result<Finished> {
        self.interrupt()?;
        self.finish(limit)
    }

    /// Waits for the end of the process.
    pub fn finish(mut self, limit: Duration) -> Result<Finished> {
        let deadline = Instant::now() + limit;
        while !self.is_over()? {
            if Instant::now() > deadline {
                bail!(
                    "{}: waited {limit:?} for its end: it did not come\n{}",
                    self.name,
                    self.transcript()
                );
            }
            thread::sleep(Duration::from_millis(1));
        }
        let cpu_seconds = self.cpu_seconds()?;
        let code = self.child.wait()?.code();
        // The pipes end with the process, so that its last output is read.
        self.out.wait(limit, |_| None::<()>);
        self.err.wait(limit, |_| None::<()>);
        Ok(Finished {
            code,
            cpu_seconds,
            out: self.out.lock().text.join("\n"),
            err: self.err.lock().text.join("\n"),
        })
    }

    /// Tells whether the process has ended by itself.
    pub fn is_over(&self) -> Result<bool> {
        // NOWAIT leaves the process unreaped, so that its processor time can still be read.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        Ok(waitid(WaitId::Pid(self.pid()?), look)?.is_some())
    }

    /// Returns the seconds of processor time that it has used, in user and in system mode.
    pub fn cpu_seconds(&self) -> Result<f64> {
        Ok(cpu(Path::new(&format!("/proc/{}/stat", self.child.id())))?.1)
    }

    /// Returns the processor time of each running thread, with the thread's name.
    pub fn cpu_of_threads(&self) -> Result<Vec<(String, f64)>> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id()))?;
        tasks.map(|task| cpu(&task?.path().join("stat"))).collect()
    }

    /// Returns the bytes of memory that it holds.
    pub fn memory(&self) -> Result<u64> {
        self.status("VmRSS:")
    }

    /// Returns the peak of its memory, in bytes.
    pub fn peak_memory(&self) -> Result<u64> {
        self.status("VmHWM:")
    }

    /// Resets the peak that [`Process::peak_memory`] returns.
    pub fn forget_peak(&self) -> Result<()> {
        Ok(std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")?)
    }

    fn status(&self, field: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib =
            status.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB"));
        let kib: u64 =
            kib.with_context(|| format!("{}: no {field} in its status", self.name))?.parse()?;
        Ok(kib << 10)
    }

    /// Returns its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn pid(&self) -> Result<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process has an id")
    }

    /// Returns the ends of its outputs, for a failure message.
    pub fn transcript(&self) -> String {
        let tail = |lines: &Lines| {
            let text = &lines.lock().text;
            text.iter()
                .skip(text.len().saturating_sub(25))
                .map(|line| format!("    {line}\n"))
                .collect::<String>()
        };
        format!(
            "  its standard output ended in\n{}  its standard error ended in\n{}",
            tail(&self.out),
            tail(&self.err)
        )
    }
}

/// Waits until a new process has memory of its own. Just after its start it still shares the memory
/// of this process, which would be measured as its own. That happened in 1 of 45,000 starts.
fn wait_for_own_memory(id: u32) -> Result<()> {
    let ours = std::fs::read_link("/proc/self/exe")?;
    let deadline = Instant::now() + OWN_MEMORY_WITHIN;
    // A process that has ended already has no program.
    while std::fs::read_link(format!("/proc/{id}/exe")).is_ok_and(|program| program == ours) {
        ensure!(
            Instant::now() < deadline,
            "process {id} did not start its program within {OWN_MEMORY_WITHIN:?}"
        );
        thread::yield_now();
    }
    Ok(())
}

fn cpu(stat: &Path) -> Result<(String, f64)> {
    let stat = std::fs::read_to_string(stat)?;
    // The name in parentheses may hold spaces: count fields after it. utime and stime are the 14th
    // and 15th.
    let (head, fields) = stat.rsplit_once(") ").context("/proc/PID/stat has a name")?;
    let ticks: f64 =
        fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    let (_, name) = head.split_once('(').context("/proc/PID/stat has a name")?;
    Ok((name.to_owned(), ticks / rustix::param::clock_ticks_per_second() as f64))
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    /// Returns the last JSON object on standard output.
    pub fn last(&self) -> Result<Value> {
        self.objects()
            .pop()
            .with_context(|| format!("no JSON on standard output; {}", self.brief()))
    }

    /// Returns the JSON objects on standard output.
    pub fn objects(&self) -> Vec<Value> {
        self.out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Returns the first event of this name.
    pub fn event(&self, event: &str) -> Result<Value> {
        let found = self.objects().into_iter().find(|object| object["event"] == event);
        found.with_context(|| format!("no event {event:?}; {}", self.brief()))
    }

    /// Fails unless the program ended with this exit code.
    pub fn expect_code(self, code: i32) -> Result<Finished> {
        if self.code != Some(code) {
            bail!("expected exit code {code}; {}", self.brief());
        }
        Ok(self)
    }

    fn brief(&self) -> String {
        let lines: Vec<&str> = self.out.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(12)..).unwrap_or_default().join("\n    ");
        format!(
            "exit code {:?}\n  standard output\n    {tail}\n  standard error\n    {}",
            self.code, self.err
        )
    }
}

/// The lines of a pipe, read by a thread as they come.
#[derive(Clone, Debug, Default)]
struct Lines(Arc<(Mutex<Heard>, Condvar)>);

#[derive(Debug, Default)]
struct Heard {
    text: Vec<String>,
    ended: bool,
}

impl Lines {
    fn of(pipe: impl Read + Send + 'static) -> Lines {
        let lines = Lines::default();
        let reader = lines.clone();
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                reader
                    .lock()
                    .text
                    .push(String::from_utf8_lossy(&line).trim_end_matches('\n').to_string());
                line.clear();
                reader.0.1.notify_all();
            }
            reader.lock().ended = true;
            reader.0.1.notify_all();
        });
        lines
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the first line that `pick` accepts; `None` at the deadline or at the end of the
    /// pipe.
    fn wait<T>(&self, limit: Duration, mut pick: impl FnMut(&str) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut read = self.lock();
        let mut seen = 0;
        loop {
            while let Some(line) = read.text.get(seen) {
                if let Some(found) = pick(line) {
                    return Some(found);
                }
                seen += 1;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if read.ended || left.is_zero() {
                return None;
            }
            read = self.0.1.wait_timeout(read, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
