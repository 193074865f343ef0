//! Programs that are run when something happens to a torrent.
//!
//! Decides: what a program is told, how many run at once and for how long.
//! Must not know: where the programs were configured.
//! Invariant: no shell reads a torrent's words; a program that hangs ends at its deadline, and
//! holds up no command.

use super::{Keeper, lock};
use crate::config::Hooks;
use bt_api::Torrent;
use bt_types::InfoHash;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::{Semaphore, mpsc};

/// Most programs that run at once.
const RUNNING_MAX: usize = 4;
/// Most programs that wait to run; further ones are not run, and that is logged.
const WAITING_MAX: usize = 1024;
/// Most bytes of an argument or a variable; Linux takes 128 KiB.
const TEXT_MAX: usize = 64 << 10;
/// How long a program may run.
const TIME_MAX: Duration = Duration::from_secs(600);

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Moment {
    /// It was added.
    Added,
    /// It is complete, and at its final place.
    Done,
    /// It reached a seed limit.
    DoneSeeding,
}

/// Runs programs.
#[derive(Debug)]
pub(super) struct Runner {
    hooks: Mutex<Hooks>,
    waiting: mpsc::Sender<Job>,
}

/// A program to run.
#[derive(Debug)]
pub(super) struct Job {
    words: Vec<String>,
    variables: Vec<(&'static str, String)>,
}

impl Runner {
    /// Starts to run programs, until the runner is dropped.
    pub(super) fn start(hooks: Hooks) -> Runner {
        let (waiting, mut jobs) = mpsc::channel::<Job>(WAITING_MAX);
        tokio::spawn(async move {
            let places = Arc::new(Semaphore::new(RUNNING_MAX));
            while let Some(job) = jobs.recv().await {
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                tokio::spawn(async move {
                    run(job).await;
                    drop(place);
                });
            }
        });
        Runner { hooks: Mutex::new(hooks), waiting }
    }

    fn words(&self, moment: Moment) -> Vec<String> {
        let hooks = lock(&self.hooks);
        match moment {
            Moment::Added => hooks.added.clone(),
            Moment::Done => hooks.done.clone(),
            Moment::DoneSeeding => hooks.done_seeding.clone(),
        }
    }
}

impl Keeper {
    /// Runs the program for what happened to a torrent, if there is one.
    pub(super) fn run_hook(&self, moment: Moment, hash: InfoHash) {
        self.run_job(self.job(moment, hash));
    }

    /// Returns the program to run for what happens to a torrent, which may be gone when it runs.
    pub(super) fn job(&self, moment: Moment, hash: InfoHash) -> Option<Job> {
        let words = self.hooks.words(moment);
        let torrent = self.torrent(hash).ok().filter(|_| !words.is_empty())?;
        let mut words: Vec<String> =
            words.iter().map(|word| fill(word, |sign| told(&torrent, sign))).collect();
        words.iter_mut().for_each(make_passable);
        Some(Job { words, variables: variables(&torrent) })
    }

    /// Runs a program behind.
    pub(super) fn run_job(&self, job: Option<Job>) {
        let Some(job) = job else { return };
        if let Err(error) = self.hooks.waiting.try_send(job) {
            tracing::error!(%error, "a program is not run");
        }
    }

    /// Runs these programs from now on.
    pub(crate) fn set_hooks(&self, hooks: Hooks) {
        *lock(&self.hooks.hooks) = hooks;
    }
}

async fn run(job: Job) {
    let Some((program, arguments)) = job.words.split_first() else { return };
    let mut command = Command::new(program);
    command.args(arguments).envs(job.variables).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let ended = match command.spawn() {
        Ok(mut child) => tokio::time::timeout(TIME_MAX, child.wait()).await,
        Err(error) => Ok(Err(error)),
    };
    match ended {
        Ok(Ok(status)) if status.success() => {}
        Ok(Ok(status)) => tracing::error!(%program, %status, "a program failed"),
        Ok(Err(error)) => tracing::error!(%program, %error, "a program could not be run"),
        Err(_) => tracing::error!(%program, "a program ran for ten minutes, and was ended"),
    }
}

/// Cuts what the system does not pass to a program: zeros, and more than it takes. A torrent may
/// name a thousand trackers.
fn make_passable(text: &mut String) {
    text.retain(|c| c != '\0');
    let end = (0..=text.len().min(TEXT_MAX)).rev().find(|at| text.is_char_boundary(*at));
    text.truncate(end.unwrap_or(0));
}

/// Replaces the placeholders of an argument. What is put in is not read again.
fn fill(argument: &str, told: impl Fn(char) -> Option<String>) -> String {
    let mut filled = String::new();
    let mut rest = argument.chars();
    while let Some(c) = rest.next() {
        let sign = if c == '%' { rest.clone().next() } else { None };
        match sign.and_then(&told) {
            Some(text) => {
                filled += &text;
                rest.next();
            }
            None => filled.push(c),
        }
    }
    filled
}

/// Returns what a placeholder of qBittorrent stands for.
fn told(torrent: &Torrent, sign: char) -> Option<String> {
    let metainfo = torrent.metainfo.as_deref();
    let files = metainfo.map_or(0, |m| m.info.files.iter().filter(|f| f.is_stored()).count());
    let content = || torrent.content_path().to_string_lossy().into_owned();
    Some(match sign {
        'N' => torrent.name(),
        'L' => torrent.record.labels.category.clone(),
        'G' => tags(torrent),
        'F' => content(),
        // The directory of its files; a single file has none.
        'R' if torrent.is_directory() == Some(true) => content(),
        'R' => String::new(),
        'D' => torrent.record.dir.to_string_lossy().into_owned(),
        'C' => files.to_string(),
        'Z' => torrent.size().to_string(),
        'T' => torrent.live.trackers.working.clone().unwrap_or_default(),
        'I' | 'K' => torrent.hash.to_string(),
        'J' => "-".into(),
        'M' => torrent.comment().unwrap_or_default().to_owned(),
        _ => return None,
    })
}

fn tags(torrent: &Torrent) -> String {
    torrent.record.labels.tags.iter().cloned().collect::<Vec<_>>().join(",")
}

/// Returns the variables that Transmission gives a program.
fn variables(torrent: &Torrent) -> Vec<(&'static str, String)> {
    let labels = &torrent.record.labels;
    let category = Some(labels.category.clone()).filter(|category| !category.is_empty());
    let all: Vec<String> = category.into_iter().chain(labels.tags.iter().cloned()).collect();
    let trackers: Vec<String> = torrent.trackers().into_iter().flatten().collect();
    let time = jiff::Zoned::now().strftime("%a %b %e %H:%M:%S %Y").to_string();
    let mut variables = vec![
        ("TR_APP_VERSION", env!("CARGO_PKG_VERSION").to_owned()),
        ("TR_TIME_LOCALTIME", time),
        ("TR_TORRENT_BYTES_DOWNLOADED", torrent.totals().down.to_string()),
        ("TR_TORRENT_DIR", torrent.record.dir.to_string_lossy().into_owned()),
        ("TR_TORRENT_HASH", torrent.hash.to_string()),
        ("TR_TORRENT_ID", torrent.number.to_string()),
        ("TR_TORRENT_LABELS", all.join(",")),
        ("TR_TORRENT_NAME", torrent.name()),
        ("TR_TORRENT_PRIORITY", "0".into()),
        ("TR_TORRENT_TRACKERS", trackers.join(",")),
    ];
    variables.iter_mut().for_each(|(_, value)| make_passable(value));
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::tests::{add, keeper, until_some};

    #[test]
    fn placeholders_are_replaced_once() {
        let told = |sign| match sign {
            'N' => Some("%L; rm -rf /".to_owned()),
            'L' => Some("film".to_owned()),
            _ => None,
        };
        for (argument, expected) in [
            ("%N", "%L; rm -rf /"),
            ("--label=%L", "--label=film"),
            ("100%", "100%"),
            ("%x %% %L", "%x %% film"),
            ("", ""),
        ] {
            assert_eq!(fill(argument, told), expected, "{argument}");
        }
    }

    #[tokio::test]
    async fn a_program_is_told_what_happened() {
        let dir = tempfile::tempdir().expect("a directory");
        let keeper = keeper(dir.path()).await;
        let out = dir.path().join("out");
        let script = format!(
            "printf '%s|' \"$@\" \"$TR_TORRENT_NAME\" > {0}.new; mv {0}.new {0}",
            out.display()
        );
        let words = ["sh", "-c", &script, "sh", "%N", "%D", "%Z"].map(str::to_owned);
        keeper.set_hooks(Hooks { added: words.into(), ..Hooks::default() });
        add(&keeper).await;
        let said = until_some(|| std::fs::read_to_string(&out).ok()).await;
        assert_eq!(said, format!("a|{}|1|a|", dir.path().join("data").display()));
    }
}
