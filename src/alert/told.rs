//! What a receiver was told lately that cannot tell a repeat by itself, such as a channel of a
//! chat: a finding that only counts more events is no news to people. Bounded; a restart forgets.

use std::collections::{BTreeMap, VecDeque};

use super::notice::{Notice, State};
use crate::findings::record::Severity;

/// So many are remembered.
const TOLD_MAX: usize = 10_000;

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    by_id: BTreeMap<String, (State, Severity)>,
    /// In the order in which they came.
    ids: VecDeque<String>,
}

impl Told {
    /// Whether this was told and nothing that matters has changed.
    pub(super) fn knows(&self, notice: &Notice) -> bool {
        self.by_id.get(&notice.id) == Some(&(notice.state, notice.severity))
    }

    /// It is told.
    pub(super) fn remember(&mut self, notice: &Notice) {
        let told = (notice.state, notice.severity);
        if self.by_id.insert(notice.id.clone(), told).is_some() {
            return;
        }
        self.ids.push_back(notice.id.clone());
        if self.ids.len() > TOLD_MAX
            && let Some(oldest) = self.ids.pop_front()
        {
            self.by_id.remove(&oldest);
        }
    }
}
