//! Transcripts of what a program asks of a daemon, and what it must hear; they are played.
//!
//! Decides: the format, which `docs/testing.md` describes, and how an answer is judged.
//! Must not know: what a request means, what an act does.
//! Invariant: a line that is not understood is an error; none is skipped.

mod claim;
mod path;

use crate::{PATIENCE, RawAnswer, RunningDaemon};
use anyhow::{Context as _, Result, bail, ensure};
use claim::Claim;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The time between two requests of a program that asks again and again.
const POLL: Duration = Duration::from_millis(50);

/// Most characters of an answer in a failure message.
const SHOWN: usize = 3000;

/// Where the parts of a form are divided.
const BOUNDARY: &str = "-----------------------------a4d3c2b1";

/// What is known by name: from the start, or taken from answers. `${NAME}` stands for it.
pub type Names = BTreeMap<String, String>;

/// What happens between the requests of a transcript.
pub trait Surroundings {
    /// Does what a line after `***` says.
    fn act(&mut self, act: &str, names: &mut Names) -> Result<()>;

    /// Tells whether what an act began still goes on.
    fn goes_on(&mut self) -> Result<bool>;
}

/// Plays a transcript against a daemon.
pub fn play(
    text: &str,
    daemon: &RunningDaemon,
    names: &mut Names,
    world: &mut dyn Surroundings,
) -> Result<()> {
    for step in steps(text)? {
        match step {
            Step::Act(act) => {
                let act = filled(&act, names)?;
                world.act(&act, names).with_context(|| format!("*** {act}"))?;
            }
            Step::Exchange(exchange) => {
                let title = exchange.title.clone();
                exchange.play(daemon, names, world).with_context(|| format!("=== {title}"))?;
            }
        }
    }
    Ok(())
}

#[derive(PartialEq, Eq, Debug)]
enum Step {
    /// A line that begins with `***`.
    Act(String),
    Exchange(Exchange),
}

/// How often a request is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Times {
    #[default]
    Once,
    /// Until its answer is as claimed.
    Until,
    /// So often; each answer must be as claimed.
    Each(u32),
    /// While what an act began goes on, and once more; each answer must be as claimed.
    While,
}

/// A request, and claims about its answer. Texts are as they were written, with `${NAME}`.
#[derive(PartialEq, Eq, Debug, Default)]
struct Exchange {
    title: String,
    times: Times,
    method: String,
    path: String,
    head: Vec<(String, String)>,
    body: Vec<String>,
    statuses: Vec<u16>,
    claims: Vec<String>,
}

/// The part of an exchange that a line belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Outside,
    Request,
    Head,
    Body,
    Answer,
}

fn steps(text: &str) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut part = Part::Outside;
    for (number, line) in text.lines().enumerate() {
        let here = || format!("line {}: {line}", number + 1);
        let is_answered = [Part::Outside, Part::Answer].contains(&part);
        if let Some(title) = line.strip_prefix("=== ") {
            ensure!(is_answered, "{}: the exchange before it has no answer", here());
            steps.push(Step::Exchange(Exchange::titled(title).with_context(here)?));
            part = Part::Request;
            continue;
        }
        if let Some(act) = line.strip_prefix("*** ") {
            ensure!(is_answered, "{}: the exchange before it has no answer", here());
            steps.push(Step::Act(act.trim().to_owned()));
            part = Part::Outside;
            continue;
        }
        if is_answered && (line.trim().is_empty() || line.starts_with('#')) {
            continue;
        }
        match steps.last_mut() {
            Some(Step::Exchange(exchange)) if part != Part::Outside => {
                part = exchange.read(part, line).with_context(here)?;
            }
            _ => bail!("{}: it belongs to no exchange", here()),
        }
    }
    ensure!([Part::Outside, Part::Answer].contains(&part), "the last exchange has no answer");
    Ok(steps)
}

impl Exchange {
    fn titled(title: &str) -> Result<Exchange> {
        let (title, how) = match title.trim().strip_suffix(']').and_then(|t| t.rsplit_once(" [")) {
            Some((title, how)) => (title, how),
            None => (title.trim(), ""),
        };
        let times = match how.split_once(' ') {
            None if how.is_empty() => Times::Once,
            None if how == "until" => Times::Until,
            Some((count, "times")) => Times::Each(count.parse()?),
            Some(("while", _)) => Times::While,
            _ => bail!("[{how}] is none of [until], [N times], [while …]"),
        };
        Ok(Exchange { title: title.to_owned(), times, ..Exchange::default() })
    }

    /// Takes a line, and returns the part that the next one belongs to.
    fn read(&mut self, part: Part, line: &str) -> Result<Part> {
        if let Some(statuses) = line.strip_prefix("--- ") {
            let words = statuses.split_whitespace();
            self.statuses = words.map(str::parse).collect::<Result<_, _>>()?;
            return Ok(Part::Answer);
        }
        match part {
            Part::Request => {
                let (method, path) = line.split_once(' ').context("a method and a path")?;
                (self.method, self.path) = (method.to_owned(), path.trim().to_owned());
                Ok(Part::Head)
            }
            Part::Head if line.is_empty() => Ok(Part::Body),
            Part::Head => {
                let (name, value) = line.split_once(':').context("a header has a colon")?;
                self.head.push((name.to_owned(), value.trim().to_owned()));
                Ok(Part::Head)
            }
            Part::Body => {
                self.body.push(line.to_owned());
                Ok(Part::Body)
            }
            Part::Answer | Part::Outside => {
                self.claims.push(line.trim().to_owned());
                Ok(Part::Answer)
            }
        }
    }

    fn play(
        &self,
        daemon: &RunningDaemon,
        names: &mut Names,
        world: &mut dyn Surroundings,
    ) -> Result<()> {
        let request = Request::of(self, names)?;
        let claims = self.claims.iter().map(|line| Claim::parse(&filled(line, names)?));
        let claims = claims.collect::<Result<Vec<_>>>()?;
        let mut ask = || self.ask(daemon, &request, &claims, names);
        match self.times {
            Times::Once => ask(),
            Times::Each(count) => (0..count).try_for_each(|_| {
                std::thread::sleep(POLL);
                ask()
            }),
            Times::Until => {
                let deadline = Instant::now() + PATIENCE;
                loop {
                    match ask() {
                        Err(_) if Instant::now() < deadline => std::thread::sleep(POLL),
                        done => return done.context("waited for it"),
                    }
                }
            }
            Times::While => loop {
                let goes_on = world.goes_on()?;
                ask()?;
                if !goes_on {
                    return Ok(());
                }
                std::thread::sleep(POLL);
            },
        }
    }

    fn ask(
        &self,
        daemon: &RunningDaemon,
        request: &Request,
        claims: &[Claim],
        names: &mut Names,
    ) -> Result<()> {
        let head: Vec<(&str, &str)> =
            request.head.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        let answer = daemon.request(&self.method, &request.path, &head, &request.body)?;
        let mut judge = || {
            let expected = &self.statuses;
            ensure!(expected.contains(&answer.status), "the status is none of {expected:?}");
            claims.iter().try_for_each(|claim| claim.judge(&answer, names))
        };
        judge().with_context(|| format!("{} {}\n{}", self.method, request.path, shown(&answer)))
    }
}

/// A request with its names filled in.
struct Request {
    path: String,
    head: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn of(exchange: &Exchange, names: &Names) -> Result<Request> {
        let pair = |(name, value): &(String, String)| Ok((name.clone(), filled(value, names)?));
        let mut head = exchange.head.iter().map(pair).collect::<Result<Vec<_>>>()?;
        let lines = exchange.body.iter().map(|line| filled(line, names));
        let lines = lines.collect::<Result<Vec<_>>>()?;
        let kind = head.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let body = match kind {
            Some((_, kind)) if kind == "multipart/form-data" => {
                *kind = format!("multipart/form-data; boundary={BOUNDARY}");
                form(&lines)?
            }
            _ => lines.join("\n").trim_end().as_bytes().to_vec(),
        };
        Ok(Request { path: filled(&exchange.path, names)?, head, body })
    }
}

/// Writes a form: a line is `FIELD: VALUE`, or `FIELD: @PATH NAME TYPE` for a file.
fn form(lines: &[String]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    for line in lines.iter().filter(|line| !line.trim().is_empty()) {
        let (field, value) = line.split_once(':').context("a field has a colon")?;
        let mut head = format!("Content-Disposition: form-data; name=\"{field}\"");
        let value = match value.trim().strip_prefix('@') {
            None => value.trim().as_bytes().to_vec(),
            Some(file) => {
                let words: Vec<&str> = file.split_whitespace().collect();
                let [path, name, kind] = words[..] else { bail!("{line}: not @PATH NAME TYPE") };
                head += &format!("; filename=\"{name}\"\r\nContent-Type: {kind}");
                std::fs::read(path).with_context(|| path.to_owned())?
            }
        };
        body.extend_from_slice(format!("--{BOUNDARY}\r\n{head}\r\n\r\n").as_bytes());
        body.extend_from_slice(&value);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    Ok(body)
}

/// Puts what is known in the place of `${NAME}`.
fn filled(text: &str, names: &Names) -> Result<String> {
    let mut parts = text.split("${");
    let mut full = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').with_context(|| format!("{text}: no }}"))?;
        full += names.get(name).with_context(|| format!("{text}: {name} is not known"))?;
        full += rest;
    }
    Ok(full)
}

fn shown(answer: &RawAnswer) -> String {
    let body: String = answer.text().chars().take(SHOWN).collect();
    format!("{}\n\n{body}", answer.head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_is_read() -> Result<()> {
        let text = "# why\n\n=== it asks [2 times]\nPOST /x?a=${b}\nCookie: c\n\nbody=1\n--- 200 409\n\
                    # so\njson .a = 1\n\n*** it rains\n";
        let names = Names::from([("b".to_owned(), "7".to_owned())]);
        let steps = steps(text)?;
        let [Step::Exchange(exchange), Step::Act(act)] = &steps[..] else {
            panic!("{steps:?}");
        };
        assert_eq!((&exchange.title[..], exchange.times), ("it asks", Times::Each(2)));
        assert_eq!((&exchange.statuses[..], &act[..]), (&[200, 409][..], "it rains"));
        assert_eq!(exchange.claims, ["json .a = 1"]);
        let request = Request::of(exchange, &names)?;
        assert_eq!((&request.path[..], &request.body[..]), ("/x?a=7", &b"body=1"[..]));
        Ok(())
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for wrong in [
            "hello",
            "=== a\nGET /\n",
            "=== a\nGET /\n=== b\nGET /\n--- 200\n",
            "=== a [often]\nGET /\n--- 200\n",
            "=== a\nGET\n--- 200\n",
            "=== a\nGET /\n--- fine\n",
        ] {
            assert!(steps(wrong).is_err(), "{wrong}");
        }
        assert!(filled("${a}", &Names::new()).is_err());
        assert!(Claim::parse("json .a is nice").is_err());
        assert!(Claim::parse("json .a").is_err());
        assert!(Claim::parse("the answer = 42").is_err());
    }
}
