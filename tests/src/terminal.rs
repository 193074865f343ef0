//! A program in a terminal of a given size, and the content of its screen.
//!
//! Decides: how the terminal behaves: as most do, it wraps long lines anew when it gets narrower,
//! and its screen was used before. Must not know: which program runs.
//! Invariant: the program is killed when the value is dropped.

use alacritty_terminal::event::VoidListener;
use alacritty_terminal::grid::Dimensions;
use alacritty_terminal::index::{Column, Line, Point};
use alacritty_terminal::term::{Config, Term};
use alacritty_terminal::vte::ansi::{Processor, StdSyncHandler};
use anyhow::{Context as _, Result, bail};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The size of a terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TerminalSize {
    /// The number of characters in a row.
    pub columns: u16,
    /// The number of rows on the screen.
    pub rows: u16,
}

impl Dimensions for TerminalSize {
    fn total_lines(&self) -> usize {
        self.rows.into()
    }

    fn screen_lines(&self) -> usize {
        self.rows.into()
    }

    fn columns(&self) -> usize {
        self.columns.into()
    }
}

/// A program and its terminal.
pub struct Terminal {
    child: Child,
    pty: File,
    model: Arc<Mutex<Term<VoidListener>>>,
}

impl Terminal {
    /// Starts a program whose input and output are a terminal of this size.
    pub fn start(command: &mut Command, size: TerminalSize) -> Result<Terminal> {
        let pty = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&pty)?;
        unlockpt(&pty)?;
        let path = ptsname(&pty, Vec::new())?;
        let path = std::ffi::OsStr::from_bytes(path.to_bytes());
        let end = || OpenOptions::new().read(true).write(true).open(path);
        tcsetwinsize(&pty, winsize(size))?;
        let child = command
            .env("TERM", "xterm-256color")
            .stdin(end()?)
            .stdout(end()?)
            .stderr(end()?)
            .spawn();
        let child = child.with_context(|| format!("cannot start {command:?}"))?;
        let model = Arc::new(Mutex::new(Term::new(Config::default(), &size, VoidListener)));
        let (pty, shown) = (File::from(pty), Arc::clone(&model));
        let mut from = pty.try_clone()?;
        thread::spawn(move || {
            let (mut parser, mut buffer) = (Processor::<StdSyncHandler>::new(), [0; 4096]);
            // The cursor starts at the bottom, as after some hours of use. No program can reach
            // rows that scroll away while the window gets narrower.
            parser.advance(&mut *lock(&shown), "\n".repeat(size.rows.into()).as_bytes());
            // When the program ends, the last end of the terminal closes, and the read fails.
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                parser.advance(&mut *lock(&shown), &buffer[..count]);
            }
        });
        Ok(Terminal { child, pty, model })
    }

    /// Gives the terminal another size.
    pub fn resize(&self, size: TerminalSize) -> Result<()> {
        let mut model = lock(&self.model);
        tcsetwinsize(&self.pty, winsize(size))?;
        model.resize(size);
        Ok(())
    }

    /// Returns all rows of the terminal, with those that scrolled away, without blanks at their
    /// ends. Each comes with whether it was wrapped into the next.
    pub fn rows(&self) -> Vec<(String, bool)> {
        use alacritty_terminal::term::cell::Flags;
        let model = lock(&self.model);
        let (columns, grid) = (model.columns(), model.grid());
        let row = |line: i32| {
            let cell = |column| &grid[Point::new(Line(line), Column(column))];
            let text: String = (0..columns).map(|column| cell(column).c).collect();
            (text.trim_end().to_owned(), cell(columns - 1).flags.contains(Flags::WRAPLINE))
        };
        (grid.topmost_line().0..=grid.bottommost_line().0)
            .map(row)
            .filter(|(text, _)| !text.is_empty())
            .collect()
    }

    /// Waits until `is_so` accepts the rows, and returns them.
    pub fn wait_for(
        &self,
        what: &str,
        limit: Duration,
        is_so: impl Fn(&[(String, bool)]) -> bool,
    ) -> Result<Vec<(String, bool)>> {
        let began = Instant::now();
        loop {
            let rows = self.rows();
            if is_so(&rows) {
                return Ok(rows);
            }
            if began.elapsed() > limit {
                bail!("no {what} after {limit:?}: {rows:#?}");
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the program.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.kill();
    }
}

fn lock(model: &Mutex<Term<VoidListener>>) -> MutexGuard<'_, Term<VoidListener>> {
    model.lock().unwrap_or_else(PoisonError::into_inner)
}

fn winsize(size: TerminalSize) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 }
}
