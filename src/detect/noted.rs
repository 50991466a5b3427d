//! Findings made of single events that can be taken back: what a later event disproves becomes
//! withdrawn.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::detection::Detection;
use super::evidence::{Evidence, Mark};
use super::finding::{Finding, Identity, Status};
use super::row::Row;

/// A guess at what an event and its row take, bytes.
const EVENT_BYTES: usize = 1_024;

/// Which finding: bucket and key.
pub(crate) type Place = (i64, Box<[u8]>);

/// The events of one cluster's findings.
#[derive(Debug)]
pub(crate) struct Noted {
    open: HashMap<Place, Open>,
    touched: BTreeSet<Place>,
    /// Earlier buckets are forgotten.
    first: i64,
}

impl Default for Noted {
    fn default() -> Self {
        Self { open: HashMap::new(), touched: BTreeSet::new(), first: i64::MIN }
    }
}

#[derive(Debug, Default)]
struct Open {
    events: BTreeMap<Mark, Row>,
    /// What was last said.
    said: Option<Finding>,
}

impl Noted {
    /// An event counts for a finding, with the row it would show.
    pub(crate) fn note(&mut self, place: Place, event: Mark, row: Row) {
        if place.0 < self.first {
            return;
        }
        self.open.entry(place.clone()).or_default().events.insert(event, row);
        self.touched.insert(place);
    }

    /// An event no longer counts.
    pub(crate) fn take_back(&mut self, place: Place, event: &Mark) {
        if let Some(open) = self.open.get_mut(&place) {
            open.events.remove(event);
            self.touched.insert(place);
        }
    }

    /// Every finding is to be looked at again.
    pub(crate) fn touch_all(&mut self) {
        self.touched.extend(self.open.keys().cloned());
    }

    /// The findings that changed, of the events that count now. `names` are those of the key
    /// columns, without the cluster.
    pub(crate) fn revise(
        &mut self,
        detection: &Arc<Detection>,
        names: &Arc<[String]>,
        cluster: &str,
        counts: impl Fn(&Mark) -> bool,
        incomplete: bool,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        for place in std::mem::take(&mut self.touched) {
            let Some(open) = self.open.get_mut(&place) else { continue };
            let (bucket, key) = &place;
            let mut events = open.events.iter().filter(|(event, _)| counts(event)).peekable();
            let now = match events.peek() {
                Some((_, row)) => {
                    let identity = Identity { detection, cluster, key, bucket: *bucket };
                    let (id, row) = (identity.id(), (*row).clone());
                    let mut evidence = Evidence::default();
                    for (event, _) in events {
                        evidence.insert(event.event_time, || event.clone());
                    }
                    Finding {
                        id,
                        detection: Arc::clone(detection),
                        status: Status::Open,
                        cluster: cluster.to_owned(),
                        key: identity.columns(names),
                        bucket: *bucket,
                        row,
                        evidence,
                        incomplete,
                    }
                }
                None => match &open.said {
                    Some(said) => Finding { status: Status::Withdrawn, ..said.clone() },
                    None => continue,
                },
            };
            if open.said.as_ref().is_none_or(|said| !said.says_the_same(&now)) {
                open.said = Some(now.clone());
                findings.push(now);
            }
        }
        findings
    }

    /// Forgets buckets before this one.
    pub(crate) fn forget(&mut self, first: i64) {
        self.first = self.first.max(first);
        self.open.retain(|(bucket, _), _| *bucket >= first);
    }

    /// Bytes that it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        self.open.values().map(|open| (open.events.len() + 2) * EVENT_BYTES).sum()
    }
}
