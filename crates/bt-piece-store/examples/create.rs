//! Makes a torrent of a file or a tree: `create PATH OUTPUT [PIECE_LENGTH]`.

use bt_piece_store::{CreateOptions, Progress, create_torrent};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (path, output) =
        (args.next().ok_or("PATH is missing")?, args.next().ok_or("OUTPUT is missing")?);
    let piece_length = args.next().map(|text| text.parse()).transpose()?;
    let options = CreateOptions { piece_length, ..CreateOptions::default() };
    let created = create_torrent(path.as_ref(), &options, &Progress::default())?;
    for skipped in &created.skipped {
        eprintln!("skipped {}: it is {}", skipped.path.display(), skipped.what);
    }
    std::fs::write(output, &created.bytes)?;
    println!("{}", created.metainfo.magnet());
    Ok(())
}
