//! One windowed detection with as many keys as events.

use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use auditmill::detect::engine::EngineSettings;
use auditmill::event::time::parse_rfc3339;
use auditmill::event::{EventRow, Rows};

use super::load::SECOND;
use super::mix::Mixed;
use super::{engine, sound};

const KEYS: usize = 10_000_000;
const ROWS: usize = 4_000;
/// All keys come within one window.
const SPAN: i64 = 540 * SECOND;

/// Prints what so many keys cost: within the usual buffer, and in one that holds them all.
pub(crate) fn run() {
    let keys = std::env::var("AUDITMILL_KEYS").ok().and_then(|text| text.parse().ok());
    let keys: usize = keys.unwrap_or(KEYS);
    let usual = EngineSettings::default();
    println!("buffer of {} MiB", usual.state_bytes_max >> 20);
    run_within(keys, usual);
    println!("buffer without end");
    run_within(keys, EngineSettings { state_bytes_max: usize::MAX / 2, ..usual });
}

fn run_within(keys: usize, settings: EngineSettings) {
    let mut engine = engine(&[Mixed::endless()], settings);
    let start = parse_rfc3339("2026-03-01T00:00:00Z").expect("a time");
    let batches = keys.div_ceil(ROWS);
    let at = |batch: usize| start + SPAN * batch as i64 / batches as i64;
    let before = resident();
    let (mut spent, mut longest, mut pass) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for number in 0..batches {
        let batch = batch(number * ROWS, at(number));
        let begun = Instant::now();
        let outcome = engine.on_batch(&batch, at(number));
        longest = longest.max(begun.elapsed());
        spent += begun.elapsed();
        let begun = Instant::now();
        let later = engine.on_time(at(number));
        pass = pass.max(begun.elapsed());
        assert_eq!(sound(&outcome) + sound(&later), 0, "no key crosses the limit");
    }
    let rows = (batches * ROWS) as f64;
    let grown = resident().saturating_sub(before);
    println!(
        "{:.1} million keys  {:>9.0} events/s, {:.0} bytes of memory a key ({} MiB), longest batch \
         {longest:.1?}, longest passing of time {pass:.1?}",
        rows / 1e6,
        rows / spent.as_secs_f64(),
        grown as f64 / rows,
        grown >> 20
    );
    // Hours later all of them are over.
    let begun = Instant::now();
    engine.on_time(start + 24 * 3_600 * SECOND);
    println!(
        "keys that are over   forgotten in {:.1?}, {} MiB are left",
        begun.elapsed(),
        resident().saturating_sub(before) >> 20
    );
}

fn batch(first: usize, time: i64) -> RecordBatch {
    let mut rows = Rows::new();
    for number in first..first + ROWS {
        let id = format!("{:032x}", (number as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let name = format!("object-{number}");
        rows.push(&EventRow {
            cluster: "bench",
            event_id: &id,
            event_time: time,
            audit_id: Some(&id),
            stage: Some("ResponseComplete"),
            verb: Some("get"),
            user_name: Some("mallory"),
            name: Some(&name),
            resource: Some("secrets"),
            namespace: Some("dev"),
            response_code: Some(200),
            source: "webhook",
            ..EventRow::default()
        });
    }
    rows.finish()
}

/// Bytes of memory that the process has, as the kernel counts them; 0 where it does not say.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kibibytes.unwrap_or(0) << 10
}
