//! Help: the commands grouped by job, the man pages, and an example after a wrong option.
//!
//! Decides: the groups, and which example is shown.
//! Must not know: what a command does.
//! Invariant: every command is in one group.

use crate::args::Cli;
use clap::error::{ContextKind, ContextValue};
use clap::{Command, CommandFactory as _};
use std::fmt::Write as _;
use std::path::Path;

/// The commands by job, in the order in which a user needs them.
const GROUPS: &[(&str, &[&str])] = &[
    ("Share and download", &["get", "seed", "demo"]),
    (
        "The daemon",
        &[
            "daemon", "add", "list", "info", "pause", "resume", "check", "set", "move", "remove",
            "undo", "why", "watch", "import",
        ],
    ),
    ("Torrents and links", &["create", "show", "verify", "magnet"]),
    ("Remembered downloads", &["forget"]),
    ("Trackers and the DHT", &["tracker", "announce", "scrape", "dht"]),
    ("Help", &["help", "completions", "man"]),
];

/// Returns the command line whose help shows the commands by job.
pub(crate) fn command() -> Command {
    let cli = Cli::command();
    // clap wraps and aligns the list; it cannot group it.
    let list = cli.clone().help_template("{subcommands}").render_help().to_string();
    let mut template = String::from("{about-with-newline}\n{usage-heading} {usage}\n\n");
    for (title, names) in GROUPS {
        let _ = writeln!(template, "{title}:");
        names.iter().for_each(|name| template.push_str(&entry(&list, name)));
        template.push('\n');
    }
    cli.help_template(template + "Options:\n{options}{after-help}")
}

/// Returns the lines of this command in clap's list.
fn entry(list: &str, name: &str) -> String {
    let begins = |line: &&str| line.split_whitespace().next() == Some(name) && is_first(line);
    let mut lines = list.lines().skip_while(|line| !begins(line));
    let first = lines.next().into_iter();
    let text = first.chain(lines.take_while(|line| !is_first(line)));
    text.fold(String::new(), |text, line| text + line + "\n")
}

/// Returns whether a command begins in this line of clap's list.
fn is_first(line: &str) -> bool {
    line.starts_with("  ") && !line.starts_with("   ")
}

/// Writes a man page for each command.
pub(crate) fn write_man_pages(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(Cli::command(), dir)
}

/// Returns an example of the command that the user meant, with the wrong option where there is one.
pub(crate) fn example(error: &clap::Error, args: impl Iterator<Item = String>) -> Option<String> {
    let mut command = Cli::command();
    for arg in args {
        command = match command.find_subcommand(&arg) {
            Some(sub) => sub.clone(),
            None => command,
        };
    }
    let help = command.get_after_help()?.to_string();
    let examples: Vec<&str> =
        help.lines().map(str::trim).filter(|line| line.starts_with("bt ")).collect();
    let option = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(option)) => option.split_whitespace().next(),
        _ => None,
    };
    let fits = |line: &&&str| option.is_some_and(|option| line.contains(option));
    examples.iter().find(fits).or(examples.first()).map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;
    use std::collections::BTreeSet;

    #[test]
    fn every_command_is_in_one_group() {
        let command = command();
        let names: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        let grouped: Vec<&str> =
            GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        assert_eq!(grouped.len(), names.len());
        assert_eq!(BTreeSet::from_iter(grouped), BTreeSet::from_iter(names));
    }

    #[test]
    fn the_groups_say_what_each_command_does() {
        let help = command().render_help().to_string();
        for sub in command().get_subcommands() {
            let about = sub.get_about().expect("a command says what it does").to_string();
            let begin = about.split(',').next().unwrap_or_default().chars().take(20);
            let begin: String = begin.collect();
            assert!(help.contains(&begin), "{}: {begin:?} is not in {help}", sub.get_name());
        }
        assert!(!help.contains("\n\n\n"), "{help}");
    }

    #[test]
    fn a_wrong_option_is_answered_by_an_example() {
        for (args, expected) in [
            (&["bt", "get", "x", "--fast"][..], "bt get holiday.torrent -d downloads"),
            (
                &["bt", "get", "x", "--seed-ratio", "y"],
                "bt get 'magnet:?xt=urn:btih:…' --select '*.jpg' --seed-ratio 1.5",
            ),
            (
                &["bt", "dht", "node", "--listen", "x"],
                "bt dht node --listen 0.0.0.0:6881 --listen '[::]:6881'",
            ),
        ] {
            let error = Cli::try_parse_from(args).expect_err("it is wrong");
            let args = args.iter().map(ToString::to_string);
            assert_eq!(example(&error, args).as_deref(), Some(expected));
        }
    }

    #[test]
    fn each_command_has_a_man_page() {
        let dir = tempfile::tempdir().expect("temporary directory");
        write_man_pages(&dir.path().join("man1")).expect("man pages");
        for sub in command().get_subcommands() {
            let page = dir.path().join("man1").join(format!("bt-{}.1", sub.get_name()));
            let text = std::fs::read_to_string(&page).expect("a page");
            assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{text}");
        }
        assert!(dir.path().join("man1/bt.1").is_file());
    }
}
