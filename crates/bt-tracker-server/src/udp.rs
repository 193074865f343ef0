//! The UDP front: one thread a worker, with a socket of its own at each address.
//!
//! Decides: when a worker waits, and what to do when a socket fails.
//! Must not know: what a datagram means.
//! Invariant: a batch is answered before the next is read, so there is no queue of our own. A
//! worker's sockets stay open until all workers stop, as the kernel counts them.

use crate::batch::Batch;
use crate::shards::Shards;
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use tracing::{debug, error};

/// Pause after a receive error, so that a broken socket does not take a processor.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// The threads that answer datagrams. Dropping it stops them without waiting.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    /// All threads wait for the end of this stream as well.
    stop: Option<UnixStream>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts a thread for each group of sockets: shard `n` gets the `n`th.
    pub(crate) fn start(sockets: Vec<Vec<UdpSocket>>, shards: &Shards) -> io::Result<Workers> {
        let (stop, stopped) = UnixStream::pair()?;
        let mut workers = Workers { stop: Some(stop), threads: Vec::new() };
        for (number, sockets) in sockets.into_iter().enumerate() {
            let worker =
                Worker { number, sockets, shards: shards.clone(), stopped: stopped.try_clone()? };
            let thread = Builder::new().name(format!("bt-udp-{number}"));
            workers.threads.push(thread.spawn(move || worker.run())?);
        }
        Ok(workers)
    }

    /// Stops the threads, and returns when their sockets are closed.
    pub(crate) fn stop(mut self) {
        drop(self.stop.take());
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

struct Worker {
    number: usize,
    sockets: Vec<UdpSocket>,
    shards: Shards,
    stopped: UnixStream,
}

impl Worker {
    fn run(self) {
        let mut batches: Vec<Batch> = self.sockets.iter().map(|_| Batch::new()).collect();
        // A panic would be our bug in one datagram, which is gone: the others must still be
        // answered.
        while catch_unwind(AssertUnwindSafe(|| self.serve(&mut batches))).is_err() {
            error!("a datagram made the tracker panic; please report this");
        }
    }

    /// Answers until the workers stop.
    fn serve(&self, batches: &mut [Batch]) {
        let mut waited = vec![PollFd::new(&self.stopped, PollFlags::IN)];
        waited.extend(self.sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)));
        loop {
            let _ = poll(&mut waited, None);
            let mut ready = waited.iter().map(|waited| !waited.revents().is_empty());
            if ready.next() == Some(true) {
                return;
            }
            let sockets = self.sockets.iter().zip(batches.iter_mut()).zip(ready);
            for ((socket, batch), _) in sockets.filter(|(_, ready)| *ready) {
                self.drain(socket, batch);
            }
        }
    }

    /// Answers what has come to a socket.
    fn drain(&self, socket: &UdpSocket, batch: &mut Batch) {
        loop {
            match batch.receive(socket) {
                Ok(()) => {
                    self.shards.answer(self.number, batch.exchanges());
                    batch.send(socket);
                    // Other sockets have their turn, and then this one again.
                    if !batch.is_full() || self.sockets.len() > 1 {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    debug!(%error, "udp receive failed");
                    return std::thread::sleep(ERROR_PAUSE);
                }
            }
        }
    }
}
