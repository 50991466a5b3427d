//! Which events stand behind a finding: how many, from when to when, and the few to show.
//!
//! Evidence of disjoint sets of events merges into the evidence of their union, whatever the
//! order: that is what lets windows share panes.

use std::fmt::Write as _;

use smallvec::SmallVec;

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

/// An event reference as it is kept: there is one for every event of a quiet key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    pub(crate) event_time: i64,
    event_id: Id,
    audit_id: Option<Id>,
}

/// An id in 16 bytes if it is of the usual form, else as it came.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Id {
    /// 32 hex digits in lower case.
    Hex([u8; 16]),
    /// The same with hyphens, as UUIDs are written.
    Uuid([u8; 16]),
    Other(Box<str>),
}

/// Where the hyphens of a UUID are.
const UUID_HYPHENS: [usize; 4] = [8, 13, 18, 23];
/// No hex digit.
const NONE: u8 = 0xff;
/// What each byte is worth as a hex digit in lower case.
const NIBBLES: [u8; 256] = {
    let mut nibbles = [NONE; 256];
    let digits = *b"0123456789abcdef";
    let mut worth = 0;
    while worth < 16 {
        nibbles[digits[worth as usize] as usize] = worth;
        worth += 1;
    }
    nibbles
};

impl Id {
    fn of(text: &str) -> Self {
        let bytes = text.as_bytes();
        let digits = || hex(bytes.try_into().ok()?).map(Self::Hex);
        let uuid = || hex(&unhyphened(bytes.try_into().ok()?)?).map(Self::Uuid);
        let known = digits().or_else(uuid);
        known.unwrap_or_else(|| Self::Other(text.into()))
    }

    fn text(&self) -> String {
        let (digits, hyphens) = match self {
            Self::Other(text) => return text.to_string(),
            Self::Hex(digits) => (digits, &[] as &[usize]),
            Self::Uuid(digits) => (digits, UUID_HYPHENS.as_slice()),
        };
        let mut text = String::with_capacity(36);
        for byte in digits {
            if hyphens.contains(&text.len()) {
                text.push('-');
            }
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// Bytes beside the id's own.
    fn heap(&self) -> usize {
        if let Self::Other(text) = self { text.len() } else { 0 }
    }
}

fn hex(digits: &[u8; 32]) -> Option<[u8; 16]> {
    let mut bytes = [0_u8; 16];
    let mut seen = 0;
    for (byte, [high, low]) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        let (high, low) = (NIBBLES[usize::from(*high)], NIBBLES[usize::from(*low)]);
        seen |= high | low;
        *byte = high << 4 | low & 15;
    }
    (seen != NONE).then_some(bytes)
}

/// The digits of a UUID, if its hyphens are where they belong.
fn unhyphened(uuid: &[u8; 36]) -> Option<[u8; 32]> {
    let mut digits = [0_u8; 32];
    let mut left = digits.as_mut_slice();
    let mut start = 0;
    for end in UUID_HYPHENS.into_iter().chain([uuid.len()]) {
        let (group, rest) = left.split_at_mut_checked(end - start)?;
        group.copy_from_slice(uuid.get(start..end)?);
        if uuid.get(end).is_some_and(|byte| *byte != b'-') {
            return None;
        }
        (left, start) = (rest, end + 1);
    }
    Some(digits)
}

impl Mark {
    pub(crate) fn new(event_time: i64, event_id: &str, audit_id: Option<&str>) -> Self {
        Self { event_time, event_id: Id::of(event_id), audit_id: audit_id.map(Id::of) }
    }

    pub(crate) fn event(&self) -> EventRef {
        EventRef {
            event_time: self.event_time,
            event_id: self.event_id.text(),
            audit_id: self.audit_id.as_ref().map(Id::text),
        }
    }

    /// Bytes beside the value's own.
    pub(crate) fn heap(&self) -> usize {
        self.event_id.heap() + self.audit_id.as_ref().map_or(0, Id::heap)
    }
}

const EARLIEST_MAX: usize = 3;
const LATEST_MAX: usize = 2;
const SHOWN_MAX: usize = EARLIEST_MAX + LATEST_MAX;

/// The evidence of a set of events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    count: u64,
    /// Ascending: all events when they are few, else the earliest and the latest.
    shown: SmallVec<[Mark; 1]>,
}

impl Evidence {
    /// Takes in one more event. The caller sees to it that no event comes twice.
    pub fn add(&mut self, event: &EventRef) {
        let audit_id = event.audit_id.as_deref();
        self.insert(event.event_time, || Mark::new(event.event_time, &event.event_id, audit_id));
    }

    /// Takes in an event of this time, made only if it is to be shown.
    pub(crate) fn insert(&mut self, event_time: i64, event: impl FnOnce() -> Mark) {
        self.count += 1;
        let time = |at: usize| self.shown.get(at).map(|mark| mark.event_time);
        if self.shown.len() == SHOWN_MAX
            && time(EARLIEST_MAX - 1).is_some_and(|earliest| earliest < event_time)
            && time(EARLIEST_MAX).is_some_and(|latest| event_time < latest)
        {
            return;
        }
        self.show(event());
    }

    /// Takes in the evidence of other events, none of them in `self` already.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        for mark in &other.shown {
            self.show(mark.clone());
        }
    }

    /// Of sets of events of which each is before the next.
    pub(crate) fn ascending<'a>(
        parts: &(impl DoubleEndedIterator<Item = &'a Self> + Clone),
    ) -> Self {
        let count = parts.clone().map(|part| part.count).sum();
        let marks = || parts.clone().flat_map(|part| part.shown.iter());
        if count <= SHOWN_MAX as u64 {
            return Self { count, shown: marks().cloned().collect() };
        }
        let mut latest: SmallVec<[&Mark; LATEST_MAX]> = marks().rev().take(LATEST_MAX).collect();
        latest.reverse();
        let shown = marks().take(EARLIEST_MAX).chain(latest).cloned().collect();
        Self { count, shown }
    }

    /// With one more than fits, the one in the middle goes: it is neither among the earliest nor
    /// among the latest.
    fn show(&mut self, mark: Mark) {
        let position = self.shown.partition_point(|shown| *shown < mark);
        self.shown.insert(position, mark);
        if self.shown.len() > SHOWN_MAX {
            self.shown.remove(EARLIEST_MAX);
        }
    }

    /// The number of events.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The first event, `None` when there is none.
    #[must_use]
    pub fn first(&self) -> Option<EventRef> {
        self.shown.first().map(Mark::event)
    }

    /// The last event, `None` when there is none.
    #[must_use]
    pub fn last(&self) -> Option<EventRef> {
        self.shown.last().map(Mark::event)
    }

    /// The earliest three and the latest two events, ascending, each once.
    #[must_use]
    pub fn shown(&self) -> Vec<EventRef> {
        self.shown.iter().map(Mark::event).collect()
    }

    /// Bytes beside the value's own.
    pub(crate) fn heap(&self) -> usize {
        let spilled = if self.shown.spilled() { self.shown.capacity() } else { 0 };
        spilled * size_of::<Mark>() + self.shown.iter().map(Mark::heap).sum::<usize>()
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
            let (before, after) = times.split_at(split);
            let parts = [gather(before), Evidence::default(), gather(after)];
            prop_assert_eq!(&merged, &Evidence::ascending(&parts.iter()));
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

    #[test]
    fn ids_come_back_as_they_were() {
        let uuid = "00000000-1111-4222-8333-0123456789ab";
        let upper = uuid.to_uppercase();
        let (hex, moved) = ("00ff112233445566778899aabbccddee", uuid.replace("-4222", "4222-"));
        let other = [&hex.replace('a', "g"), &hex.to_uppercase(), &hex.replace('a', "\u{0}")];
        for id in [hex, uuid, &upper, "", "mine", &"-".repeat(36), &moved]
            .into_iter()
            .chain(other.map(String::as_str))
        {
            assert_eq!(Id::of(id).text(), id);
        }
        assert!(matches!(Id::of(hex), Id::Hex(_)) && matches!(Id::of(&moved), Id::Other(_)));
        assert!(matches!(Id::of(uuid), Id::Uuid(_)) && matches!(Id::of("mine"), Id::Other(_)));
    }
}
