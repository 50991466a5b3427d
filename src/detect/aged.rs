//! What goes first when there is no room for all.

/// The age up to which entries go, so that of more than `max` entries some seven eighths of it
/// stay: not every entry that comes then makes others go. `None` when there is room.
pub(crate) fn gone_up_to<T: Copy + Ord>(mut ages: Vec<T>, max: usize) -> Option<T> {
    if ages.len() <= max {
        return None;
    }
    let over = ages.len() - max / 8 * 7;
    let (_, newest, _) = ages.select_nth_unstable(over.saturating_sub(1));
    Some(*newest)
}

#[cfg(test)]
mod tests {
    use super::gone_up_to;

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        assert_eq!(gone_up_to(vec![3, 1, 2], 3), None);
        let ages: Vec<u32> = (0..20).rev().collect();
        let newest = gone_up_to(ages, 16).unwrap();
        assert_eq!((0..20).filter(|age| *age > newest).count(), 14);
        assert_eq!(gone_up_to(vec![5, 7], 0), Some(7));
    }
}
