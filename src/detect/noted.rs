//! Findings made of single events that can be taken back: what a later event disproves becomes
//! withdrawn.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::detection::Detection;
use super::evidence::{Evidence, Mark};
use super::finding::{Finding, Identity, Status};
use super::row::Row;

/// A guess at what an event and its row take, bytes.
const EVENT_BYTES: usize = 1_024;
/// What a finding takes besides its events, in events.
const PLACE_SIZE: usize = 2;

/// Which finding: bucket and key.
pub(crate) type Place = (i64, Box<[u8]>);

/// The events of one cluster's findings.
#[derive(Debug)]
pub(crate) struct Noted {
    open: HashMap<Place, Open>,
    touched: BTreeSet<Place>,
    /// Earlier buckets are forgotten.
    first: i64,
    /// What is kept, in events.
    size: usize,
}

impl Default for Noted {
    fn default() -> Self {
        Self { open: HashMap::new(), touched: BTreeSet::new(), first: i64::MIN, size: 0 }
    }
}

#[derive(Debug, Default)]
struct Open {
    events: BTreeMap<Mark, Row>,
    /// What was last said.
    said: Option<Finding>,
}

impl Open {
    fn size(&self) -> usize {
        self.events.len() + PLACE_SIZE
    }
}

impl Noted {
    /// An event counts for a finding, with the row it would show.
    pub(crate) fn note(&mut self, place: Place, event: Mark, row: Row) {
        if place.0 < self.first {
            return;
        }
        let open = self.open.entry(place.clone()).or_insert_with(|| {
            self.size += PLACE_SIZE;
            Open::default()
        });
        self.size += usize::from(open.events.insert(event, row).is_none());
        self.touched.insert(place);
    }

    /// Whether a bucket is forgotten.
    pub(crate) fn is_forgotten(&self, bucket: i64) -> bool {
        bucket < self.first
    }

    /// An event no longer counts.
    pub(crate) fn take_back(&mut self, place: Place, event: &Mark) {
        if let Some(open) = self.open.get_mut(&place) {
            self.size -= usize::from(open.events.remove(event).is_some());
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
        self.retain(|(bucket, _), _| *bucket >= first);
    }

    /// Gives up the findings of the oldest buckets, and of these the largest, that do not fit into
    /// `bytes_max`; true when there were some.
    pub(crate) fn cap(&mut self, bytes_max: usize) -> bool {
        if self.bytes() <= bytes_max {
            return false;
        }
        let size_max = bytes_max / EVENT_BYTES / 8 * 7;
        let sized = self.open.iter();
        let mut places: Vec<(i64, Reverse<usize>, Place)> =
            sized.map(|(place, open)| (place.0, Reverse(open.size()), place.clone())).collect();
        places.sort_unstable();
        let mut left = self.size;
        let mut gone = HashSet::new();
        for (_, Reverse(size), place) in places {
            if left <= size_max {
                break;
            }
            left -= size;
            gone.insert(place);
        }
        self.retain(|place, _| !gone.contains(place));
        true
    }

    fn retain(&mut self, mut stays: impl FnMut(&Place, &Open) -> bool) {
        let Self { open, size, .. } = self;
        open.retain(|place, open| {
            let stays = stays(place, open);
            if !stays {
                *size -= open.size();
            }
            stays
        });
    }

    /// Bytes that it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        self.size * EVENT_BYTES
    }
}
