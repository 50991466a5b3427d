//! How the engine gets the events of a story.

use proptest::prelude::*;
use proptest::sample::Index;

use super::plain::Events;
use super::{MINUTE, SECOND};

/// Order, batches, repeats, pauses and restarts. Lists that are shorter than the story begin
/// again.
#[derive(Clone, Debug)]
pub(super) struct Way {
    /// Which event comes next; some come twice.
    order: Vec<usize>,
    /// After which of them a delivery ends.
    cuts: Vec<bool>,
    /// How many minutes pass after each delivery.
    pauses: Vec<i64>,
    /// After which deliveries the engine is thrown away and made again.
    restarts: Vec<bool>,
    /// How many seconds late each event comes, where events come in about their order.
    delays: Vec<i64>,
    /// How many deliveries a start reads again at once.
    pub(super) reread: usize,
    /// For how many minutes the engine holds what is over, where events are not later than that
    /// they are waited for.
    pub(super) hold: i64,
}

/// Events that come together.
pub(super) struct Delivery {
    pub(super) events: Vec<usize>,
    /// When they come, microseconds.
    pub(super) now: i64,
    /// The engine is made again after it.
    pub(super) restart: bool,
}

/// No event is later than this, so that no window has closed without it.
const LATE_MAX: i64 = 290 * SECOND;

impl Way {
    /// Any order, pauses as they are given.
    pub(super) fn shuffled(&self, start: i64) -> Vec<Delivery> {
        let mut deliveries: Vec<Delivery> = Vec::new();
        let (mut now, mut open) = (start, Vec::new());
        for (position, event) in self.order.iter().enumerate() {
            open.push(*event);
            if *at(&self.cuts, position) || position + 1 == self.order.len() {
                let restart = *at(&self.restarts, deliveries.len());
                let pause = at(&self.pauses, deliveries.len()) * MINUTE;
                deliveries.push(Delivery { events: std::mem::take(&mut open), now, restart });
                now += pause;
            }
        }
        deliveries
    }

    /// In the order of time but for delays, each at its time; repeats with the next that comes.
    pub(super) fn prompt(&self, events: &Events) -> Vec<Delivery> {
        let mut arrivals: Vec<(i64, usize)> = (0..events.len())
            .map(|event| (events.time(event) + at(&self.delays, event) * SECOND, event))
            .collect();
        arrivals.sort_unstable();
        let repeats: Vec<usize> = (0..events.len())
            .filter(|e| self.order.iter().filter(|o| *o == e).count() > 1)
            .collect();
        let mut deliveries: Vec<Delivery> = Vec::new();
        let mut earliest = i64::MAX;
        for (position, (now, event)) in arrivals.into_iter().enumerate() {
            let time = events.time(event);
            let ended = *at(&self.cuts, position) || now - earliest.min(time) > LATE_MAX;
            match deliveries.last_mut() {
                Some(open) if !ended => {
                    open.events.push(event);
                    open.now = now;
                    earliest = earliest.min(time);
                }
                _ => {
                    let restart = *at(&self.restarts, deliveries.len());
                    let before = deliveries.last().map_or(&[][..], |last| &last.events[..]);
                    let again = before.iter().filter(|event| repeats.contains(*event)).copied();
                    let events = again.chain([event]).collect();
                    deliveries.push(Delivery { events, now, restart });
                    earliest = time;
                }
            }
        }
        deliveries
    }
}

fn at<T>(list: &[T], position: usize) -> &T {
    &list[position % list.len()]
}

/// Any way of so many events.
pub(super) fn way(count: usize) -> impl Strategy<Value = Way> {
    let again = prop::collection::vec(any::<Index>(), 0..5);
    let order = again.prop_flat_map(move |again| {
        let repeats = again.into_iter().map(|index| index.index(count));
        Just((0..count).chain(repeats).collect::<Vec<_>>()).prop_shuffle()
    });
    let cuts = prop::collection::vec(prop::bool::weighted(0.3), 1..8);
    let pauses = prop::collection::vec(prop_oneof![Just(0), 0_i64..20], 1..8);
    let restarts = prop::collection::vec(prop::bool::weighted(0.12), 1..12);
    let delays = prop::collection::vec(prop_oneof![Just(0), 0_i64..240], 1..8);
    (order, cuts, pauses, restarts, delays, 1_usize..6, 0_i64..4).prop_map(
        |(order, cuts, pauses, restarts, delays, reread, hold)| Way {
            order,
            cuts,
            pauses,
            restarts,
            delays,
            reread,
            hold,
        },
    )
}
