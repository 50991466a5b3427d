//! What the API server's log backend wrote: the second witness beside the webhook.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::process::until;

/// The file of `--audit-log-path`: one event per line, written before the request's handler ends
/// (`--audit-log-mode=blocking`).
pub(crate) struct AuditLog {
    path: PathBuf,
}

impl AuditLog {
    /// The log at `path`, which need not exist yet.
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Every whole line so far. The last one may still be in writing: it has no line feed.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    /// Every whole line so far as a file, the first of them as if what they tell of had been long
    /// before: detections learn from these.
    pub(crate) fn write_with_habits(&self, habits: usize, path: &Path) {
        let told = |(place, line): (usize, String)| {
            if place < habits { days_earlier(&line, HABITS_DAYS) } else { line }
        };
        let lines: Vec<String> = self.lines().into_iter().enumerate().map(told).collect();
        fs::write(path, lines.join("\n") + "\n").expect("write the log");
    }

    /// Every event so far.
    pub(crate) fn events(&self) -> Vec<Value> {
        let parse = |line: &String| serde_json::from_str(line).expect("a line is one event");
        self.lines().iter().map(parse).collect()
    }

    /// Waits for `count` events that `wanted` accepts and gives the first such.
    pub(crate) fn wait_for(
        &self,
        what: &str,
        count: usize,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        until(
            &format!("{count} event(s) in the audit log: {what}"),
            Duration::from_secs(20),
            || {
                let mut found = self.events().into_iter().filter(&wanted);
                let first = found.next()?;
                (found.count() + 1 >= count).then_some(first)
            },
        )
    }
}

/// The text at a JSON pointer, empty where there is none.
pub(crate) fn text<'a>(event: &'a Value, pointer: &str) -> &'a str {
    event.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// What detections learn from is so many days old: more than any of them asks for.
const HABITS_DAYS: i64 = 8;

/// The event of a line as if it had been so many days before.
fn days_earlier(line: &str, days: i64) -> String {
    let mut event: Value = serde_json::from_str(line).expect("a line is one event");
    for name in ["requestReceivedTimestamp", "stageTimestamp"] {
        let time: jiff::Timestamp = text(&event, &format!("/{name}")).parse().expect("a time");
        let earlier = time - jiff::SignedDuration::from_hours(24 * days);
        event[name] = format!("{earlier:.6}").into();
    }
    event.to_string()
}
