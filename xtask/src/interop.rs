//! `interop`: every foreign client that is installed, both ways and in one swarm.
//!
//! Decides: the table. Must not know: how a client is driven.
//! Invariant: a cell is filled only by a transfer whose copy equals the original.

use anyhow::{Context as _, Result, bail};
use bt_tests::foreign::{CLIENTS, Rqbit};
use bt_tests::{Bt, Client, Meeting, Net, Protocol};
use std::fmt::Write as _;
use std::path::Path;

/// The clients to meet.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this client; repeat for more
    #[arg(long, value_name = "NAME")]
    client: Vec<String>,
    /// Write the table into docs/interop.md
    #[arg(long)]
    write: bool,
}

/// The mark in docs/interop.md between the written text and the generated part.
const MARK: &str = "<!-- what follows is written by `cargo xtask interop --write` -->\n";

/// Runs all meetings and prints the table.
pub(crate) fn run(args: &Args, root: &Path) -> Result<()> {
    let net = Net::new().context("network namespaces need root and `ip`")?;
    let wanted = |client: &&dyn Client| {
        args.client.is_empty() || args.client.iter().any(|name| name == client.name())
    };
    let here: Vec<(&dyn Client, String)> = CLIENTS
        .into_iter()
        .chain([&Rqbit as &dyn Client])
        .filter(wanted)
        .filter_map(|client| Some((client, client.version()?)))
        .collect();
    let mut failures = Vec::new();
    let mut cell = |what: &str, done: Result<String>| {
        done.unwrap_or_else(|error| {
            eprintln!("{what}: {error:#}");
            failures.push(format!("{what}: {error:#}"));
            "fails".into()
        })
    };

    let mut pairs = Vec::new();
    for (client, _) in &here {
        let (mut cells, mut links) = (Vec::new(), Vec::new());
        for protocol in [Protocol::Http, Protocol::Udp] {
            if !client.announces_over(protocol) {
                cells.extend(["-".into(), "-".into()]);
                continue;
            }
            if protocol == Protocol::Http {
                let to_bt = Meeting::new(&net, protocol)?.transfer_by_link(*client, &Bt::GET);
                let from_bt = Meeting::new(&net, protocol)?.transfer_by_link(&Bt::SEED, *client);
                for done in [to_bt, from_bt] {
                    links.push(cell(
                        client.name(),
                        done.map(|took| format!("{:.1} s", took.as_secs_f64())),
                    ));
                }
            }
            let to_bt = Meeting::new(&net, protocol)?.transfer(*client, &Bt::GET);
            let from_bt = Meeting::new(&net, protocol)?.transfer(&Bt::SEED, *client);
            for done in [to_bt, from_bt] {
                cells.push(cell(
                    client.name(),
                    done.map(|took| format!("{:.1} s", took.as_secs_f64())),
                ));
            }
        }
        cells.append(&mut links);
        eprintln!("{}: {}", client.name(), cells.join(", "));
        pairs.push(cells);
    }

    let clients: Vec<&dyn Client> = here.iter().map(|(client, _)| *client).collect();
    let swarm = Meeting::new(&net, Protocol::Http)?.mixed(&clients);
    let guests: Vec<String> = match swarm {
        Ok(guests) => guests
            .iter()
            .map(|guest| {
                format!("{:.1} s, {} MiB sent", guest.took.as_secs_f64(), guest.bytes_up >> 20)
            })
            .collect(),
        Err(error) => vec![cell("the mixed swarm", Err(error)); clients.len() + 2],
    };

    let mut table = String::from(
        "| client | version | to bt, HTTP | from bt, HTTP | to bt, UDP | from bt, UDP | to bt, link | from bt, link | in the mixed swarm |\n",
    );
    table += "|---|---|---|---|---|---|---|---|---|\n";
    let (ours, theirs) = guests.split_at(2);
    for guest in ours {
        writeln!(
            table,
            "| bt | {} | | | | | | | {guest} |",
            Bt::GET.version().unwrap_or_default()
        )?;
    }
    for (((client, version), cells), guest) in here.iter().zip(&pairs).zip(theirs) {
        writeln!(table, "| {} | {version} | {} | {guest} |", client.name(), cells.join(" | "))?;
    }
    println!("{table}");
    if args.write {
        let path = root.join("docs/interop.md");
        let page = std::fs::read_to_string(&path)?;
        let (text, _) = page.split_once(MARK).context("docs/interop.md has lost its mark")?;
        std::fs::write(&path, format!("{text}{MARK}\n{table}"))?;
    }
    if !failures.is_empty() {
        bail!("{}", failures.join("\n"));
    }
    Ok(())
}
