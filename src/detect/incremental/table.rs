//! The keys of a windowed detection, each with the partial aggregates and the evidence of its
//! panes.
//!
//! Keys are what clients send, so there may be no end of them. They are spread over many small
//! tables: none of them takes long to grow or to be swept, and so neither holds the loop up.
//! What a key takes is counted, not guessed at, and beyond a budget keys that were not touched
//! lately are given up, visibly.

use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;

use hashbrown::HashTable;

use super::super::evidence::Evidence;
use super::super::standing::{Panes, Standing};
use super::aggregate::Partial;

const SHARDS: usize = 256;
/// What an allocation costs beside its bytes, about.
const ALLOCATION: usize = 16;

/// One slide of one key.
#[derive(Debug)]
pub(crate) struct Pane {
    pub(crate) start: i64,
    pub(crate) evidence: Evidence,
    pub(crate) partials: Box<[Partial]>,
    /// What it took when it was last weighed, beside its place in the slot.
    bytes: usize,
}

impl Pane {
    fn weigh(&self) -> usize {
        let partials: usize = self.partials.iter().map(Partial::heap).sum();
        size_of_val(&*self.partials) + partials + self.evidence.heap() + 2 * ALLOCATION
    }
}

impl Panes for [Pane] {
    fn within(&self, span: &Range<i64>) -> impl DoubleEndedIterator<Item = &Evidence> + Clone {
        within(self, span).iter().map(|pane| &pane.evidence)
    }
}

/// Those of some ascending panes that start in a span of time.
pub(crate) fn within<'a>(panes: &'a [Pane], span: &Range<i64>) -> &'a [Pane] {
    let from = panes.partition_point(|pane| pane.start < span.start);
    let to = panes.partition_point(|pane| pane.start < span.end);
    panes.get(from..to).unwrap_or_default()
}

/// A key and its panes, ascending.
#[derive(Debug)]
pub(crate) struct Slot {
    hash: u64,
    pub(crate) key: Box<[u8]>,
    pub(crate) panes: Vec<Pane>,
    /// What windows have found, once one has.
    pub(crate) standing: Option<Box<Standing>>,
    /// Touched since the last sweep of its shard.
    recent: bool,
    /// What all of it took when it was last weighed.
    bytes: usize,
    /// What of that its panes took.
    panes_bytes: usize,
}

impl Slot {
    /// The pane that starts at a time.
    pub(crate) fn pane(&mut self, start: i64, empty: impl FnOnce() -> Box<[Partial]>) -> &mut Pane {
        let at = self.panes.partition_point(|pane| pane.start < start);
        if self.panes.get(at).is_none_or(|pane| pane.start != start) {
            let (evidence, partials) = (Evidence::default(), empty());
            let pane = Pane { start, evidence, partials, bytes: 0 };
            if self.panes.is_empty() {
                // Most keys stay with one or two.
                self.panes.reserve_exact(1);
            }
            self.panes.insert(at, pane);
        }
        self.panes.get_mut(at).expect("it is there or was put there")
    }

    /// Weighs the pane that starts at a time. A key may have many: the others are as they were.
    fn weigh_pane(&mut self, start: i64) {
        let at = self.panes.partition_point(|pane| pane.start < start);
        let Some(pane) = self.panes.get_mut(at).filter(|pane| pane.start == start) else { return };
        let now = pane.weigh();
        let before = std::mem::replace(&mut pane.bytes, now);
        self.panes_bytes = (self.panes_bytes + now).saturating_sub(before);
    }

    fn weigh(&self) -> usize {
        let standing = self.standing.as_deref().map_or(0, Standing::bytes);
        // Its place in the shard's list and table too.
        size_of::<Option<Self>>() * 5 / 4
            + 8
            + self.key.len()
            + self.panes.capacity() * size_of::<Pane>()
            + self.panes_bytes
            + standing
            + 2 * ALLOCATION
    }
}

#[derive(Debug, Default)]
struct Shard {
    places: HashTable<u32>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
}

/// Where a key is: shard, then place. Valid until it is swept away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct At(u32, u32);

/// All keys of one cluster.
#[derive(Debug)]
pub(crate) struct Table {
    shards: Vec<Shard>,
    seed: RandomState,
    bytes: usize,
    keys: usize,
    /// The shard that is swept next.
    next: usize,
    /// How many shards the present round still has to meet.
    left: usize,
}

impl Table {
    pub(crate) fn new(seed: RandomState) -> Self {
        Self { shards: Vec::new(), seed, bytes: 0, keys: 0, next: 0, left: 0 }
    }

    /// Bytes of all keys.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of some of the keys, as they were last weighed.
    pub(crate) fn bytes_of(&self, counts: impl Fn(&Slot) -> bool) -> usize {
        let slots = self.shards.iter().flat_map(|shard| shard.slots.iter().flatten());
        slots.filter(|slot| counts(slot)).map(|slot| slot.bytes).sum()
    }

    /// Number of keys.
    pub(crate) fn len(&self) -> usize {
        self.keys
    }

    /// The place of a key, new or not.
    pub(crate) fn place(&mut self, key: &[u8]) -> At {
        if self.shards.is_empty() {
            self.shards.resize_with(SHARDS, Shard::default);
        }
        let hash = self.seed.hash_one(key);
        let number = usize::try_from(hash >> 56).unwrap_or_default();
        let Some(shard) = self.shards.get_mut(number) else { return At(0, 0) };
        let Shard { places, slots, free } = shard;
        let of = |slots: &[Option<Slot>], place: u32| {
            slots.get(place as usize).and_then(Option::as_ref).map_or(0, |slot| slot.hash)
        };
        let same = |place: &u32| {
            let slot = slots.get(*place as usize).and_then(Option::as_ref);
            slot.is_some_and(|slot| slot.hash == hash && *slot.key == *key)
        };
        let shard_number = u32::try_from(number).unwrap_or_default();
        if let Some(place) = places.find(hash, same) {
            return At(shard_number, *place);
        }
        let slot = Slot {
            hash,
            key: key.into(),
            panes: Vec::new(),
            standing: None,
            recent: true,
            bytes: 0,
            panes_bytes: 0,
        };
        let place = free.pop().unwrap_or_else(|| {
            slots.push(None);
            u32::try_from(slots.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(free) = slots.get_mut(place as usize) {
            *free = Some(slot);
        }
        places.insert_unique(hash, place, |place| of(slots, *place));
        self.keys += 1;
        At(shard_number, place)
    }

    pub(crate) fn get(&self, at: At) -> Option<&Slot> {
        self.shards.get(at.0 as usize)?.slots.get(at.1 as usize)?.as_ref()
    }

    /// A slot to be changed; [`Table::weigh`] it afterwards, and the panes that changed.
    pub(crate) fn get_mut(&mut self, at: At) -> Option<&mut Slot> {
        self.shards.get_mut(at.0 as usize)?.slots.get_mut(at.1 as usize)?.as_mut()
    }

    /// Counts again what a pane of a slot takes.
    pub(crate) fn weigh_pane(&mut self, at: At, start: i64) {
        if let Some(slot) = self.get_mut(at) {
            slot.weigh_pane(start);
            self.weigh(at);
        }
    }

    /// Counts again what a slot takes, its panes as they were weighed.
    pub(crate) fn weigh(&mut self, at: At) {
        let Some(slot) = self.get_mut(at) else { return };
        slot.recent = true;
        let now = slot.weigh();
        let before = std::mem::replace(&mut slot.bytes, now);
        self.bytes = (self.bytes + now).saturating_sub(before);
    }

    /// There is something to sweep: every shard is met once more.
    pub(crate) fn begin_sweep(&mut self) {
        self.left = self.shards.len();
    }

    /// Goes on with the round, some shards with about `keys_max` keys: `keep` thins a slot's panes
    /// out and says whether the key stays.
    pub(crate) fn sweep(&mut self, keys_max: usize, mut keep: impl FnMut(&mut Slot) -> bool) {
        let mut met = 0;
        while self.left > 0 && met < keys_max {
            self.left -= 1;
            met += self.sweep_shard(&mut keep);
        }
    }

    /// Gives keys up until the rest takes at most `bytes_max`: those for which `may_go`, first
    /// such that were not touched since their shard was last met.
    pub(crate) fn shrink(&mut self, bytes_max: usize, mut may_go: impl FnMut(&Slot) -> bool) {
        // The first round takes from each that it was touched.
        for _ in 0..2 * self.shards.len() {
            if self.bytes <= bytes_max {
                break;
            }
            self.sweep_shard(&mut |slot| std::mem::take(&mut slot.recent) || !may_go(slot));
        }
    }

    /// Gives up all keys for which `goes`.
    pub(crate) fn drop_all(&mut self, mut goes: impl FnMut(&Slot) -> bool) {
        for _ in 0..self.shards.len() {
            self.sweep_shard(&mut |slot| !goes(slot));
        }
    }

    fn sweep_shard(&mut self, keep: &mut impl FnMut(&mut Slot) -> bool) -> usize {
        self.next = (self.next + 1) % self.shards.len().max(1);
        let Some(shard) = self.shards.get_mut(self.next) else { return 0 };
        let met = shard.places.len();
        for (place, kept) in (0_u32..).zip(&mut shard.slots) {
            let Some(slot) = kept else { continue };
            let before = slot.bytes;
            if keep(slot) {
                slot.panes_bytes = slot.panes.iter().map(|pane| pane.bytes).sum();
                slot.bytes = slot.weigh();
                self.bytes = (self.bytes + slot.bytes).saturating_sub(before);
            } else {
                let entry = shard.places.find_entry(slot.hash, |other| *other == place);
                if let Ok(entry) = entry {
                    entry.remove();
                }
                *kept = None;
                shard.free.push(place);
                self.bytes = self.bytes.saturating_sub(before);
                self.keys -= 1;
            }
        }
        if shard.places.is_empty() {
            *shard = Shard::default();
        }
        met
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::evidence::Mark;
    use super::*;

    impl Table {
        fn find(&self, key: &[u8]) -> Option<At> {
            let hash = self.seed.hash_one(key);
            let number = u32::try_from(hash >> 56).unwrap();
            let shard = self.shards.get(number as usize)?;
            let place = shard.places.find(hash, |place| {
                let slot = shard.slots[*place as usize].as_ref();
                slot.is_some_and(|slot| *slot.key == *key)
            });
            place.map(|place| At(number, *place))
        }
    }

    fn table(keys: u32) -> Table {
        let mut table = Table::new(RandomState::new());
        for key in 0..keys {
            let at = table.place(&key.to_be_bytes());
            table.get_mut(at).unwrap().pane(0, Box::default);
            table.weigh_pane(at, 0);
        }
        table
    }

    /// What all slots take, counted anew.
    fn counted(table: &Table) -> usize {
        let slots = table.shards.iter().flat_map(|shard| shard.slots.iter().flatten());
        let panes = |slot: &Slot| slot.panes.iter().map(Pane::weigh).sum::<usize>();
        slots.map(|slot| slot.weigh() - slot.panes_bytes + panes(slot)).sum()
    }

    #[test]
    fn what_it_takes_is_counted_as_panes_come_and_go() {
        let mut table = table(1_000);
        let few = table.bytes();
        for key in 0..1_000_u32 {
            let at = table.place(&(key / 3).to_be_bytes());
            for start in 0..i64::from(key % 7) {
                let slot = table.get_mut(at).unwrap();
                let pane = slot.pane(start, Box::default);
                let event = || Mark::new(start, &format!("{key:032x}"), None);
                pane.evidence.insert(start, event);
                table.weigh_pane(at, start);
            }
        }
        assert!(table.bytes() > few);
        assert_eq!(table.bytes(), counted(&table));
        table.begin_sweep();
        table.sweep(usize::MAX, |slot| {
            slot.panes.retain(|pane| pane.start % 2 == 1);
            !slot.panes.is_empty()
        });
        assert!(table.len() > 100);
        assert_eq!(table.bytes(), counted(&table));
    }

    #[test]
    fn keys_are_found_until_they_are_swept_away() {
        let mut table = table(10_000);
        assert_eq!(table.len(), 10_000);
        let at = table.find(&77_u32.to_be_bytes()).unwrap();
        assert_eq!(table.place(&77_u32.to_be_bytes()), at);
        assert_eq!(*table.get(at).unwrap().key, 77_u32.to_be_bytes());
        let even = |slot: &Slot| slot.key.last().is_some_and(|last| last % 2 == 0);
        table.begin_sweep();
        table.sweep(usize::MAX, |slot| even(slot));
        assert_eq!(table.len(), 5_000);
        assert!(table.find(&77_u32.to_be_bytes()).is_none());
        assert!(table.find(&78_u32.to_be_bytes()).is_some());
        let bytes = table.bytes();
        table.begin_sweep();
        table.sweep(usize::MAX, |_| false);
        assert_eq!((table.len(), table.bytes()), (0, 0));
        assert!(bytes > 5_000 * 100);
    }

    #[test]
    fn a_budget_holds_and_what_was_touched_goes_last() {
        let mut table = table(10_000);
        let half = table.bytes() / 2;
        // All were touched when they came: the first round takes that from them.
        table.shrink(half, |_| true);
        assert!(table.bytes() <= half && table.len() > 4_000, "{}", table.len());
        let kept = (0..10_000_u32).find_map(|key| table.find(&key.to_be_bytes())).unwrap();
        table.weigh(kept);
        let quarter = half * 3 / 4;
        table.shrink(quarter, |_| true);
        assert!(table.bytes() <= quarter && table.get(kept).is_some());
    }
}
