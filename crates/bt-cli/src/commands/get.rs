//! `bt get`: download torrents, then exit.
//!
//! Decides: what the options mean together. Must not know: how a download works.
//! Invariant: every source is understood before anything is downloaded.

use crate::args::GetArgs;
use crate::exit::Outcome;
use crate::output::Output;
use crate::select;
use crate::source;
use crate::transfer::{self, After, Plan};
use bt_session::AddOptions;

pub(crate) async fn run(args: GetArgs, output: &Output) -> Outcome {
    let (roots, mut loaded) = (args.net.trust.roots()?, Vec::new());
    for source in &args.source {
        let torrent = source::load_for_transfer(source, &roots).await?;
        torrent.warnings.iter().for_each(|warning| output.note(format_args!("{source}: {warning}")));
        loaded.push(torrent);
    }
    let selected = select::select(&loaded.iter().collect::<Vec<_>>(), &args.select)?;
    let options =
        |select| AddOptions { peers: args.net.peer.clone(), no_resume: args.net.no_resume, select, ..AddOptions::new(&args.dir) };
    let torrents = loaded.into_iter().zip(selected.into_iter().map(options)).collect();
    let after = After { seed: args.seed, ratio: args.seed_ratio, time: args.seed_time };
    transfer::run(Plan { torrents, net: args.net, roots, timeout: args.timeout, after, is_seed: false }, output).await
}
