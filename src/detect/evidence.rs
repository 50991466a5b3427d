//! Which events stand behind a finding: how many, from when to when, and the few to show.
//!
//! Evidence of disjoint sets of events merges into the evidence of their union, whatever the
//! order: that is what lets windows share panes.

/// One event, as far as evidence needs it. Ordered by event time, then event id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventRef {
    /// Microseconds since 1970, UTC.
    pub event_time: i64,
    /// The event's content hash, 32 hex digits.
    pub event_id: String,
    /// The request's audit id, which is the client's word.
    pub audit_id: Option<String>,
}

const EARLIEST_MAX: usize = 3;
const LATEST_MAX: usize = 2;

/// The evidence of a set of events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    count: u64,
    /// The smallest, ascending.
    earliest: Vec<EventRef>,
    /// The largest, ascending.
    latest: Vec<EventRef>,
}

impl Evidence {
    /// Takes in one more event. The caller sees to it that no event comes twice.
    pub fn add(&mut self, event: &EventRef) {
        self.count += 1;
        insert(&mut self.earliest, event, Keep::Smallest);
        insert(&mut self.latest, event, Keep::Largest);
    }

    /// Takes in the evidence of other events, none of them in `self` already.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        for event in &other.earliest {
            insert(&mut self.earliest, event, Keep::Smallest);
        }
        for event in &other.latest {
            insert(&mut self.latest, event, Keep::Largest);
        }
    }

    /// The number of events.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The first event, `None` when there is none.
    #[must_use]
    pub fn first(&self) -> Option<&EventRef> {
        self.earliest.first()
    }

    /// The last event, `None` when there is none.
    #[must_use]
    pub fn last(&self) -> Option<&EventRef> {
        self.latest.last()
    }

    /// The earliest three and the latest two events, ascending, each once.
    #[must_use]
    pub fn shown(&self) -> Vec<EventRef> {
        let mut shown = self.earliest.clone();
        shown.extend(self.latest.iter().cloned());
        shown.sort();
        shown.dedup();
        shown
    }
}

#[derive(Clone, Copy)]
enum Keep {
    Smallest,
    Largest,
}

fn insert(events: &mut Vec<EventRef>, event: &EventRef, keep: Keep) {
    let position = events.partition_point(|kept| kept < event);
    match keep {
        Keep::Smallest if position < EARLIEST_MAX => {
            events.insert(position, event.clone());
            events.truncate(EARLIEST_MAX);
        }
        Keep::Largest if events.len() < LATEST_MAX => events.insert(position, event.clone()),
        Keep::Largest if position > 0 => {
            events.insert(position, event.clone());
            events.remove(0);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(time: i64) -> EventRef {
        EventRef { event_time: time, event_id: format!("{time:032x}"), audit_id: None }
    }

    proptest! {
        #[test]
        fn any_order_and_any_split_give_the_same_evidence(
            mut times in proptest::collection::hash_set(0_i64..100, 0..20)
                .prop_map(|set| set.into_iter().collect::<Vec<_>>()),
            split in 0_usize..20,
        ) {
            let split = split.min(times.len());
            let (left, right) = times.split_at(split);
            let gather = |times: &[i64]| {
                let mut evidence = Evidence::default();
                for time in times {
                    evidence.add(&event(*time));
                }
                evidence
            };
            let mut merged = gather(left);
            merged.merge(&gather(right));
            times.sort_unstable();
            prop_assert_eq!(&merged, &gather(&times));
            let mut expected: Vec<_> = times.iter().take(3).chain(times.iter().rev().take(2))
                .copied().collect();
            expected.sort_unstable();
            expected.dedup();
            let shown: Vec<_> = merged.shown().iter().map(|event| event.event_time).collect();
            prop_assert_eq!(shown, expected);
            prop_assert_eq!(merged.count(), times.len() as u64);
            prop_assert_eq!(merged.last().map(|event| event.event_time), times.last().copied());
        }
    }
}
