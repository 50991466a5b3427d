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

/// The same of entries that take so many bytes each, when all of them take more than `bytes_max`.
pub(crate) fn too_old<T: Copy + Ord>(mut ages: Vec<(T, usize)>, bytes_max: usize) -> Option<T> {
    let mut left: usize = ages.iter().map(|(_, bytes)| bytes).sum();
    if left <= bytes_max {
        return None;
    }
    ages.sort_unstable_by_key(|(age, _)| *age);
    let goes = |(age, bytes): (T, usize)| {
        let goes = left > bytes_max / 8 * 7;
        left = left.saturating_sub(bytes);
        goes.then_some(age)
    };
    ages.into_iter().map_while(goes).last()
}

#[cfg(test)]
mod tests {
    use super::{gone_up_to, too_old};

    #[test]
    fn the_oldest_go_when_they_take_too_much() {
        assert_eq!(too_old(vec![(3, 10), (1, 10), (2, 10)], 30), None);
        assert_eq!(too_old(vec![(3, 10), (1, 1), (2, 30), (4, 40)], 64), Some(2));
        assert_eq!(too_old(vec![(5, 9), (7, 9)], 0), Some(7));
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        assert_eq!(gone_up_to(vec![3, 1, 2], 3), None);
        let ages: Vec<u32> = (0..20).rev().collect();
        let newest = gone_up_to(ages, 16).unwrap();
        assert_eq!((0..20).filter(|age| *age > newest).count(), 14);
        assert_eq!(gone_up_to(vec![5, 7], 0), Some(7));
    }
}
