//! An audit log on disk, read line by line while it is written: `[[source]] type = "file"`.
//!
//! Promise: each line that is in the log when it is rotated by rename, and while we are stopped
//! or killed, is accepted; a line that is accepted twice (a crash came between the acceptance
//! and the saving of the progress) is the same event twice, which is stored once. A log that is
//! cut in place is noticed and counted.
//!
//! Never: it keeps no more than one chunk in memory, and it does not hurry: while many records
//! wait to be processed, the log waits on disk, so that the webhook finds the budget free.
//!
//! Lines are handed on as they are, together up to 1 MiB. One without its newline is left until
//! that comes, or until the log goes on in another file. Of one that is longer than a delivery
//! may be, the beginning is handed on (to be quarantined) and the rest is passed over, counted.
//! Files that were rotated before the first start are not read, compressed ones never.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::follower::{Follower, Notice};
use self::log_file::Limits;
pub use self::progress::ProgressError;
use self::progress::{Mark, ProgressFile};
use super::accept::{Door, RawBatch, Refusal};
use crate::clock::now_micros;
use crate::event::ClusterName;
use crate::metrics::Metrics;

/// Which file of a log is read, and from where.
mod follower;

/// The files of a log, by name and age.
mod folder;

/// One open file.
mod log_file;

/// The mark that survives a restart.
mod progress;

/// Lines that are handed on together: few enough bytes to wait for little, enough to make the
/// saving of the progress cheap.
const CHUNK_BYTES: u64 = 1 << 20;
/// How often a log is looked at while it does not grow.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// While more records than this wait to be processed, the log waits ...
const RECORDS_WAITING_MAX: u64 = 16;
/// ... for so many looks, because small deliveries may keep the number up for ever.
const WAITS_MAX: u32 = 100;
/// How long such a wait is.
const WAIT: Duration = Duration::from_millis(10);

/// One log to follow.
#[derive(Clone, Debug)]
pub struct FileSource {
    /// Its name in messages, metrics and the name of its progress file: no `/` in it.
    pub name: String,
    /// The file that is written.
    pub path: PathBuf,
    /// Whose events are in it.
    pub cluster: ClusterName,
    /// The longest line that is handed on whole, in bytes; not zero.
    pub line_bytes_max: usize,
}

/// Follows one log.
#[derive(Debug)]
pub struct Tail {
    source: FileSource,
    door: Arc<Door>,
    metrics: Arc<Metrics>,
    follower: Follower,
    progress: ProgressFile,
    saved: Option<Mark>,
    waits: u32,
    reading: Complaint,
    saving: Complaint,
}

/// What a look at the log came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Lines were handed on; there may be more.
    Taken,
    /// There is nothing to hand on now.
    Nothing,
    /// The file changed while it was read: look again.
    Changed,
    /// There is no room for more records now.
    Full,
}

/// Why a look failed; the next one may not.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("read log")]
    Read(#[source] std::io::Error),
    #[error("hand on lines: {0}")]
    Refused(String),
}

impl Tail {
    /// Gets ready to follow a log. Progress is kept in the data directory.
    ///
    /// # Errors
    /// When the progress cannot be read.
    pub fn open(
        source: FileSource,
        data: &Path,
        door: Arc<Door>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ProgressError> {
        let (progress, saved) = ProgressFile::open(data, &source.name)?;
        let line_bytes_max = source.line_bytes_max as u64;
        let limits = Limits { chunk_bytes: CHUNK_BYTES, line_bytes_max };
        let follower = Follower::new(source.path.clone(), saved.clone(), limits);
        metrics.file_source(&source.name);
        let (reading, saving) = (Complaint::default(), Complaint::default());
        Ok(Self { source, door, metrics, follower, progress, saved, waits: 0, reading, saving })
    }

    /// Follows the log until `stop` is cancelled. Blocks its thread, which must not be one of
    /// the runtime's.
    pub fn run(mut self, runtime: &Handle, stop: &CancellationToken) {
        info!(source = self.source.name, path = %self.source.path.display(), "following a log");
        while !stop.is_cancelled() {
            let pause = match self.turn(runtime) {
                Step::Taken | Step::Changed => continue,
                Step::Nothing => POLL_INTERVAL,
                Step::Full => WAIT,
            };
            // A timer can only be made inside the runtime.
            runtime.block_on(async {
                stop.run_until_cancelled(tokio::time::sleep(pause)).await;
            });
        }
    }

    /// One step, with all that is said and saved about it.
    fn turn(&mut self, runtime: &Handle) -> Step {
        let step = self.step(runtime);
        for notice in self.follower.take_notices() {
            self.tell(notice);
        }
        self.save();
        let path = &self.source.path;
        self.reading.settle(&self.source.name, path, step).unwrap_or(Step::Nothing)
    }

    fn step(&mut self, runtime: &Handle) -> Result<Step, Trouble> {
        if self.door.pending() > RECORDS_WAITING_MAX && self.waits < WAITS_MAX {
            self.waits += 1;
            return Ok(Step::Full);
        }
        self.waits = 0;
        let Some(extent) = self.follower.find().map_err(Trouble::Read)? else {
            return Ok(Step::Nothing);
        };
        let Ok(permit) = self.door.reserve(extent.bytes()) else { return Ok(Step::Full) };
        let Some((body, mark)) = self.follower.read(extent).map_err(Trouble::Read)? else {
            return Ok(Step::Changed);
        };
        let bytes = body.len();
        let batch = RawBatch {
            cluster: self.source.cluster.clone(),
            source: "file",
            received_at: now_micros(),
            body: Bytes::from(body),
            permit,
        };
        match runtime.block_on(self.door.accept(batch)) {
            Ok(_) => {}
            Err(Refusal::Busy { .. }) => return Ok(Step::Full),
            Err(Refusal::Forbidden(message)) => return Err(Trouble::Refused(message)),
        }
        self.follower.advance(mark);
        self.metrics.file_bytes(&self.source.name, bytes);
        Ok(Step::Taken)
    }

    /// Puts the mark on disk when it moved. When that fails, reading goes on: a restart would
    /// only read the same lines again.
    fn save(&mut self) {
        let Some(mark) = self.follower.mark() else { return };
        if self.saved.as_ref() == Some(mark) {
            return;
        }
        let mark = mark.clone();
        let saved = self.progress.save(&mark);
        if self.saving.settle(&self.source.name, self.progress.path(), saved).is_some() {
            self.saved = Some(mark);
        }
    }

    fn tell(&self, notice: Notice) {
        let (source, path) = (self.source.name.as_str(), self.source.path.display());
        match notice {
            Notice::Truncated => {
                error!(source, %path, "log was truncated in place, lines may be lost");
                self.metrics.file_truncated(source);
            }
            Notice::Gone => {
                error!(source, %path, "rotated log is gone, lines of it may be unread");
                self.metrics.file_gone(source);
            }
            Notice::PassedOver(bytes) => {
                error!(source, %path, bytes, "rest of a line that is too long passed over");
                self.metrics.file_passed_over(source, bytes);
            }
        }
    }
}

/// Says an error once, and again when it changes or is over.
#[derive(Debug, Default)]
struct Complaint {
    last: Option<String>,
}

impl Complaint {
    /// The value, or nothing after saying why there is none.
    fn settle<T, E>(&mut self, source: &str, path: &Path, result: Result<T, E>) -> Option<T>
    where
        E: std::error::Error,
    {
        let path = path.display();
        match result {
            Ok(value) => {
                if self.last.take().is_some() {
                    info!(source, %path, "log source works again");
                }
                Some(value)
            }
            Err(error) => {
                let error = chain(&error);
                if self.last.as_ref() != Some(&error) {
                    warn!(source, %path, error, "log source is held up");
                    self.last = Some(error);
                }
                None
            }
        }
    }
}

/// An error and what caused it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
