//! What is counted of rows when they arrive.

use std::collections::BTreeMap;

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};

/// What is counted of one cluster's rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeenOf {
    pub(super) events: usize,
    pub(super) conflicts: usize,
    pub(super) last_event: i64,
}

impl Default for SeenOf {
    fn default() -> Self {
        Self { events: 0, conflicts: 0, last_event: i64::MIN }
    }
}

pub(super) fn seen_by_cluster(batch: &RecordBatch) -> BTreeMap<String, SeenOf> {
    let mut seen: BTreeMap<String, SeenOf> = BTreeMap::new();
    let column = |name: &str| batch.column_by_name(name);
    let clusters = column("cluster").and_then(|column| column.as_dictionary_opt::<Int32Type>());
    let times = column("event_time")
        .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let conflicts = column("conflict").and_then(|column| column.as_boolean_opt());
    let (Some(clusters), Some(times), Some(conflicts)) = (clusters, times, conflicts) else {
        return seen;
    };
    let names = clusters.values().as_string::<i32>();
    // By dictionary key: a batch has many rows and few clusters.
    let mut by_key = vec![SeenOf::default(); names.len()];
    for row in 0..batch.num_rows() {
        if let Some(of) = clusters.key(row).and_then(|key| by_key.get_mut(key)) {
            of.events += 1;
            of.conflicts += usize::from(conflicts.value(row));
            of.last_event = of.last_event.max(times.value(row));
        }
    }
    for (name, of) in names.iter().zip(by_key).filter(|(_, of)| of.events > 0) {
        let sum = seen.entry(name.unwrap_or_default().to_owned()).or_default();
        sum.events += of.events;
        sum.conflicts += of.conflicts;
        sum.last_event = sum.last_event.max(of.last_event);
    }
    seen
}
