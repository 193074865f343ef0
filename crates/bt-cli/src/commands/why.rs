//! `bt why`: why torrents of a daemon, of `bt get` and of `bt seed` are slow or wait.
//!
//! Decides: who is asked, and which torrent an ID means.
//! Must not know: what is a reason.
//! Invariant: exit code 8 if neither a daemon nor a process answers. A daemon that was not named
//! may be missing.

use crate::args::{USUAL_API, WhyArgs};
use crate::client::Client;
use crate::commands::remote;
use crate::exit::{Exit, Failure, Outcome};
use crate::json::{Reasons, TorrentWhy};
use crate::output::Output;
use crate::transfer::state_dir;
use crate::why_socket::{self, Answers};
use bt_api::Why;
use url::Url;

pub(crate) async fn run(args: WhyArgs, output: &Output) -> Outcome {
    let id = args.id.as_deref();
    // Who names a daemon means no process, unless its state directory is named, too.
    let Answers { torrents: processes, silent } = match args.api.is_none() || args.state.is_some() {
        true => why_socket::ask_all(&state_dir(args.state.as_deref())?).await,
        false => Answers::default(),
    };
    for number in silent {
        output.note(format_args!("process {number} does not answer"));
    }
    let daemon = of_daemon(args.api.as_ref(), id, processes.is_some()).await;
    let mut torrents = match daemon {
        Ok(torrents) => torrents,
        // What a process answers is an answer.
        Err(failure) if processes.is_none() => return Err(none_answers(failure, &args)),
        Err(failure) => {
            if failure.exit != Exit::Unreachable || args.api.is_some() {
                output.note(&failure.message);
            }
            Vec::new()
        }
    };
    let others = processes.unwrap_or_default().into_iter();
    torrents.extend(others.filter(|torrent| id.is_none_or(|id| is_meant(torrent, id))));
    if let Some(id) = id {
        require_one(&torrents, id)?;
    }
    torrents.iter().for_each(|torrent| say(torrent, output));
    if torrents.is_empty() {
        output.note("no torrent runs");
    }
    output.object(&Reasons { torrents });
    Ok(())
}

/// Asks a daemon for the torrents that run, or for the one that is meant. One that does not have
/// it is no failure while processes are asked, too.
async fn of_daemon(api: Option<&Url>, id: Option<&str>, others: bool) -> Outcome<Vec<TorrentWhy>> {
    let usual = Url::parse(USUAL_API).map_err(anyhow::Error::from)?;
    let client = Client::new(api.unwrap_or(&usual))?;
    let all = remote::rows(&client, None).await?;
    let chosen = match id {
        None => all.into_iter().filter(|row| row.state.state != "stopped").collect(),
        Some(id) => match remote::one(&all, id) {
            Ok(row) => vec![row.clone()],
            Err(failure) if others && failure.exit == Exit::Input => Vec::new(),
            Err(failure) => return Err(failure),
        },
    };
    let mut torrents = Vec::new();
    for row in chosen {
        let why: Why = client.get(&format!("torrents/{}/why", row.hash)).await?;
        torrents.push(TorrentWhy { info_hash: row.hash, name: row.name, process: None, why });
    }
    Ok(torrents)
}

/// Says that no process and no daemon answers, where processes were asked as well.
fn none_answers(failure: Failure, args: &WhyArgs) -> Failure {
    if failure.exit != Exit::Unreachable || args.api.is_some() && args.state.is_none() {
        return failure;
    }
    let why = format!(
        "no `bt get` and no `bt seed` that keeps its state there answers (--state DIR names another \
         place), and {}",
        failure.message
    );
    Failure::new(Exit::Unreachable, "unreachable", why)
}

/// Returns whether an ID means a torrent of a process, which has no number.
fn is_meant(torrent: &TorrentWhy, id: &str) -> bool {
    let begin = id.to_ascii_lowercase();
    torrent.name == id || id.len() >= remote::DIGITS && torrent.info_hash.starts_with(&begin)
}

/// Checks that an ID means one torrent, on which several processes may work.
fn require_one(torrents: &[TorrentWhy], id: &str) -> Outcome {
    let Some(first) = torrents.first() else {
        let why = format!(
            "no daemon and no process that answers has a torrent {id}; `bt why` without it shows all"
        );
        return Err(Failure::new(Exit::Input, "not_found", why));
    };
    if torrents.iter().any(|other| other.info_hash != first.info_hash) {
        let hashes: Vec<&str> = torrents.iter().map(|torrent| &torrent.info_hash[..]).collect();
        let (count, hashes) = (hashes.len(), hashes.join(", "));
        return Err(Failure::usage(format!("{id} means {count} torrents; name one of {hashes}")));
    }
    Ok(())
}

fn say(torrent: &TorrentWhy, output: &Output) {
    let TorrentWhy { name, why, .. } = torrent;
    let of = torrent.process.map_or_else(String::new, |number| format!(" (process {number})"));
    output.line(format_args!("{name}{of}: {}", why.summary));
    for (title, lines) in
        [("what would help", &why.advice), ("facts", &why.facts), ("tried", &why.tried)]
    {
        if !lines.is_empty() {
            output.line(format_args!("  {title}:"));
            lines.iter().for_each(|line| output.line(format_args!("    {line}")));
        }
    }
}
