//! Findings made of single events that can be taken back: what a later event disproves becomes
//! withdrawn.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::detection::Detection;
use super::evidence::{Evidence, Mark};
use super::finding::{Finding, Identity, Status};
use super::row::Row;

/// What an event takes beside what it points to, as part of a node that is half full.
const EVENT_BYTES: usize = 2 * size_of::<(Mark, Row)>();

/// Which finding: bucket and key.
pub(crate) type Place = (i64, Box<[u8]>);

/// The events of one cluster's findings.
#[derive(Debug)]
pub(crate) struct Noted {
    open: HashMap<Place, Open>,
    touched: BTreeSet<Place>,
    /// Earlier buckets are forgotten.
    first: i64,
    /// Up to this bucket findings were given up.
    capped: Option<i64>,
    bytes: usize,
}

impl Default for Noted {
    fn default() -> Self {
        Self {
            open: HashMap::new(),
            touched: BTreeSet::new(),
            first: i64::MIN,
            capped: None,
            bytes: 0,
        }
    }
}

#[derive(Debug, Default)]
struct Open {
    events: BTreeMap<Mark, Row>,
    /// What was last said. If it is open, it shows the row of an event.
    said: Option<Finding>,
    /// All that it takes.
    bytes: usize,
}

fn weigh_event(event: &Mark, row: &Row) -> usize {
    EVENT_BYTES + event.heap() + row.bytes()
}

/// What a finding that was told takes: its row too, once no event holds it.
fn weigh_said(said: Option<&Finding>) -> usize {
    said.map_or(0, |said| match said.status {
        Status::Open => said.bytes(),
        Status::Withdrawn => said.bytes() + said.row.bytes(),
    })
}

impl Noted {
    /// An event counts for a finding, with the row it would show.
    pub(crate) fn note(&mut self, place: Place, event: Mark, row: Row) {
        if place.0 < self.first {
            return;
        }
        let open = self.open.entry(place.clone()).or_insert_with(|| {
            // The place is in the table, and among those that were touched.
            let bytes = 2 * (size_of::<(Place, Open)>() + place.1.len());
            self.bytes += bytes;
            Open { bytes, ..Open::default() }
        });
        let before = open.bytes;
        open.bytes += weigh_event(&event, &row);
        if let Some(row) = open.events.get(&event) {
            open.bytes -= weigh_event(&event, row);
        }
        self.bytes = self.bytes + open.bytes - before;
        open.events.insert(event, row);
        self.touched.insert(place);
    }

    /// Whether a bucket is forgotten.
    pub(crate) fn is_forgotten(&self, bucket: i64) -> bool {
        bucket < self.first
    }

    /// An event no longer counts.
    pub(crate) fn take_back(&mut self, place: Place, event: &Mark) {
        if let Some(open) = self.open.get_mut(&place) {
            if let Some(row) = open.events.remove(event) {
                let bytes = weigh_event(event, &row);
                open.bytes -= bytes;
                self.bytes -= bytes;
            }
            self.touched.insert(place);
        }
    }

    /// Every finding is to be looked at again.
    pub(crate) fn touch_all(&mut self) {
        self.touched.extend(self.open.keys().cloned());
    }

    /// The findings that changed, of the events that count now. `names` are those of the key
    /// columns, without the cluster. Those of buckets up to `capped` may miss something, as may
    /// those that were given up here.
    pub(crate) fn revise(
        &mut self,
        detection: &Arc<Detection>,
        names: &Arc<[String]>,
        cluster: &str,
        counts: impl Fn(&Mark) -> bool,
        capped: Option<i64>,
    ) -> Vec<Finding> {
        let capped = capped.max(self.capped);
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
                        incomplete: capped.is_some_and(|capped| *bucket <= capped),
                    }
                }
                None => match &open.said {
                    Some(said) => Finding { status: Status::Withdrawn, ..said.clone() },
                    None => continue,
                },
            };
            if open.said.as_ref().is_none_or(|said| !said.says_the_same(&now)) {
                findings.push(now.clone());
            }
            // Kept even if it says the same: it shares the row that an event holds now.
            let before = weigh_said(open.said.as_ref());
            let bytes = weigh_said(Some(&now));
            open.bytes = open.bytes + bytes - before;
            self.bytes = self.bytes + bytes - before;
            open.said = Some(now);
        }
        findings
    }

    /// Forgets buckets before this one.
    pub(crate) fn forget(&mut self, first: i64) {
        self.first = self.first.max(first);
        self.retain(|(bucket, _), _| *bucket >= first);
    }

    /// Gives up the findings of the oldest buckets, and of these the largest, that do not fit into
    /// `bytes_max`.
    pub(crate) fn cap(&mut self, bytes_max: usize) {
        if self.bytes <= bytes_max {
            return;
        }
        let sized = self.open.iter();
        let mut places: Vec<(i64, Reverse<usize>, Place)> =
            sized.map(|(place, open)| (place.0, Reverse(open.bytes), place.clone())).collect();
        places.sort_unstable();
        let mut left = self.bytes;
        let mut gone = HashSet::new();
        for (bucket, Reverse(bytes), place) in places {
            if left <= bytes_max / 8 * 7 {
                break;
            }
            left -= bytes;
            self.capped = self.capped.max(Some(bucket));
            gone.insert(place);
        }
        self.retain(|place, _| !gone.contains(place));
    }

    fn retain(&mut self, mut stays: impl FnMut(&Place, &Open) -> bool) {
        let Self { open, bytes, .. } = self;
        open.retain(|place, open| {
            let stays = stays(place, open);
            if !stays {
                *bytes -= open.bytes;
            }
            stays
        });
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}
