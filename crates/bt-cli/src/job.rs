//! One torrent of a running command, from its first event to its summary.
//!
//! Decides: when it is over, and with which exit code.
//! Must not know: the other torrents' progress, sockets, payload files.
//! Invariant: its reports come in the contract's order; a download that does not move says why.

use crate::asked::{Asked, Place, host};
use crate::commands::create;
use crate::exit::{self, Exit, Failure};
use crate::goal::{MetadataOnly, Rules};
use crate::json::{self, Complete, Progress, SourceBytes};
use crate::output::Output;
use crate::progress::{Board, straight_map};
use crate::reason::{self, Teller, TrackerNews};
use crate::row::{Phase, Row};
use crate::source::Source;
use crate::units;
use bt_metainfo::Metainfo;
use bt_session::{
    Discovery, Event, MagnetView, Panics, SlowReason, Summary, TorrentError, TorrentEvent,
    TorrentHandle, TorrentState, TorrentView,
};
use bt_types::StoreFault;
use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, watch};

/// One torrent on its way.
pub(crate) struct Job {
    name: String,
    /// Bytes of the wanted pieces.
    total: u64,
    info_hash: String,
    pub(crate) handle: Option<TorrentHandle>,
    state: Option<watch::Receiver<TorrentState>>,
    events: Option<broadcast::Receiver<TorrentEvent>>,
    row: Row,
    since: Instant,
    asked: Asked,
    /// The link to pass on.
    link: Option<String>,
    /// Its data was checked.
    pub(crate) began: bool,
    pub(crate) completed_at: Option<Instant>,
    pub(crate) over: bool,
    pub(crate) failure: Option<Failure>,
    shown: Option<TorrentView>,
    /// The last report on the search for its metadata.
    found: Option<MagnetView>,
    /// The file of its metadata, if the user wanted no more.
    written: Option<PathBuf>,
    moved_at: Instant,
    bytes_seen: u64,
    /// Most bytes of metadata that were there at a time.
    metadata_seen: u64,
    /// Its metadata comes from peers.
    is_magnet: bool,
    /// Its data is being checked, and that was reported.
    is_known: bool,
    reasons: Teller,
    limit_was_said: bool,
    /// The last error of a tracker or the disk.
    detail: Option<String>,
    tracker_news: Rc<RefCell<TrackerNews>>,
}

impl Job {
    pub(crate) fn new(
        source: &Source,
        added: Result<TorrentHandle, TorrentError>,
        tracker_news: &Rc<RefCell<TrackerNews>>,
        output: &Output,
        board: &Board,
    ) -> Job {
        let (name, info_hash) = (source.name(), source.hash().unwrap_or_default());
        let total = match source {
            Source::Torrent(torrent) => torrent.info.geometry.total(),
            Source::Magnet(_) => 0,
        };
        let (handle, failure) = match added {
            Ok(handle) => (Some(handle), None),
            Err(error) => (None, Some(Failure::of_adding(&name, &error))),
        };
        let mut job = Job {
            row: Row::new(&name, Phase::Checking),
            since: Instant::now(),
            asked: Asked::default(),
            link: source.magnet(),
            name,
            total,
            info_hash,
            state: handle.as_ref().map(TorrentHandle::state),
            events: handle.as_ref().map(TorrentHandle::events),
            over: false,
            handle,
            began: false,
            completed_at: None,
            failure: None,
            shown: None,
            found: None,
            written: None,
            moved_at: Instant::now(),
            bytes_seen: 0,
            metadata_seen: 0,
            is_magnet: matches!(source, Source::Magnet(_)),
            is_known: false,
            reasons: Teller::new(Instant::now()),
            limit_was_said: false,
            detail: None,
            tracker_news: Rc::clone(tracker_news),
        };
        if let Some(state) = job.state.as_ref().map(|state| state.borrow().clone()) {
            job.begin(&state, output, board);
        }
        if let Some(failure) = failure {
            if !job.is_magnet {
                job.say_checking(output);
            }
            job.fail(failure, output, board);
        }
        job
    }

    /// Reports news, and decides whether the torrent is over.
    pub(crate) fn look(
        &mut self,
        rules: Rules<'_>,
        panics: Panics,
        output: &Output,
        board: &Board,
    ) {
        if self.over {
            return;
        }
        let Some(state) = self.state.as_ref().map(|state| state.borrow().clone()) else { return };
        self.begin(&state, output, board);
        self.hear(rules.is_seed, output, board);
        match state {
            TorrentState::Finding(status) => self.find(status, rules, output, board),
            TorrentState::Known => self.write(rules.metadata_only, output, board),
            TorrentState::Checking => {
                let (done, total) =
                    self.handle.as_ref().map(TorrentHandle::check_progress).unwrap_or_default();
                self.row = Row {
                    done,
                    total,
                    map: straight_map(done, total),
                    ..Row::new(&self.name, Phase::Checking)
                };
                self.moved_at = Instant::now();
            }
            TorrentState::Failed(error) => {
                self.fail(Failure::of_adding(&self.name, &error), output, board)
            }
            TorrentState::Stopped => {
                let message = format!(
                    "{}: its thread ended; this is a bug, run again with -v and report what it says",
                    self.name
                );
                self.fail(Failure::new(Exit::Other, "stopped", message), output, board);
            }
            TorrentState::Active(status) => self.advance(&status, rules, panics, output, board),
        }
    }

    /// Returns what the user sees of it.
    pub(crate) fn row(&self) -> Row {
        let notes = if self.is_quiet() { self.asked.notes(Instant::now()) } else { Vec::new() };
        let link = self.link.clone().filter(|_| self.row.phase == Phase::Seeding);
        let row = Row {
            name: self.name.clone(),
            elapsed: self.since.elapsed(),
            link,
            notes,
            ..self.row.clone()
        };
        match (self.over, &self.failure) {
            (false, _) => row,
            (true, None) => Row { down_rate: 0, up_rate: 0, peers: 0, phase: Phase::Over, ..row },
            (true, Some(_)) => {
                Row { down_rate: 0, up_rate: 0, peers: 0, phase: Phase::Failed, ..row }
            }
        }
    }

    /// Returns whether the user may wonder what the torrent waits for.
    fn is_quiet(&self) -> bool {
        match self.row.phase {
            Phase::Finding | Phase::Seeding => true,
            Phase::Downloading => self.row.down_rate == 0,
            Phase::Checking | Phase::Over | Phase::Failed => false,
        }
    }

    /// Returns the link to pass on.
    pub(crate) fn link(&self) -> Option<&str> {
        self.link.as_deref()
    }

    /// Reports the search for its metadata.
    fn find(&mut self, status: MagnetView, rules: Rules<'_>, output: &Output, board: &Board) {
        let (done, total, peers) =
            (status.received, status.size.map_or(0, u64::from), status.peers);
        self.row = Row { done, total, peers, ..Row::new(&self.name, Phase::Finding) };
        if self.found != Some(status) {
            // A copy of the metadata that begins anew again and again is no progress.
            if self.found.is_none() || status.received > self.metadata_seen {
                self.moved_at = Instant::now();
                self.metadata_seen = status.received;
            }
            self.found = Some(status);
            output.event(&json::Event::Progress(Progress::Metadata {
                info_hash: &self.info_hash,
                phase: "metadata",
                bytes_done: 0,
                bytes_total: None,
                peers: status.peers,
                metadata_done: status.received,
                metadata_total: status.size,
            }));
        }
        let still = self.moved_at.elapsed();
        if rules.timeout.is_some_and(|timeout| still >= timeout) {
            let detail =
                self.detail.as_ref().map_or_else(String::new, |detail| format!(" ({detail})"));
            let why = if status.peers == 0 {
                format!("no peers were found{detail}")
            } else {
                format!("{} gave none", units::count(status.peers, "peer"))
            };
            let message = format!(
                "{}: no metadata for {} s: {why}; name a peer with --peer, or get the .torrent file",
                self.name,
                still.as_secs()
            );
            self.fail(Failure::new(Exit::Network, "no_metadata", message), output, board);
        }
    }

    /// Reports metadata that arrived and can be used.
    fn learn(&mut self, torrent: &Metainfo, output: &Output, board: &Board) {
        let geometry = torrent.info.geometry;
        self.name = torrent.info.name.clone();
        output.event(&json::Event::Metadata {
            info_hash: &self.info_hash,
            name: &self.name,
            bytes: torrent.info_bytes.len(),
            total_size: torrent.info.payload_len(),
            piece_length: geometry.piece_length(),
            piece_count: geometry.piece_count(),
            files: torrent.info.files.iter().filter(|file| file.is_stored()).count(),
            private: torrent.private,
        });
        board.say(format_args!(
            "{}: metadata found, {}",
            self.name,
            units::size(torrent.info.payload_len())
        ));
    }

    /// Writes the metadata, as the user wanted no more.
    fn write(&mut self, only: Option<&MetadataOnly>, output: &Output, board: &Board) {
        let Some(torrent) = self.handle.as_ref().and_then(TorrentHandle::metainfo) else { return };
        match create::keep(&torrent, only.and_then(|only| only.file.as_deref()), output) {
            Ok(file) => {
                output.line(file.display());
                self.written = Some(file);
                self.completed_at = Some(Instant::now());
                self.over = true;
            }
            Err(failure) => self.fail(failure, output, board),
        }
    }

    fn advance(
        &mut self,
        status: &TorrentView,
        rules: Rules<'_>,
        panics: Panics,
        output: &Output,
        board: &Board,
    ) {
        let Rules { after, timeout, is_seed, .. } = rules;
        let complete = status.is_done();
        if is_seed && !self.began && status.pieces_done == 0 && !complete {
            let message = format!(
                "{}: none of its data is here; name the directory that holds it with --dir",
                self.name
            );
            return self.fail(Failure::new(Exit::Verify, "no_data", message), output, board);
        }
        self.began = true;
        self.show(status, panics, output);
        if complete && self.completed_at.is_none() {
            self.completed_at = Some(Instant::now());
            if !is_seed {
                let (info_hash, name) = (self.info_hash.as_str(), self.name.as_str());
                output.event(&json::Event::Complete(Complete::Torrent { info_hash, name }));
                let what = if status.pieces_done < status.pieces_total {
                    "the selected files are "
                } else {
                    ""
                };
                board.say(format_args!("{}: {what}complete and verified", self.name));
            }
        }
        match self.completed_at {
            Some(at) => {
                self.over = !is_seed && after.is_over(at.elapsed(), status.bytes_up, self.total)
            }
            None => self.wait(status, timeout, output, board),
        }
    }

    fn show(&mut self, status: &TorrentView, panics: Panics, output: &Output) {
        if self.shown.as_ref() == Some(status) {
            return;
        }
        let phase = if status.is_done() { Phase::Seeding } else { Phase::Downloading };
        self.row = Row::of(&self.name, phase, status, Duration::ZERO);
        output.event(&json::Event::Progress(Progress::Torrent {
            info_hash: &self.info_hash,
            phase: if status.is_done() { "seed" } else { "download" },
            bytes_done: status.bytes_wanted - status.bytes_missing,
            bytes_total: status.bytes_wanted,
            bytes_down: status.bytes_down,
            bytes_up: status.bytes_up,
            down_rate: status.down_rate,
            up_rate: status.up_rate,
            peers: status.peers,
            seeds: status.seeds,
            panics: panics.into(),
        }));
        self.shown = Some(status.clone());
    }

    /// Reports why an incomplete torrent is slow, and gives up after too long without progress.
    fn wait(
        &mut self,
        status: &TorrentView,
        timeout: Option<Duration>,
        output: &Output,
        board: &Board,
    ) {
        if status.bytes_down > self.bytes_seen && status.store_fault.is_none() {
            self.bytes_seen = status.bytes_down;
            self.moved_at = Instant::now();
        }
        let still = self.moved_at.elapsed();
        if let Some(reason) = self.reasons.hear(Instant::now(), status.slow) {
            self.say_reason(reason, status.down_rate, output, board);
        }
        if timeout.is_some_and(|timeout| still >= timeout) {
            let exit = if status.store_fault.is_some() { Exit::Disk } else { Exit::Network };
            let code = status.store_fault.map_or("no_progress", StoreFault::name);
            let why = status
                .slow
                .map_or_else(String::new, |reason| format!(": {}", self.explain(reason)));
            let message = format!("{}: no progress for {} s{why}", self.name, still.as_secs());
            self.fail(Failure::new(exit, code, message), output, board);
        }
    }

    fn say_reason(&mut self, reason: SlowReason, rate: u64, output: &Output, board: &Board) {
        output.event(&json::Event::Reason {
            info_hash: &self.info_hash,
            reason: reason::name(reason),
            detail: self.detail.as_deref(),
            down_rate: Some(rate),
        });
        if reason == SlowReason::Limit {
            // The user set the limit: once is enough.
            if std::mem::replace(&mut self.limit_was_said, true) {
                return;
            }
            return board.say(format_args!(
                "{}: downloads as fast as your limit (--down) allows",
                self.name
            ));
        }
        let state = if rate == 0 { "waiting" } else { "slow" };
        board.say(format_args!("{}: {state}: {}", self.name, self.explain(reason)));
    }

    fn explain(&self, reason: SlowReason) -> String {
        let text = reason::words(reason);
        // The last error of a tracker or the disk explains nothing about connected peers.
        let detail = self
            .detail
            .as_ref()
            .filter(|_| matches!(reason, SlowReason::NoPeers | SlowReason::Store(_)));
        detail.map_or_else(|| text.clone(), |detail| format!("{text} ({detail})"))
    }

    /// Reports that the data is checked, once it is known which data.
    fn begin(&mut self, state: &TorrentState, output: &Output, board: &Board) {
        let Some(handle) = self.handle.as_ref().filter(|_| !self.is_known) else { return };
        // Asked for, not only listened to: the metadata may come before this listens.
        let learnt = if self.is_magnet { handle.metainfo() } else { None };
        // Known before the state says that it is.
        let wanted = handle.bytes_wanted();
        match (state, learnt) {
            (_, Some(torrent)) => {
                self.learn(&torrent, output, board);
                self.total = wanted;
            }
            (_, None) if self.is_magnet => return,
            // The session may still be opening it.
            (TorrentState::Checking, None) if wanted == 0 => return,
            (TorrentState::Failed(_), None) if wanted == 0 => {}
            (_, None) => self.total = wanted,
        }
        self.say_checking(output);
    }

    fn say_checking(&mut self, output: &Output) {
        self.is_known = true;
        let (name, info_hash, bytes_total) = (&*self.name, &*self.info_hash, self.total);
        output.event(&json::Event::Checking { name, info_hash, bytes_total });
    }

    /// Reports events since the last look.
    fn hear(&mut self, is_seed: bool, output: &Output, board: &Board) {
        let now = Instant::now();
        while let Some(Ok(event)) = self.events.as_mut().map(broadcast::Receiver::try_recv) {
            match event {
                TorrentEvent::Checked { bytes_there } if bytes_there > 0 => {
                    board.say(format_args!(
                        "{}: {} already there",
                        self.name,
                        units::size(bytes_there)
                    ));
                }
                TorrentEvent::Deleted if !is_seed => {
                    board.say(format_args!(
                        "{}: what was there was deleted; the download begins anew",
                        self.name
                    ));
                }
                TorrentEvent::StoreDetail(detail) => {
                    self.detail = Some(exit::without_numbers(&detail))
                }
                TorrentEvent::Engine(Event::StoreFailed(fault)) => {
                    self.reasons.told(Instant::now(), SlowReason::Store(fault));
                    self.say_reason(SlowReason::Store(fault), 0, output, board);
                }
                TorrentEvent::Engine(Event::StoreRecovered) => {
                    self.detail = None;
                    board.say(format_args!("{}: the disk works again", self.name));
                }
                TorrentEvent::Engine(Event::TrackerFailed { url, why }) => {
                    let why = exit::without_numbers(&why);
                    self.say_of_tracker("tracker_failed", &url, Some(&why), output, board);
                    self.asked.failed(now, Place::Tracker(host(&url).into()), why.clone());
                    self.detail = Some(format!("{}: {why}", host(&url)));
                }
                TorrentEvent::Engine(Event::TrackerReply { url, warning, peers, .. }) => {
                    self.asked.found(now, Place::Tracker(host(&url).into()), peers);
                    self.detail = None;
                    self.say_of_tracker("tracker_warning", &url, warning.as_deref(), output, board);
                }
                TorrentEvent::Engine(Event::TrackerAsked(url)) => {
                    self.asked.ask(now, Place::Tracker(host(&url).into()))
                }
                TorrentEvent::Engine(Event::SearchBegan(via)) => self.asked.ask(now, via.into()),
                TorrentEvent::Engine(Event::SearchEnded { via: Discovery::Dht, found }) => {
                    self.asked.found(now, Place::Dht, found)
                }
                TorrentEvent::Engine(Event::BadPiece(piece, _)) => {
                    board.say(format_args!(
                        "{}: piece {} had wrong bytes and is fetched again",
                        self.name,
                        piece.number()
                    ));
                }
                _ => {}
            }
        }
    }

    /// Reports the failure now: the other torrents of the command may go on for months.
    fn fail(&mut self, failure: Failure, output: &Output, board: &Board) {
        output.error_object(&failure);
        board.error(&failure.message);
        self.failure = Some(Failure { told: true, ..failure });
        self.over = true;
    }

    /// Reports that a tracker failed, warned or works again. The text is printed once for all
    /// torrents that use the tracker, the event for each.
    fn say_of_tracker(
        &self,
        reason: &str,
        url: &str,
        why: Option<&str>,
        output: &Output,
        board: &Board,
    ) {
        let host = host(url);
        let is_news = self.tracker_news.borrow_mut().is_news(host, why);
        if let Some(why) = why {
            let detail = format!("{host}: {why}");
            output.event(&json::Event::Reason {
                info_hash: &self.info_hash,
                reason,
                detail: Some(&detail),
                down_rate: None,
            });
        }
        match why {
            Some(why) if is_news => board.say(format_args!("{}: tracker {host}: {why}", self.name)),
            None if is_news => {
                board.say(format_args!("{}: tracker {host} answers again", self.name))
            }
            _ => {}
        }
    }

    /// Takes the final summary; returns whether the torrent failed only now, as not all of it is
    /// safe on the disk.
    pub(crate) fn hear_end(&mut self, summary: &Summary, output: &Output, board: &Board) -> bool {
        let unsaved = summary.unsaved.as_ref().filter(|_| self.failure.is_none());
        if let Some(unsaved) = unsaved {
            let message = format!(
                "{}: not all of it is safe on the disk: {}; run the same command again once the disk works",
                self.name, unsaved.detail
            );
            self.fail(Failure::new(Exit::Disk, unsaved.fault.name(), message), output, board);
        }
        unsaved.is_some()
    }

    /// Reports the summary.
    pub(crate) fn report(&self, summary: &Summary, panics: Panics, output: &Output) {
        let (info_hash, name) = (self.info_hash.as_str(), self.name.as_str());
        if let Some(file) = &self.written {
            let path = file.to_string_lossy();
            let summary = json::Summary::metadata_only(Some(info_hash), name, &path);
            return output.event(&json::Event::Summary(summary));
        }
        let status = summary.status.as_ref();
        let (down, up, wasted) = status
            .map(|status| (status.bytes_down, status.bytes_up, status.bytes_wasted))
            .unwrap_or_default();
        let from_leechers: u64 = summary.sources.iter().map(|source| source.down_as_leecher).sum();
        let sources = summary.sources.iter().map(|source| SourceBytes {
            addr: source.addr,
            client: source.client.as_deref(),
            bytes_down: source.down,
            bytes_down_from_leecher: source.down_as_leecher,
            bytes_up: source.up,
        });
        output.event(&json::Event::Summary(json::Summary::Torrent {
            info_hash,
            name,
            complete: self.completed_at.is_some(),
            bytes_total: self.total,
            bytes_there: summary.bytes_there,
            bytes_downloaded: down,
            bytes_uploaded: up,
            bytes_wasted: wasted,
            peers_banned: status.map_or(0, |status| status.peers_banned),
            pieces_bad: status.map_or(0, |status| status.bad_pieces),
            panics: panics.into(),
            bytes_from_leechers: from_leechers,
            sources: sources.collect(),
        }));
        // A torrent that failed before a byte moved has nothing to report.
        if self.completed_at.is_none() && summary.bytes_there == 0 && down == 0 && up == 0 {
            return;
        }
        output.line(format_args!(
            "{}: {} there before, {} downloaded ({} from other leechers), {} uploaded, {} wasted",
            self.name,
            units::size(summary.bytes_there),
            units::size(down),
            units::size(from_leechers),
            units::size(up),
            units::size(wasted)
        ));
    }
}
