//! `bt`: create, share, download and track torrents.
//!
//! Decides: which command runs, and the exit code.
//! Must not know: how any command works.
//! Invariant: a command returns here, and its error is printed once. Exceptions that end the
//! process elsewhere: a second signal, and bad data in `bt verify --json`.
#![forbid(unsafe_code)]

mod addresses;
mod args;
mod asked;
mod bugs;
mod client;
mod commands;
mod daemon_config;
mod exit;
mod fit;
mod frame;
mod goal;
mod help;
mod job;
mod json;
mod output;
mod progress;
mod reason;
mod row;
mod screen;
mod select;
mod signals;
mod source;
mod supervisor;
mod table;
mod transfer;
mod trust;
mod units;
mod why_socket;

use args::{AnnounceArgs, ApiArgs, Cli, Command, IdsArgs};
use clap::{CommandFactory as _, Parser as _};
use exit::{EXIT_CODES, Failure, Outcome};
use output::Output;
use std::process::ExitCode;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // The help by job is made only for who reads it.
            let error = help::command().try_get_matches().err().unwrap_or(error);
            // clap prints help and version as errors with exit code 0.
            let _ = error.print();
            if !error.use_stderr() {
                return ExitCode::SUCCESS;
            }
            let args = std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned());
            if let Some(example) = help::example(&error, args) {
                output::say(format_args!("Example: {example}"));
            }
            return ExitCode::from(2);
        }
    };
    raise_descriptor_limit();
    log_to_stderr(cli.output.verbose);
    let output = Output::new(name(&cli.command), &cli.output);
    match run(cli.command, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.told {
                output.failure(&failure);
            }
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn run(command: Command, output: &Output) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::from(anyhow::Error::from(error)))?;
    runtime.block_on(async {
        match command {
            Command::Demo(args) => commands::demo::run(args, output).await,
            Command::Create(args) => commands::create::run(args, output),
            Command::Show(args) => commands::show::run(args, output).await,
            Command::Verify(args) => commands::verify::run(args, output).await,
            Command::Get(args) => commands::get::run(args, output).await,
            Command::Seed(args) => commands::seed::run(args, output).await,
            Command::Tracker(args) => commands::tracker::run(args, output).await,
            Command::Daemon(args) => commands::daemon::run(args, output).await,
            Command::Add(args) => commands::remote::add(args, output).await,
            Command::Info(args) => commands::remote::info(args, output).await,
            Command::Pause(args) => commands::remote::run(args, false, output).await,
            Command::Resume(args) => commands::remote::run(args, true, output).await,
            Command::Check(args) => commands::remote::act(args, "check", output).await,
            Command::Remove(args) => commands::remote::remove(args, output).await,
            Command::Set(args) => commands::remote::set(args, output).await,
            Command::Move(args) => commands::remote::move_to(args, output).await,
            Command::Why(args) => commands::why::run(args, output).await,
            Command::Undo(args) => commands::remote::undo(args, output).await,
            Command::Watch(args) => commands::remote::watch(args, output).await,
            Command::Import(args) => commands::import::run(args, output).await,
            Command::Announce(AnnounceArgs { ask, api: Some(api) }) => {
                let id = vec![ask.source.to_string_lossy().into_owned()];
                let ids = IdsArgs { id, api: ApiArgs { api } };
                commands::remote::act(ids, "reannounce", output).await
            }
            Command::Announce(args) => commands::ask::announce(args.ask, output).await,
            Command::Scrape(args) => commands::ask::scrape(args, output).await,
            Command::Dht(args) => commands::dht::run(args, output).await,
            Command::List(args) if args.state.is_some() => commands::saved::list(&args, output),
            Command::List(args) => commands::remote::list(args, output).await,
            Command::Forget(args) => commands::saved::forget(&args, output),
            Command::Magnet(args) => commands::show::magnet(args, output).await,
            Command::Completions(args) => {
                let mut script = Vec::new();
                clap_complete::generate(args.shell, &mut Cli::command(), "bt", &mut script);
                output::print_all(&String::from_utf8_lossy(&script));
                Ok(())
            }
            Command::Man(args) => commands::man::run(&args, output),
            Command::Help(args) => print_help(args.topic.as_deref()),
        }
    })
}

fn name(command: &Command) -> &'static str {
    match command {
        Command::Demo(_) => "demo",
        Command::Create(_) => "create",
        Command::Show(_) => "show",
        Command::Verify(_) => "verify",
        Command::Get(_) => "get",
        Command::Seed(_) => "seed",
        Command::Tracker(_) => "tracker",
        Command::Daemon(_) => "daemon",
        Command::Add(_) => "add",
        Command::Info(_) => "info",
        Command::Pause(_) => "pause",
        Command::Resume(_) => "resume",
        Command::Check(_) => "check",
        Command::Remove(_) => "remove",
        Command::Set(_) => "set",
        Command::Move(_) => "move",
        Command::Why(_) => "why",
        Command::Undo(_) => "undo",
        Command::Watch(_) => "watch",
        Command::Import(_) => "import",
        Command::Announce(_) => "announce",
        Command::Scrape(_) => "scrape",
        Command::Dht(_) => "dht",
        Command::List(_) => "list",
        Command::Forget(_) => "forget",
        Command::Magnet(_) => "magnet",
        Command::Completions(_) => "completions",
        Command::Man(_) => "man",
        Command::Help(_) => "help",
    }
}

fn print_help(topic: Option<&str>) -> Outcome {
    let mut cli = help::command();
    cli.build();
    // A reader that went away is no failure of ours.
    let _ = match topic {
        Some("exit-codes") => {
            output::print_all(EXIT_CODES);
            Ok(())
        }
        None => cli.print_help(),
        Some(topic) => match cli.find_subcommand_mut(topic) {
            Some(command) => command.print_help(),
            None => {
                return Err(Failure::usage(format!(
                    "there is no command {topic}; `bt --help` lists them"
                )));
            }
        },
    };
    Ok(())
}

/// Raises the soft limit of open files to the hard one: 1,024 is meant for programs that call
/// `select`. If that is refused, the session makes do with the limit there is.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::ERROR,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    let named = std::env::var("BT_LOG").ok().and_then(|text| text.parse().ok());
    let targets = named.unwrap_or_else(|| Targets::new().with_default(level));
    let log = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(|| output::LogWriter);
    tracing_subscriber::registry().with(log.with_filter(targets)).init();
}
