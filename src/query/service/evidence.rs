//! Where the events of a finding are in what is proven.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

use super::QueryService;
use crate::findings::record::FindingRecord;
use crate::history::evidence::Wanted;
use crate::history::whereabouts::Spot;

/// Whoever asks for a finding does not wait longer for this.
const LIMIT: Duration = Duration::from_secs(2);

impl QueryService {
    /// Where the events of a finding's evidence are in the history, in their order, `None` of one
    /// that is in no file yet, or was let go of. `None` when that cannot be said now: there is no
    /// room for it, or the history is away.
    pub async fn evidence(&self, finding: &FindingRecord) -> Option<Vec<Option<Spot>>> {
        let whereabouts = Arc::clone(self.whereabouts.as_ref()?);
        let threads = self.runtime.as_ref()?.handle();
        let wanted = finding
            .evidence
            .iter()
            .map(|event| Wanted::at(&finding.cluster, &event.event_id, &event.event_time));
        let wanted: Vec<Wanted> = wanted.collect::<Option<_>>()?;
        let looked_up = async {
            let turn = self.turn().await.ok()?;
            // On the threads of questions: files are unpacked.
            let mut looking = JoinSet::new();
            let look = async move {
                let _turn = turn;
                whereabouts.of(&wanted).await
            };
            looking.spawn_on(look, threads);
            looking.join_next().await?.ok()
        };
        match timeout(LIMIT, looked_up).await.ok()?? {
            Ok(spots) => Some(spots),
            Err(error) => {
                debug!(error = error.to_string(), "where evidence is cannot be said now");
                None
            }
        }
    }
}
