//! `auditmill explain AUDIT_ID`: why the events of a request were found by detections, or were not.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use arrow::array::{AsArray as _, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::{cast, filter_record_batch};
use serde_json::{Value as Json, json};

use super::catalogue::catalog;
use super::input::Input;
use super::known::{Found, Known};
use super::{BadDetections, Verdict, sql};
use crate::cli::{ExplainEventArgs, Format};
use crate::clock::now_micros;
use crate::decode::{Decoder, Delivery};
use crate::detect::explain::{self, Considered, Explainer, Place, Truth};
use crate::detect::value::Value;
use crate::event::Rows;
use crate::event::schema::events_schema;
use crate::event::time::rfc3339;

/// Without `--all`, detections are told of which at most so many conditions are not true.
const FAILED_MAX: usize = 2;
/// Stages and repeats of one request.
const EVENTS_MAX: usize = 100;

/// Tells what each detection made of the events of an audit id.
///
/// # Errors
/// When detections or events cannot be read, or nobody can be asked.
pub fn run(args: &ExplainEventArgs) -> Result<Verdict> {
    let catalog = catalog(args.dir.as_deref(), &args.addresses.files())?;
    let mut catalog = catalog.limited(&args.shipped.patterns());
    if let Some(id) = &args.detection {
        if catalog.get(id).is_none() {
            bail!("no detection `{id}` that is on: `auditmill detections list` shows all");
        }
        catalog = catalog.selected(|of| of == id);
    }
    let events = if args.files.is_empty() { asked(args)? } else { read(args)? };
    let explainer = Explainer::new(&catalog).map_err(BadDetections)?;
    let mut known = Known::default();
    let mut out = io::stdout().lock();
    let mut told = 0;
    for batch in &events {
        for row in (0_u32..).take(batch.num_rows()) {
            if told > 0 && args.format == Format::Table {
                writeln!(out)?;
            }
            told += 1;
            let event = Event { batch, row };
            let considered = explainer.explain(batch, row)?;
            if args.files.is_empty() {
                known = known.of(args, &considered)?;
            }
            match args.format {
                Format::Json => print_json(&mut out, &event, &considered, (args, &known))?,
                Format::Table => print_text(&mut out, &event, &considered, (args, &known))?,
            }
        }
    }
    if told == 0 {
        eprintln!("no event has the audit id `{}`", args.audit_id);
        return Ok(Verdict::No);
    }
    Ok(Verdict::Done)
}

/// The events that a server or a data directory has.
fn asked(args: &ExplainEventArgs) -> Result<Vec<RecordBatch>> {
    let id = args.audit_id.replace('\'', "''");
    let query = format!(
        "SELECT * FROM events WHERE audit_id = '{id}' ORDER BY event_time, event_id \
         LIMIT {EVENTS_MAX}"
    );
    let batches = sql::batches(&args.server, &query)?.into_iter();
    batches.map(|batch| as_events(&batch).context("read the answer")).collect()
}

/// The columns of the events table, in their order and of their types; what a server of another
/// version does not have is NULL.
fn as_events(batch: &RecordBatch) -> Result<RecordBatch> {
    let schema = events_schema();
    let columns = schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
        Some(column) => Ok(cast(column, field.data_type())?),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// The events in files.
fn read(args: &ExplainEventArgs) -> Result<Vec<RecordBatch>> {
    let mut found = Vec::new();
    for path in &args.files {
        let keep = |rows: &RecordBatch| found.extend(of_request(rows, &args.audit_id));
        let read = each_batch(args.cluster.as_str(), path, keep);
        read.with_context(|| format!("read `{}`", path.display()))?;
    }
    Ok(found)
}

/// Hands on the events of a file, as rows of the events table; what cannot be read is left out.
pub(super) fn each_batch(
    cluster: &str,
    path: &Path,
    mut take: impl FnMut(&RecordBatch),
) -> Result<()> {
    let mut input = Input::open(path)?;
    let (mut decoder, mut rows, mut quarantined) = (Decoder::new(), Rows::new(), Vec::new());
    while let Some(body) = input.next_chunk()? {
        let delivery = Delivery { cluster, source: "file", received_at: now_micros(), body: &body };
        let mut keep = |rows: &mut Rows| take(&rows.finish());
        decoder.decode_in_parts(&delivery, &mut rows, &mut quarantined, &mut keep);
        keep(&mut rows);
        quarantined.clear();
    }
    Ok(())
}

fn of_request(rows: &RecordBatch, audit_id: &str) -> Option<RecordBatch> {
    let ids = rows.column_by_name("audit_id")?.as_string_view_opt()?;
    let is_it: BooleanArray = ids.iter().map(|id| Some(id == Some(audit_id))).collect();
    if is_it.true_count() == 0 {
        return None;
    }
    filter_record_batch(rows, &is_it).ok()
}

/// One row of the events table.
struct Event<'a> {
    batch: &'a RecordBatch,
    row: u32,
}

impl Event<'_> {
    fn value(&self, column: &str) -> Value {
        let column = self.batch.column_by_name(column);
        column.map_or(Value::Null, |column| Value::at(column, self.row as usize))
    }
}

/// Whether a detection is told: it was asked for, or few conditions are not true, and not all.
fn is_near(considered: &Considered, args: &ExplainEventArgs) -> bool {
    let failed = considered.failed().count();
    let near = match considered.verdict {
        explain::Verdict::OverFindings => false,
        explain::Verdict::Failed => failed <= FAILED_MAX && failed < considered.conditions.len(),
        _ => true,
    };
    args.all || args.detection.is_some() || near
}

/// A line for each detection.
fn print_json(
    out: &mut impl Write,
    event: &Event<'_>,
    considered: &[Considered],
    (args, known): (&ExplainEventArgs, &Known),
) -> Result<()> {
    for of in considered.iter().filter(|of| is_near(of, args)) {
        let conditions: Vec<Json> = of.conditions.iter().map(condition).collect();
        let mut line = json!({
            "audit_id": args.audit_id,
            "event_id": event.value("event_id").to_json(),
            "stage": event.value("stage").to_json(),
            "event_time": event.value("event_time").to_json(),
            "detection": of.detection.id,
            "title": of.detection.title,
            "class": of.class,
            "verdict": verdict(&of.verdict),
            "conditions": conditions,
        });
        let object = line.as_object_mut().ok_or_else(|| anyhow!("a line is an object"))?;
        match &of.verdict {
            explain::Verdict::Matched(place) => {
                object.extend(placed(place));
                if let Some(found) = known.found(place) {
                    object.insert("findings".to_owned(), found.iter().map(finding).collect());
                }
            }
            explain::Verdict::Exempted(name) => {
                object.insert("exception".to_owned(), name.as_str().into());
            }
            explain::Verdict::Fault(error) => {
                object.insert("error".to_owned(), error.as_str().into());
            }
            explain::Verdict::Failed | explain::Verdict::OverFindings => {}
        }
        if let Some(note) = known.note(of) {
            object.insert("on_server".to_owned(), note.into());
        }
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn finding((id, found): &(&str, &Found)) -> Json {
    json!({ "id": id, "status": found.status, "count": found.count })
}

fn condition(told: &explain::Told) -> Json {
    let mut condition = json!({ "sql": told.sql, "is": told.truth.as_str() });
    if let (Truth::Failed(error), Some(object)) = (&told.truth, condition.as_object_mut()) {
        object.insert("error".to_owned(), error.as_str().into());
    }
    condition
}

fn placed(place: &Place) -> Vec<(String, Json)> {
    let key = place.key.iter().map(|(name, value)| (name.clone(), value.to_json()));
    let key: serde_json::Map<String, Json> = key.collect();
    let span = |(from, to): &(i64, i64)| json!([rfc3339(*from), rfc3339(*to)]);
    let windows: Vec<Json> = place.windows.iter().map(span).collect();
    let members = [
        ("key", Json::Object(key)),
        ("bucket", span(&place.buckets)),
        ("windows", windows.into()),
        ("must_reach", place.thresholds.clone().into()),
        ("having", place.having.clone().into()),
        ("filters", place.filters.iter().map(condition).collect()),
    ];
    members.map(|(name, value)| (name.to_owned(), value)).into()
}

fn verdict(verdict: &explain::Verdict) -> &'static str {
    match verdict {
        explain::Verdict::Matched(_) => "matched",
        explain::Verdict::Exempted(_) => "exempted",
        explain::Verdict::Failed => "not matched",
        explain::Verdict::Fault(_) => "failed",
        explain::Verdict::OverFindings => "reads findings",
    }
}

/// The event, then a paragraph for each detection.
fn print_text(
    out: &mut impl Write,
    event: &Event<'_>,
    considered: &[Considered],
    (args, known): (&ExplainEventArgs, &Known),
) -> Result<()> {
    let words = ["event_time", "cluster", "stage", "verb", "user_name", "request_uri"];
    let words = words.map(|name| match event.value(name) {
        // The values are an attacker's words.
        Value::Text(text) => text.escape_debug().to_string(),
        other => other.to_string(),
    });
    writeln!(out, "{}", words.join(" "))?;
    let mut left_out = 0;
    for of in considered {
        if is_near(of, args) {
            print_considered(out, of, known)?;
        } else {
            left_out += 1;
        }
    }
    if left_out > 0 {
        writeln!(out, "{left_out} other detections are further off: `--all` tells of them")?;
    }
    Ok(())
}

fn print_considered(out: &mut impl Write, of: &Considered, known: &Known) -> Result<()> {
    let (id, title) = (&of.detection.id, &of.detection.title);
    writeln!(out, "{:12} {id}  {title}", verdict(&of.verdict))?;
    if let Some(note) = known.note(of) {
        writeln!(out, "  note     {note}: judged by the one here")?;
    }
    match &of.verdict {
        explain::Verdict::Matched(place) => print_place(out, place, known)?,
        explain::Verdict::Exempted(name) => writeln!(out, "  hidden by the exception `{name}`")?,
        explain::Verdict::Fault(error) => writeln!(out, "  {error}")?,
        explain::Verdict::Failed | explain::Verdict::OverFindings => {}
    }
    for told in of.failed() {
        match &told.truth {
            Truth::Failed(error) => writeln!(out, "  failed   {}: {error}", told.sql)?,
            truth => writeln!(out, "  {:8} {}", truth.as_str(), told.sql)?,
        }
    }
    Ok(())
}

fn print_place(out: &mut impl Write, place: &Place, known: &Known) -> Result<()> {
    let cells = place.key.iter().map(|(name, value)| match value {
        Value::Text(text) => format!("{name} = {}", text.escape_debug()),
        other => format!("{name} = {other}"),
    });
    let cells: Vec<String> = cells.collect();
    writeln!(
        out,
        "  key      {}",
        if cells.is_empty() { "-".to_owned() } else { cells.join(", ") }
    )?;
    let (from, to) = place.buckets;
    writeln!(out, "  bucket   [{}, {})", rfc3339(from), rfc3339(to))?;
    for (from, to) in &place.windows {
        writeln!(out, "  window   [{}, {})", rfc3339(*from), rfc3339(*to))?;
    }
    for told in &place.filters {
        writeln!(out, "  counts   {:8} FILTER {}", told.truth.as_str(), told.sql)?;
    }
    if let Some(having) = &place.having {
        writeln!(out, "  reaches  found in a window with {having}")?;
    }
    let Some(found) = known.found(place) else { return Ok(()) };
    for (id, Found { status, count }) in &found {
        writeln!(out, "  finding  {id}, {status}, {count} events of this key and bucket")?;
    }
    if found.is_empty() {
        writeln!(out, "  finding  none is kept of this key and bucket")?;
    }
    Ok(())
}
