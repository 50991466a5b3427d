//! The thread that owns the open segment: gather, write, sync once, answer everyone.

use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::disk::DiskFile;
use super::error::AppendError;
use super::local::{Request, Shared};
use super::record::{Entry, Position};
use super::recovery::{Segment, Spare, file_name};
use super::segment::{Head, RECORDS_START};

/// Writes what callers append; see [`Writer::run`].
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    requests: mpsc::Receiver<Request>,
    open: Option<Open>,
    next: Position,
    sequence: u64,
    file_number: u64,
    buffer: Vec<u8>,
}

/// The segment being written.
#[derive(Debug)]
struct Open {
    file: Arc<dyn DiskFile>,
    salt: u64,
    bytes: u64,
    end: u64,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        requests: mpsc::Receiver<Request>,
        next: Position,
        sequence: u64,
        file_number: u64,
    ) -> Self {
        Self { shared, requests, open: None, next, sequence, file_number, buffer: Vec::new() }
    }

    /// Writes until the journal is closed and all that was sent is answered.
    ///
    /// # Errors
    /// When the disk failed: who waits has been told, nothing more is taken, and only a restart
    /// can tell what is durable.
    pub fn run(mut self) -> io::Result<()> {
        let mut requests = Vec::new();
        let result = loop {
            let Some(first) = self.requests.blocking_recv() else { break Ok(()) };
            let mut bytes = first.encoded.len();
            requests.push(first);
            while bytes < self.shared.settings.gather_bytes
                && let Ok(request) = self.requests.try_recv()
            {
                bytes += request.encoded.len();
                requests.push(request);
            }
            if let Err(error) = self.write(&mut requests) {
                self.requests.close();
                while let Ok(request) = self.requests.try_recv() {
                    requests.push(request);
                }
                refuse(requests, AppendError::Poisoned);
                break Err(error);
            }
        };
        self.shared.ended();
        result
    }

    /// Writes and answers these requests, all of them unless it fails.
    fn write(&mut self, requests: &mut Vec<Request>) -> io::Result<()> {
        let mut waiting = std::mem::take(requests).into_iter().peekable();
        while let Some(request) = waiting.peek() {
            let room = match self.room(request.encoded.len() as u64) {
                Ok(room) => room,
                Err(error) if is_full(&error) => {
                    refuse(waiting.collect(), AppendError::Full);
                    return Ok(());
                }
                Err(error) => {
                    requests.extend(waiting);
                    return Err(error);
                }
            };
            let mut bytes = 0;
            let mut group = Vec::new();
            while let Some(request) = waiting.next_if(|request| {
                let length = request.encoded.len() as u64;
                group.is_empty() || bytes + length <= room
            }) {
                bytes += request.encoded.len() as u64;
                group.push(request);
            }
            if let Err(error) = self.write_group(&mut group) {
                if is_full(&error) {
                    refuse(group, AppendError::Full);
                    continue;
                }
                requests.extend(group.into_iter().chain(waiting));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Writes a group that fits into the open segment, syncs and answers it. On failure the group
    /// is unanswered and the segment's end has not moved.
    fn write_group(&mut self, group: &mut Vec<Request>) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Err(io::Error::other("no open segment")) };
        self.buffer.clear();
        for (request, position) in group.iter_mut().zip(self.next..) {
            request.encoded.place(position, open.salt, &mut self.buffer);
        }
        open.file.write_at(&self.buffer, open.end)?;
        // A full disk at this point is a failed sync like any other.
        open.file.sync().map_err(|error| io::Error::other(format!("sync: {error}")))?;
        open.end += self.buffer.len() as u64;
        let mut entries = Vec::with_capacity(group.len());
        let mut replies = Vec::with_capacity(group.len());
        for Request { encoded, hold, reply } in group.drain(..) {
            let (position, delivery) = (self.next, encoded.delivery);
            entries.push(encoded.record.map(|record| Entry { position, delivery, record }));
            replies.push((reply, self.next));
            drop(hold);
            self.next += 1;
        }
        self.shared.publish(entries, self.next, open.end);
        for (reply, position) in replies {
            // A caller that went away has its record all the same.
            let _ = reply.send(Ok(position));
        }
        // A giant's buffer is not kept.
        if self.buffer.capacity() > 4 * self.shared.settings.gather_bytes {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    /// The bytes left in the open segment, a new one if a record of this length has no room.
    fn room(&mut self, length: u64) -> io::Result<u64> {
        if self.shared.disk.free_bytes()? < self.shared.settings.reserve_bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if let Some(open) = &self.open
            && open.end + length <= open.bytes
        {
            return Ok(open.bytes - open.end);
        }
        if self.shared.is_full(length) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let open = self.start_segment(length)?;
        let room = open.bytes - open.end;
        self.open = Some(open);
        Ok(room)
    }

    fn start_segment(&mut self, length: u64) -> io::Result<Open> {
        let bytes = self.shared.settings.segment_bytes.max(RECORDS_START + length);
        let spare = self.spare(bytes)?;
        let sequence = self.sequence + 1;
        let salt = salt(sequence, self.next);
        let head = Head { sequence, first: self.next, salt };
        spare.file.write_at(&head.encode(), 0)?;
        spare.file.sync().map_err(|error| io::Error::other(format!("sync: {error}")))?;
        self.sequence = sequence;
        let (file, end) = (Arc::clone(&spare.file), RECORDS_START);
        let segment = Segment { name: spare.name, file: spare.file, head, end, next: self.next };
        self.shared.lock().segments.push_back(segment);
        Ok(Open { file, salt, bytes: spare.bytes, end })
    }

    /// A file of at least so many bytes that is durable by name.
    fn spare(&mut self, bytes: u64) -> io::Result<Spare> {
        let mut state = self.shared.lock();
        if let Some(at) = state.spares.iter().position(|spare| spare.bytes >= bytes) {
            return Ok(state.spares.swap_remove(at));
        }
        drop(state);
        let disk = &self.shared.disk;
        if disk.free_bytes()? < self.shared.settings.reserve_bytes + bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file_number += 1;
        let name = file_name(self.file_number);
        // Some file systems only find out when it is synced that there is no room. Nothing of ours
        // is in it yet, so that is no failed sync.
        let created = disk.create(&name, bytes).and_then(|file| file.sync().map(|()| file));
        match created.and_then(|file| disk.sync_names().map(|()| file)) {
            Ok(file) => Ok(Spare { name, file: file.into(), bytes }),
            Err(error) => {
                // What was written of it must not stay and fill the disk.
                let _ = disk.remove(&name);
                Err(error)
            }
        }
    }
}

fn refuse(requests: Vec<Request>, why: AppendError) {
    for request in requests {
        let _ = request.reply.send(Err(why));
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Tells a segment's records from those of the file's former lives.
fn salt(sequence: u64, first: Position) -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one((sequence, first))
}
