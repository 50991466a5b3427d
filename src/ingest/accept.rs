//! Names the cluster, appends to the journal, returns a receipt or a refusal.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::budget::{Budget, Permit};
use crate::event::ClusterName;
use crate::journal::{AppendError, Journal, Position, Record};

/// The source of a webhook delivery whose sender names an envelope: `webhook`, or
/// `webhook:<format>`.
///
/// # Errors
/// In words, when there is no such format.
pub fn webhook_source(format: Option<&str>) -> Result<&'static str, String> {
    const SOURCES: [&str; 6] = [
        "webhook:lines",
        "webhook:eventlist",
        "webhook:eks",
        "webhook:gke",
        "webhook:aks",
        "webhook:openshift",
    ];
    let Some(format) = format.filter(|format| *format != "auto") else { return Ok("webhook") };
    let named = |source: &&&str| source.strip_prefix("webhook:") == Some(format);
    SOURCES.iter().find(named).copied().ok_or_else(|| {
        let known = SOURCES.map(|source| source.trim_start_matches("webhook:")).join(", ");
        format!("format: `{format}` is not known, use auto or one of: {known}")
    })
}

/// One delivery, read whole; the permit goes with its bytes until they are on disk.
#[derive(Debug)]
pub struct RawBatch {
    /// Whose events these are.
    pub cluster: ClusterName,
    /// The kind of input, such as `webhook`; behind a colon, the format that its sender named.
    pub source: &'static str,
    /// Arrival, microseconds since 1970, UTC.
    pub received_at: i64,
    /// The body as it came.
    pub body: Bytes,
    /// Its share of the budget.
    pub permit: Permit,
}

/// Why a delivery was not taken, and so what the sender should do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Come again later with the same bytes.
    #[error("no room now: {why}")]
    Busy {
        /// How long to wait.
        after: Duration,
        /// What there is too little of.
        why: Why,
    },
    /// This sender may not deliver this.
    #[error("{0}")]
    Forbidden(String),
}

/// What keeps us from taking a delivery now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// `[ingest] budget` is used up.
    Memory,
    /// The disk is below `[journal] reserve`.
    Disk,
    /// The service is about to stop.
    Stopping,
}

impl Why {
    /// A bounded word for metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Stopping => "stopping",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Three seconds stretch the API server's patience from 90 to 240 seconds; one second would
/// bring every batch 55 times.
pub const RETRY_AFTER: Duration = Duration::from_secs(3);

/// The door.
#[derive(Debug)]
pub struct Door {
    journal: Arc<Journal>,
    budget: Budget,
    clusters_max: usize,
    clusters: Mutex<BTreeSet<ClusterName>>,
    processed: AtomicU64,
}

impl Door {
    /// A door in front of this journal, for at most `clusters_max` clusters.
    #[must_use]
    pub fn new(journal: Arc<Journal>, budget: Budget, clusters_max: usize) -> Self {
        let processed = AtomicU64::new(journal.first());
        Self { journal, budget, clusters_max, clusters: Mutex::default(), processed }
    }

    /// A share of the budget for bytes about to be read.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when there is no room for them.
    pub fn reserve(&self, bytes: usize) -> Result<Permit, Refusal> {
        self.budget.reserve(bytes).ok_or(Refusal::Busy { after: RETRY_AFTER, why: Why::Memory })
    }

    /// Appends a delivery to the journal. When this returns a position, it will be processed.
    ///
    /// # Errors
    /// [`Refusal`] says what the sender should do.
    pub async fn accept(&self, batch: RawBatch) -> Result<Position, Refusal> {
        self.know(&batch.cluster)?;
        let record = Record {
            cluster: batch.cluster.into(),
            source: batch.source.into(),
            received_at: batch.received_at,
            body: batch.body,
        };
        let appended = self.journal.append(record, Box::new(batch.permit)).await;
        appended.map_err(|error| Refusal::Busy {
            after: RETRY_AFTER,
            why: match error {
                AppendError::Full => Why::Disk,
                AppendError::Closed | AppendError::Poisoned => Why::Stopping,
            },
        })
    }

    /// All records below a position have been processed.
    pub fn processed(&self, below: Position) {
        self.processed.store(below, Ordering::SeqCst);
    }

    /// How many records have been taken but not processed yet.
    pub fn pending(&self) -> u64 {
        let processed = self.processed.load(Ordering::SeqCst);
        self.journal.position().saturating_sub(processed)
    }

    /// The number of clusters is bounded: each one costs memory and metrics.
    fn know(&self, cluster: &ClusterName) -> Result<(), Refusal> {
        let mut clusters = lock(&self.clusters);
        if clusters.contains(cluster) {
            return Ok(());
        }
        if clusters.len() >= self.clusters_max {
            let message = format!(
                "cluster `{cluster}` is one too many: `[ingest] clusters_max` is {}",
                self.clusters_max
            );
            return Err(Refusal::Forbidden(message));
        }
        clusters.insert(cluster.clone());
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
