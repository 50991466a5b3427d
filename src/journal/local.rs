//! The journal on the local disk: append, read, truncate, position.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::disk::Disk;
use super::error::{AppendError, OpenError};
use super::record::{Encoded, Entry, Position, Record, encode};
use super::recovery::{Segment, Spare, recover};
use super::segment::{Cursor, RECORDS_START};
use super::writer::Writer;

/// How the journal uses the disk.
#[derive(Clone, Copy, Debug)]
pub struct JournalSettings {
    /// Size of a segment's file.
    pub segment_bytes: u64,
    /// Bytes of the device that are left free: below, nothing is taken.
    pub reserve_bytes: u64,
    /// The most bytes of files with records: beyond, nothing is taken.
    pub space_bytes: u64,
    /// The first position of a journal that has no files yet.
    pub first: Position,
    /// Memory for the newest records, so that they need not be read back.
    pub tail_bytes: usize,
    /// About how much is written before a sync.
    pub gather_bytes: usize,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            reserve_bytes: 1 << 30,
            space_bytes: u64::MAX,
            first: 0,
            tail_bytes: 64 << 20,
            gather_bytes: 8 << 20,
        }
    }
}

/// What a read gives.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// Records in order, at least one.
    Entries(Vec<Entry>),
    /// Nothing came within the time given.
    Nothing,
    /// Closed, and all has been read.
    Closed,
}

/// Something of the caller's that is kept for as long as a record's bytes are on their way, and
/// dropped once its fate is known: a share of a memory budget.
pub type Hold = Box<dyn Any + Send>;

/// A record on its way to the writer.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) encoded: Encoded,
    pub(super) hold: Hold,
    pub(super) reply: oneshot::Sender<Result<Position, AppendError>>,
}

/// Requests that wait for the writer at most.
const WAITING_MAX: usize = 1024;
/// Larger bodies are compressed away from the caller's thread.
const INLINE_BYTES_MAX: usize = 32 << 10;
/// Still larger ones are compressed as many at a time as there are processors, and read back from
/// the disk when their turn comes: neither may take much more memory than they were admitted with.
const LARGE_BYTES: usize = 8 << 20;
/// Spare files beyond this are removed.
const SPARES_MAX: usize = 4;

/// The journal. Any number of callers append; one reads and truncates.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    requests: Mutex<Option<mpsc::Sender<Request>>>,
    /// Places for large bodies that are being compressed.
    presses: Arc<Semaphore>,
    damaged: Vec<String>,
}

/// What writer and reader share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) settings: JournalSettings,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
pub(super) struct State {
    /// Oldest first; the writer's own is the last.
    pub(super) segments: VecDeque<Segment>,
    pub(super) spares: Vec<Spare>,
    /// The newest records, up to `next`.
    tail: VecDeque<Entry>,
    tail_bytes: usize,
    /// All positions below are durable.
    pub(super) next: Position,
    /// Where a read from the disk ended: position, sequence and offset of the next record.
    resume: Option<(Position, u64, u64)>,
    closed: bool,
}

impl Journal {
    /// Opens the journal of a folder and recovers what is in it. Gives the journal and its
    /// writer, whose `run` wants a thread of its own.
    ///
    /// # Errors
    /// When the folder cannot be read, or what is in it is not whole.
    pub fn open(
        disk: Arc<dyn Disk>,
        settings: JournalSettings,
    ) -> Result<(Self, Writer), OpenError> {
        let recovered = recover(disk.as_ref())?;
        let damaged = recovered.damaged;
        let next = recovered.segments.last().map_or(settings.first, |segment| segment.next);
        let state = State {
            segments: recovered.segments.into(),
            spares: recovered.spares,
            tail: VecDeque::new(),
            tail_bytes: 0,
            next,
            resume: None,
            closed: false,
        };
        let state = Mutex::new(state);
        let shared = Arc::new(Shared { disk, settings, state, changed: Condvar::new() });
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let writer = Writer::new(
            Arc::clone(&shared),
            receiver,
            next,
            recovered.sequence,
            recovered.file_number,
        );
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let presses = Arc::new(Semaphore::new(processors));
        Ok((Self { shared, requests: Mutex::new(Some(sender)), presses, damaged }, writer))
    }

    /// Appends a record and gives its position once it is durable. A caller that goes away while
    /// waiting cancels nothing, and `hold` stays with the record all the same.
    ///
    /// # Errors
    /// [`AppendError`] says why it was not taken.
    pub async fn append(&self, record: Record, hold: Hold) -> Result<Position, AppendError> {
        let sender = lock(&self.requests).clone().ok_or(AppendError::Closed)?;
        let remembered_max = LARGE_BYTES.min(self.shared.settings.tail_bytes);
        let (encoded, hold) = if record.body.len() > INLINE_BYTES_MAX {
            let press = if record.body.len() > LARGE_BYTES {
                Some(Arc::clone(&self.presses).acquire_owned().await)
            } else {
                None
            };
            let work = tokio::task::spawn_blocking(move || {
                let _press = press;
                (encode(record, remembered_max), hold)
            });
            work.await.map_err(|_| AppendError::Closed)?
        } else {
            (encode(record, remembered_max), hold)
        };
        let (reply, answer) = oneshot::channel();
        let sent = sender.send(Request { encoded, hold, reply }).await;
        sent.map_err(|_| AppendError::Poisoned)?;
        drop(sender);
        // The writer drops requests unanswered only when it panicked.
        answer.await.unwrap_or(Err(AppendError::Poisoned))
    }

    /// Up to about `bytes_max` of records from position `from` on (at least one, whatever its
    /// size), waiting for at most `wait` while there is none. Positions that were truncated are
    /// passed over.
    ///
    /// # Errors
    /// When the disk cannot be read, or does not have what was durable.
    pub fn read(&self, from: Position, bytes_max: usize, wait: Duration) -> io::Result<Read> {
        let state = self.shared.lock();
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(state, wait, |state| state.next <= from && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        if state.next <= from {
            return Ok(if state.closed { Read::Closed } else { Read::Nothing });
        }
        let first = state.segments.front().map_or(state.next, |segment| segment.head.first);
        let from = from.max(first);
        let remembered = state.tail.front().is_some_and(|entry| entry.position <= from);
        let entries = if remembered {
            state.in_memory(from, bytes_max)
        } else {
            let (segment, offset, at) = state.place(from)?;
            drop(state);
            let (entries, resume) = from_disk(&segment, offset, at, from, bytes_max)?;
            self.shared.lock().resume = Some(resume);
            entries
        };
        if entries.is_empty() {
            return Err(lost(from));
        }
        Ok(Read::Entries(entries))
    }

    /// Forgets records below a position, as far as whole segments allow.
    ///
    /// # Errors
    /// When the disk fails; nothing that is needed is lost by it.
    pub fn truncate(&self, below: Position) -> io::Result<()> {
        loop {
            let mut state = self.shared.lock();
            state.drop_tail_below(below);
            let done = state.segments.len() > 1
                && state.segments.front().is_some_and(|oldest| oldest.next <= below);
            if !done {
                return Ok(());
            }
            let Some(oldest) = state.segments.pop_front() else { return Ok(()) };
            let keep = state.spares.len() < SPARES_MAX;
            drop(state);
            self.shared.free(oldest, keep)?;
        }
    }

    /// The position that the next record will have: all below are durable.
    #[must_use]
    pub fn position(&self) -> Position {
        self.shared.lock().next
    }

    /// The oldest position that can be read.
    #[must_use]
    pub fn first(&self) -> Position {
        let state = self.shared.lock();
        state.segments.front().map_or(state.next, |segment| segment.head.first)
    }

    /// Files with a damaged head: what records they may hold cannot be told, they are left alone.
    #[must_use]
    pub fn damaged(&self) -> &[String] {
        &self.damaged
    }

    /// Bytes of the files that hold records.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared.lock().segments.iter().map(|segment| segment.end).sum()
    }

    /// Takes no more records. The writer ends once all that was sent is answered; readers get
    /// what is left and then [`Read::Closed`].
    pub fn close(&self) {
        lock(&self.requests).take();
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Whether one more segment, for a record of this length, would take more space than there is.
    pub(super) fn is_full(&self, length: u64) -> bool {
        let used: u64 = self.lock().segments.iter().map(|segment| segment.end).sum();
        let more = self.settings.segment_bytes.max(length);
        used > 0 && used.saturating_add(more) > self.settings.space_bytes
    }

    /// All records below `next` are durable; these are the newest of them, `None` for one that is
    /// not to be remembered, and the open segment's durable end is at `end`.
    pub(super) fn publish(&self, entries: Vec<Option<Entry>>, next: Position, end: u64) {
        let mut state = self.lock();
        state.next = next;
        for entry in entries {
            if let Some(entry) = entry {
                state.tail_bytes += entry.record.body.len();
                state.tail.push_back(entry);
            } else {
                // The tail has no gaps: what is before one is read from the disk as well.
                state.tail.clear();
                state.tail_bytes = 0;
            }
        }
        if let Some(open) = state.segments.back_mut() {
            open.end = end;
            open.next = next;
        }
        while state.tail_bytes > self.settings.tail_bytes
            && let Some(entry) = state.tail.pop_front()
        {
            state.tail_bytes -= entry.record.body.len();
        }
        drop(state);
        self.changed.notify_all();
    }

    /// The writer has ended.
    pub(super) fn ended(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Makes a segment's file a spare, or removes it. Its head goes first: no restart may take it
    /// for a segment.
    fn free(&self, segment: Segment, keep: bool) -> io::Result<()> {
        segment.file.write_at(&[0; 64], 0)?;
        segment.file.sync()?;
        let bytes = segment.file.bytes()?;
        if keep && bytes == self.settings.segment_bytes {
            self.lock().spares.push(Spare { name: segment.name, file: segment.file, bytes });
            return Ok(());
        }
        drop(segment.file);
        self.disk.remove(&segment.name)?;
        self.disk.sync_names()
    }
}

impl State {
    fn in_memory(&self, from: Position, bytes_max: usize) -> Vec<Entry> {
        let entries = self.tail.iter().skip_while(|entry| entry.position < from);
        let mut bytes = 0;
        let entries = entries.take_while(|entry| {
            let first = bytes == 0;
            bytes += entry.record.body.len().max(1);
            first || bytes <= bytes_max
        });
        entries.cloned().collect()
    }

    fn drop_tail_below(&mut self, below: Position) {
        while self.tail.front().is_some_and(|entry| entry.position < below)
            && let Some(entry) = self.tail.pop_front()
        {
            self.tail_bytes -= entry.record.body.len();
        }
    }

    /// The segment of a position, and the best known offset at or before it, with the position of
    /// the record there.
    fn place(&self, from: Position) -> io::Result<(Segment, u64, Position)> {
        let found = self.segments.iter().rev().find(|segment| segment.head.first <= from);
        let segment = found.cloned().ok_or_else(|| lost(from))?;
        Ok(match self.resume {
            Some((at, sequence, offset)) if at == from && sequence == segment.head.sequence => {
                (segment, offset, at)
            }
            _ => {
                let first = segment.head.first;
                (segment, RECORDS_START, first)
            }
        })
    }
}

/// Records of one segment from `from` on, starting at the record `at` at `offset`; and where the
/// next read can go on.
fn from_disk(
    segment: &Segment,
    offset: u64,
    at: Position,
    from: Position,
    bytes_max: usize,
) -> io::Result<(Vec<Entry>, (Position, u64, u64))> {
    let mut cursor = Cursor::at(segment.file.as_ref(), segment.head.salt, offset, at);
    let mut entries = Vec::new();
    let (mut next, mut bytes) = (from, 0);
    while next < segment.next && (entries.is_empty() || bytes < bytes_max) {
        let Some(found) = cursor.next()? else { return Err(lost(next)) };
        if found.position() < from {
            continue;
        }
        let entry = found.entry().ok_or_else(|| lost(next))?;
        bytes += entry.record.body.len();
        next = entry.position + 1;
        entries.push(entry);
    }
    Ok((entries, (next, segment.head.sequence, cursor.offset())))
}

fn lost(position: Position) -> io::Error {
    let message = format!("record {position} was durable and is not there");
    io::Error::new(io::ErrorKind::InvalidData, message)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
