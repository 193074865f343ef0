//! `bt announce` and `bt scrape`: ask a torrent's trackers once.
//!
//! Decides: how answers read.
//! Must not know: the tracker protocol.
//! Invariant: every tracker is asked; one answer is enough.

use crate::args::AskArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::json::{AnnounceAnswer, ScrapeAnswer, TrackerAnswer, TrackerAnswers, TrackerWord};
use crate::output::Output;
use crate::source::{self, Source};
use crate::units;
use bt_session::{LEFT_UNKNOWN, OneShot, SwarmCounts, TrackerError};
use bt_types::InfoHash;
use serde::Serialize;

pub(crate) async fn announce(args: AskArgs, output: &Output) -> Outcome {
    let (source, hash, asker) = prepare(&args).await?;
    let left = match &source {
        Source::Torrent(torrent) => torrent.info.geometry.total(),
        Source::Magnet(_) => LEFT_UNKNOWN,
    };
    let mut answers = Vec::new();
    for url in source.trackers() {
        let shown = source::without_password(url);
        let answer = asker.announce(url, hash, left, args.timeout).await;
        if let Ok(reply) = &answer {
            let count = |count: Option<u32>, noun| match count {
                Some(count) => units::count(count as usize, noun),
                None => format!("? {noun}s"),
            };
            let (seeds, leeches) =
                (count(reply.seeders, "seeder"), count(reply.leechers, "leecher"));
            output.line(format_args!("{shown}: {seeds}, {leeches}, again in {} s", reply.interval));
            reply.peers.iter().for_each(|peer| output.line(format_args!("  {peer}")));
            if let Some(ip) = reply.external_ip {
                output.line(format_args!("  we are {ip} to it"));
            }
            if let Some(warning) = &reply.warning {
                output.note(format_args!("  warning: {warning}"));
            }
        }
        answers.push(answer_of(shown, answer, output, |reply| AnnounceAnswer {
            interval: reply.interval,
            min_interval: reply.min_interval,
            seeders: reply.seeders,
            leechers: reply.leechers,
            peers: reply.peers,
            external_ip: reply.external_ip,
            warning: reply.warning,
        }));
    }
    finish(&hash, answers, output)
}

pub(crate) async fn scrape(args: AskArgs, output: &Output) -> Outcome {
    let (source, hash, asker) = prepare(&args).await?;
    let mut answers = Vec::new();
    for url in source.trackers() {
        let shown = source::without_password(url);
        let answer = asker.scrape(url, hash, args.timeout).await;
        if let Ok(counts) = &answer {
            output.line(match counts {
                Some(counts) => format!("{shown}: {}", describe(counts)),
                None => format!("{shown}: it does not know the torrent"),
            });
        }
        answers.push(answer_of(shown, answer, output, |counts| ScrapeAnswer {
            known: counts.is_some(),
            seeders: counts.map(|counts| counts.complete),
            leechers: counts.map(|counts| counts.incomplete),
            downloaders: counts.and_then(|counts| counts.downloaders),
            downloaded: counts.map(|counts| counts.downloaded),
        }));
    }
    finish(&hash, answers, output)
}

fn describe(counts: &SwarmCounts) -> String {
    let SwarmCounts { complete, downloaded, incomplete, downloaders } = counts;
    // Only trackers that count partial seeds apart report the downloaders (BEP 21).
    let partial = downloaders
        .and_then(|downloaders| incomplete.checked_sub(downloaders))
        .filter(|partial| *partial > 0);
    let partial =
        partial.map_or_else(String::new, |partial| format!(", {partial} of them partial seeds"));
    let count = |count: u32, noun| units::count(count as usize, noun);
    let (seeders, leechers) = (count(*complete, "seeder"), count(*incomplete, "leecher"));
    format!("{seeders}, {leechers}{partial}, {}", count(*downloaded, "download"))
}

async fn prepare(args: &AskArgs) -> Outcome<(Source, InfoHash, OneShot)> {
    let roots = args.trust.roots()?;
    let source = source::open(&args.source, &roots).await?;
    let hash = source
        .swarm()
        .ok_or_else(|| Failure::new(Exit::Input, "no_info_hash", "the torrent has no info-hash"))?;
    if source.trackers().is_empty() {
        return Err(Failure::new(
            Exit::Input,
            "no_trackers",
            "it names no tracker to ask; ask for peers in the DHT with `bt dht get-peers`, or give a magnet link with &tr=URL at its end",
        ));
    }
    Ok((source, hash, OneShot::new(roots).map_err(anyhow::Error::from)?))
}

/// Describes one tracker's answer; an error is printed at once.
fn answer_of<T, J>(
    url: String,
    answer: Result<T, TrackerError>,
    output: &Output,
    describe: impl Fn(T) -> J,
) -> TrackerAnswer<J> {
    let ok = answer.is_ok();
    let word = match answer {
        Ok(reply) => TrackerWord::Answer(describe(reply)),
        Err(error) => {
            output.note(format_args!("{url}: {error}"));
            TrackerWord::Error { error: error.to_string() }
        }
    };
    TrackerAnswer { url, ok, word }
}

fn finish<J: Serialize>(
    hash: &InfoHash,
    trackers: Vec<TrackerAnswer<J>>,
    output: &Output,
) -> Outcome {
    if !trackers.iter().any(|answer| answer.ok) {
        return Err(Failure::new(
            Exit::Network,
            "no_tracker",
            "no tracker answered; run again with -v to see more",
        ));
    }
    output.object(&TrackerAnswers { info_hash: hash.to_string(), trackers });
    Ok(())
}
