//! Events of files as policies see them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use arrow::array::{Array as _, AsArray as _, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use crate::clock::now_micros;
use crate::command::input::Input;
use crate::command::meter::Meter;
use crate::decode::{Decoder, Delivery};
use crate::detect::rows::event_times;
use crate::event::Rows;
use crate::event::seen::Seen as Repeats;
use crate::policy::document::{Level, Policy, Request, Stage, Target};
use crate::policy::forecast::{Forecast, Seen};

/// Events among which a repeat is told.
const SEEN_MAX: usize = 1_000_000;
/// Rows that are worked on together.
const ROWS_MAX: usize = 16_384;
/// Names of members, quotes and times of an event, which no column has.
const AROUND_BYTES: u64 = 405;

/// Columns that are read, and those whose bytes only count.
const READ: [&str; 12] = [
    "user_name",
    "user_groups",
    "verb",
    "request_uri",
    "api_group",
    "resource",
    "subresource",
    "namespace",
    "name",
    "stage",
    "level",
    "request_object",
];
const COUNTED: [&str; 7] = [
    "user_extra",
    "source_ips",
    "user_agent",
    "annotations",
    "response_message",
    "audit_id",
    "other",
];

/// What both policies would record of the events in files.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn forecast(
    paths: &[PathBuf],
    policy: &Policy,
    smallest: &Policy,
) -> Result<(Forecast, Forecast)> {
    let (mut now, mut least) = (Forecast::default(), Forecast::default());
    let mut repeats = Repeats::new(SEEN_MAX, i64::MAX);
    let bytes = |path: &PathBuf| path.metadata().map_or(0, |about| about.len());
    let mut meter = Meter::start(paths.iter().map(bytes).sum());
    let mut before = 0;
    for path in paths {
        let fail = || format!("read `{}`", path.display());
        let mut take = |rows: &RecordBatch| {
            let rows = repeats.keep_new(rows, 0).unwrap_or_else(|_| rows.clone());
            each(&rows, |event| {
                now.take(policy, event);
                least.take(smallest, event);
            })?;
            Ok(now.seen)
        };
        before += file(path, &mut take, (&mut meter, before)).with_context(fail)?;
    }
    meter.end();
    now.finish();
    least.finish();
    Ok((now, least))
}

/// Gives the rows of a file; its bytes as they lie on the disk.
fn file(
    path: &Path,
    take: &mut impl FnMut(&RecordBatch) -> Result<u64>,
    (meter, before): (&mut Meter, u64),
) -> Result<u64> {
    let mut input = Input::open(path)?;
    let (mut decoder, mut rows, mut quarantined) = (Decoder::new(), Rows::new(), Vec::new());
    let mut taken = Ok(0);
    while let Some(body) = input.next_chunk()? {
        let delivery =
            Delivery { cluster: "default", source: "file", received_at: now_micros(), body: &body };
        decoder.decode_in_parts(&delivery, &mut rows, &mut quarantined, |rows| {
            if taken.is_ok() {
                taken = take(&rows.finish());
            }
        });
        quarantined.clear();
        if rows.len() >= ROWS_MAX {
            taken = taken.and_then(|_| take(&rows.finish()));
        }
        if let Ok(events) = &taken {
            meter.tell(before + input.bytes_read(), *events);
        } else {
            break;
        }
    }
    taken?;
    take(&rows.finish())?;
    Ok(input.bytes_read())
}

/// Calls `take` with each row.
fn each(rows: &RecordBatch, mut take: impl FnMut(&Seen<'_>)) -> Result<()> {
    let column = |name: &str| text_column(rows, name);
    let read = READ.iter().map(|name| column(name)).collect::<Result<Vec<_>>>()?;
    let [user, groups, verb, uri, group, resource, sub, namespace, name, stage, level, request] =
        read.as_slice()
    else {
        return Ok(());
    };
    let response = column("response_object")?;
    let counted = COUNTED.iter().map(|name| column(name)).collect::<Result<Vec<_>>>()?;
    let times = event_times(rows)?;
    for (row, time) in times.iter().enumerate() {
        let text = |column: &StringArray| -> String {
            if column.is_valid(row) { column.value(row).to_owned() } else { String::new() }
        };
        let length = |column: &StringArray| {
            if column.is_valid(row) { column.value(row).len() as u64 } else { 0 }
        };
        let groups: Vec<String> = serde_json::from_str(&text(groups)).unwrap_or_default();
        let (user_name, verb, uri) = (text(user), text(verb), text(uri));
        let (of, named, sub) = (text(group), text(resource), text(sub));
        let (namespace, name) = (text(namespace), text(name));
        let target = if named.is_empty() {
            Target::Path(uri.split('?').next().unwrap_or_default())
        } else {
            Target::Resource {
                group: &of,
                resource: &named,
                subresource: &sub,
                namespace: &namespace,
                name: &name,
            }
        };
        let kind = format!("{verb} {named}/{sub}");
        let own: u64 = read.iter().take(READ.len() - 1).map(length).sum();
        take(&Seen {
            request: Request {
                user: user.is_valid(row).then_some(user_name.as_str()),
                groups: &groups,
                verb: &verb,
                target,
            },
            stage: Stage::named(&text(stage)).unwrap_or(Stage::ResponseComplete),
            level: Level::named(&text(level)).unwrap_or(Level::Metadata),
            bytes: AROUND_BYTES + own + counted.iter().map(length).sum::<u64>(),
            request_bytes: length(request),
            response_bytes: length(&response),
            time: *time,
            kind: &kind,
        });
    }
    Ok(())
}

fn text_column(rows: &RecordBatch, name: &str) -> Result<StringArray> {
    let column = rows.column_by_name(name).with_context(|| format!("no column `{name}`"))?;
    Ok(cast(column, &DataType::Utf8)?.as_string::<i32>().clone())
}
