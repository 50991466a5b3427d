//! How an engine runs.

use super::super::cluster::Limits;
use super::super::watermark::Patience;

/// When windows are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As events come: findings must not wait.
    Live,
    /// When they close, and before they are forgotten: events of the past come in about their
    /// order, and only the last word on a finding counts.
    Past,
    /// Once, in [`Engine::finish`](super::Engine::finish): the input ends by itself.
    Replay,
}

/// How an engine runs. None of it changes what is found.
#[derive(Clone, Copy, Debug)]
pub struct EngineSettings {
    /// When windows are asked.
    pub pace: Pace,
    /// When windows close.
    pub patience: Patience,
    /// How long what is over is held for late events, microseconds: windows and buckets are
    /// forgotten that much behind the watermark, if no event as old has arrived for as long.
    pub hold: i64,
    /// The most bytes that one detection keeps for one cluster; beyond, what was not touched
    /// lately goes and findings that may miss it are marked incomplete.
    pub state_bytes_max: usize,
    /// Whether a detection that takes too much time rests or is set aside, for the others' sake: by
    /// the clock of this machine, which knows nothing of the events' times.
    pub limited: bool,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            pace: Pace::Live,
            patience: Patience::default(),
            hold: 3_600_000_000,
            state_bytes_max: 256 << 20,
            limited: false,
        }
    }
}

impl EngineSettings {
    pub(super) fn limits(&self, clusters: usize) -> Limits {
        let Self { limited, state_bytes_max, .. } = *self;
        Limits { limited, sharers: clusters, state_bytes_max }
    }
}
