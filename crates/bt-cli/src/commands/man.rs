//! `bt man`: write the man pages.
//!
//! Decides: what is said about them.
//! Must not know: how a page is made.
//! Invariant: the directory is named in what is printed.

use crate::args::ManArgs;
use crate::exit::{Failure, Outcome};
use crate::help;
use crate::json::ManPages;
use crate::output::Output;

pub(crate) fn run(args: &ManArgs, output: &Output) -> Outcome {
    help::write_man_pages(&args.dir).map_err(|error| Failure::disk(&args.dir, &error))?;
    output.line(format_args!("wrote the man pages to {}", args.dir.display()));
    output.object(&ManPages { dir: args.dir.to_string_lossy().into() });
    Ok(())
}
