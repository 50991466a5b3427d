//! A history that is opened once its place can be reached.
//!
//! A bucket that is away while the server starts must not keep it from taking deliveries: they are
//! in the journal, and the journal waits. It never waits for what will not get better: a place
//! that is not understood, or the table of somebody else.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info};

use super::error::HistoryError;
use super::events::EventsTable;
use super::flush::History;
use super::hot::Hot;
use super::location::Location;
use super::minutes::MinutesTable;
use super::whereabouts::Whereabouts;
use crate::journal::Position;
use crate::proof::key::VerifierKey;

/// How long a start waits for what may be about to answer.
const FIRST_LIMIT: Duration = Duration::from_secs(10);
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(15);

/// A history, opened or about to be.
pub struct Opening {
    location: Location,
    writer: String,
    hot: Arc<Hot>,
    tried: Result<History, HistoryError>,
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").field("location", &self.location).finish_non_exhaustive()
    }
}

impl Opening {
    /// Tries it once, for at most ten seconds; see [`History::open`].
    ///
    /// # Errors
    /// When trying again is no use.
    pub fn begin(location: Location, writer: &str, hot: Arc<Hot>) -> Result<Self, HistoryError> {
        let (place, rows) = (location.clone(), Arc::clone(&hot));
        let tried = match History::open_within(FIRST_LIMIT, place, writer, rows) {
            Err(error) if error.is_final() => return Err(error),
            other => other,
        };
        Ok(Self { location, writer: writer.to_owned(), hot, tried })
    }

    /// What was opened already.
    #[must_use]
    pub fn opened(&self) -> Option<&History> {
        self.tried.as_ref().ok()
    }

    /// Whether the server can start with a journal that ends here.
    ///
    /// # Errors
    /// When the journal lacks what history has; when history is not open and the journal is empty:
    /// either this is the first start, and a mistake in the settings is better told at once, or
    /// only history knows where the journal has to begin.
    pub fn check(&mut self, journal: Position) -> Result<(), HistoryError> {
        if let (Err(HistoryError::Slow(_)), 0) = (&self.tried, journal) {
            self.tried = open(&self.location, &self.writer, &self.hot);
        }
        match &self.tried {
            Ok(history) => behind(history, journal),
            Err(why) if journal == 0 => Err(HistoryError::Unreachable {
                url: self.location.address().to_string(),
                why: why.to_string(),
            }),
            Err(_) => Ok(()),
        }
    }

    /// The table `events`; asking it fails until the history is open.
    #[must_use]
    pub fn table(&self) -> EventsTable {
        EventsTable::new(Arc::clone(&self.hot), &self.location)
    }

    /// The table `events_per_minute`.
    #[must_use]
    pub fn minutes(&self) -> MinutesTable {
        MinutesTable::new(Arc::clone(&self.hot), &self.location)
    }

    /// Where events are in what this key signs.
    #[must_use]
    pub fn whereabouts(&self, key: VerifierKey) -> Whereabouts {
        Whereabouts::new(Arc::clone(&self.hot), self.location.clone(), key)
    }

    /// Tries until it is open; `None` when `stopped`, which waits for so long, says so first.
    /// `failed` is told of each failure, `journal` is where the journal ends.
    ///
    /// # Errors
    /// When trying again is no use.
    pub fn wait(
        self,
        journal: Position,
        stopped: impl Fn(Duration) -> bool,
        mut failed: impl FnMut(),
    ) -> Result<Option<History>, HistoryError> {
        let Self { location, writer, hot, mut tried } = self;
        let mut retry = RETRY_FIRST;
        loop {
            match tried {
                Ok(history) => {
                    behind(&history, journal)?;
                    return Ok(Some(history));
                }
                Err(error) if error.is_final() => return Err(error),
                Err(error) => {
                    failed();
                    let (table, error) = (location.address().as_str(), error.to_string());
                    error!(table, error, "history cannot be reached, will try again");
                }
            }
            if stopped(retry) {
                info!("history was not reached: the journal has what came");
                return Ok(None);
            }
            retry = (retry * 2).min(RETRY_MAX);
            tried = open(&location, &writer, &hot);
        }
    }
}

fn open(location: &Location, writer: &str, hot: &Arc<Hot>) -> Result<History, HistoryError> {
    History::open(location.clone(), writer, Arc::clone(hot))
}

/// That the journal, which ends here, has gone at least as far as history.
fn behind(history: &History, journal: Position) -> Result<(), HistoryError> {
    let history = history.position();
    if journal < history { Err(HistoryError::Ahead { history, journal }) } else { Ok(()) }
}
