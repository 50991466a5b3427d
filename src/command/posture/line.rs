//! What is said of one control, and of all.

use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::question::control::Control;

/// What a control comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Pass,
    NoEvidence,
    Fail,
}

impl Verdict {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::NoEvidence => "no evidence",
            Self::Fail => "fail",
        }
    }
}

/// A detection behind a control.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Behind {
    pub(super) id: String,
    pub(super) title: String,
    /// Of them, in the time that was asked about.
    pub(super) findings: u64,
    /// Why it was not asked, where it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lacks: Option<String>,
}

/// A figure beside it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) value: Json,
}

/// One control.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Line {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) cis: Vec<String>,
    pub(super) verdict: Verdict,
    /// Why, in a sentence.
    pub(super) reason: String,
    /// What passes, and what is left open.
    pub(super) about: String,
    /// Events that could show it broken.
    pub(super) seen: u64,
    /// Of these, how many do.
    pub(super) failing: u64,
    /// Findings from severity medium on that count as failures.
    pub(super) findings: u64,
    pub(super) first_event: Option<String>,
    pub(super) last_event: Option<String>,
    pub(super) first_failing: Option<String>,
    pub(super) last_failing: Option<String>,
    /// The latest that show it broken: `event_time`, `event_id`, `audit_id`, `cluster`, `what`.
    pub(super) evidence: Vec<Map<String, Json>>,
    pub(super) figures: Vec<Figure>,
    pub(super) detections: Vec<Behind>,
    /// The question that counted.
    pub(super) query: Option<String>,
    /// The audit policy's rule that would give evidence, where there is none.
    pub(super) rule: Option<String>,
}

impl Line {
    /// Of a control that nothing is known of yet.
    pub(super) fn of(control: &Control, detections: Vec<Behind>) -> Self {
        Self {
            id: control.id.clone(),
            title: control.title.clone(),
            cis: control.cis.clone(),
            verdict: Verdict::NoEvidence,
            reason: String::new(),
            about: control.about.clone(),
            seen: 0,
            failing: 0,
            findings: 0,
            first_event: None,
            last_event: None,
            first_failing: None,
            last_failing: None,
            evidence: Vec::new(),
            figures: Vec::new(),
            detections,
            query: None,
            rule: None,
        }
    }
}

/// How many lines there are of each verdict.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Summary {
    pub(super) pass: usize,
    pub(super) fail: usize,
    pub(super) no_evidence: usize,
}

/// Everything that is told.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Posture {
    /// The release of the benchmark that sections are of.
    pub(super) benchmark: &'static str,
    /// When it was asked.
    pub(super) at: String,
    pub(super) since: Option<String>,
    pub(super) until: Option<String>,
    pub(super) events: u64,
    pub(super) first_event: Option<String>,
    pub(super) last_event: Option<String>,
    pub(super) summary: Summary,
    pub(super) controls: Vec<Line>,
}

impl Posture {
    /// The worst of all lines.
    pub(super) fn worst(&self) -> Verdict {
        self.controls.iter().map(|line| line.verdict).max().unwrap_or(Verdict::Pass)
    }
}

impl Summary {
    pub(super) fn of(lines: &[Line]) -> Self {
        let count = |verdict| lines.iter().filter(|line| line.verdict == verdict).count();
        Self {
            pass: count(Verdict::Pass),
            fail: count(Verdict::Fail),
            no_evidence: count(Verdict::NoEvidence),
        }
    }
}
