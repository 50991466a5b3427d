//! What goes first when there is no room for all.

/// The age up to which entries go, each with the bytes that it takes, so that of more than
/// `bytes_max` some seven eighths of it stay: not every entry that comes then makes others go.
/// `None` when there is room.
pub(crate) fn gone_up_to<T: Copy + Ord>(mut ages: Vec<(T, usize)>, bytes_max: usize) -> Option<T> {
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
    use super::gone_up_to;

    #[test]
    fn the_oldest_go_when_they_take_too_much() {
        assert_eq!(gone_up_to(vec![(3, 10), (1, 10), (2, 10)], 30), None);
        assert_eq!(gone_up_to(vec![(3, 10), (1, 1), (2, 30), (4, 40)], 64), Some(2));
        assert_eq!(gone_up_to(vec![(5, 9), (7, 9)], 0), Some(7));
    }
}
