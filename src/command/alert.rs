//! `auditmill alert`: whether sinks work, and how they stand.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use serde_json::{Map, Value as Json, json};
use tokio::runtime::Builder;

use super::table::styled;
use super::{Verdict, sql};
use crate::alert::outlet::AnySink;
use crate::alert::pager::Pager as _;
use crate::alert::sink::{Answer, Sink as _};
use crate::cli::{AlertListArgs, AlertTestArgs, Format};
use crate::clock::now_micros;
use crate::config::{Settings, Sink};
use crate::event::time::rfc3339;
use crate::findings::paging::Call;
use crate::findings::record::{FindingRecord, Severity, Status};
use crate::findings::triage::State;

const STATES: &str = "SELECT name, type, pending, set_aside, refused, trouble, \
     CAST(last_saved AS VARCHAR) AS last_saved FROM sinks ORDER BY name";

/// Sends a sample through a sink as a server would, once, and tells what came of it. What stays
/// open at a receiver is closed again.
///
/// # Errors
/// When there is no such sink, or it cannot be made.
pub fn test(args: &AlertTestArgs) -> Result<Verdict> {
    let settings = args.config.settings()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(send(&settings, &args.sink))
}

async fn send(settings: &Settings, name: &str) -> Result<Verdict> {
    let Some(sink) = settings.sinks.iter().find(|sink| sink.name() == name) else {
        let known: Vec<&str> = settings.sinks.iter().map(Sink::name).collect();
        bail!(
            "there is no sink `{name}`: the settings have {}",
            match known.as_slice() {
                [] => "none".to_owned(),
                known => known.join(", "),
            }
        );
    };
    let mut opened = AnySink::new(sink)?;
    let sample = sample(now_micros());
    let over = FindingRecord { status: Status::Withdrawn, revision: 2, ..sample.clone() };
    let mut out = io::stdout().lock();
    for (what, finding) in [("a sample", sample), ("its end", over)] {
        let id = finding.id.clone();
        let begin = Instant::now();
        let answer = match &mut opened {
            AnySink::Machine(sink) => sink.deliver(&[Arc::new(finding)]).await.pop(),
            AnySink::People(pager) => Some(pager.page(&call(&finding)).await),
        };
        let took = begin.elapsed().as_millis();
        let (taken, told) = match answer {
            Some(Answer::Delivered) => (true, "taken".to_owned()),
            Some(Answer::Refused { why }) => (false, format!("refused for good: {why}")),
            Some(Answer::Retry { why, after }) => {
                let after = after.map(|after| format!(", again after {}s", after.as_secs()));
                (false, format!("not taken: {why}{}", after.unwrap_or_default()))
            }
            None => (false, "no answer".to_owned()),
        };
        writeln!(out, "{name} ({}): {what}, id {id}: {told} in {took} ms", sink.kind())?;
        if !taken {
            return Ok(Verdict::No);
        }
    }
    Ok(Verdict::Done)
}

/// What people are told of a sample.
fn call(sample: &FindingRecord) -> Call {
    Call {
        id: sample.id.clone(),
        revision: sample.revision,
        state: match sample.status {
            Status::Open => State::Open,
            Status::Withdrawn => State::Closed,
        },
        severity: sample.severity,
        cluster: sample.cluster.clone(),
        route: String::new(),
        title: sample.title.clone(),
        text: format!("{}\n\n{}\n", sample.summary, sample.respond),
        first_seen: sample.first_seen.clone(),
        last_seen: sample.last_seen.clone(),
        incidents_total: 0,
        incidents: Vec::new(),
        page: None,
    }
}

/// A finding that nobody can take for a real one, other than any before.
fn sample(now: i64) -> FindingRecord {
    let time = rfc3339(now);
    let object = |value: Json| value.as_object().cloned().unwrap_or_default();
    FindingRecord {
        id: format!("{:032x}", fastrand::u128(..)),
        detection: "AUDITMILL-TEST".to_owned(),
        title: "A test of this sink, nothing happened".to_owned(),
        severity: Severity::Informational,
        status: Status::Open,
        cluster: "auditmill-test".to_owned(),
        key: object(json!({ "cluster": "auditmill-test", "user_name": "auditmill" })),
        count: 1,
        first_seen: time.clone(),
        last_seen: time,
        summary: "A test by `auditmill alert test`: nothing happened".to_owned(),
        evidence: Vec::new(),
        attack: Vec::new(),
        controls: Vec::new(),
        row: Map::new(),
        respond: "Nothing: this is a test.".to_owned(),
        incomplete: false,
        revision: 1,
    }
}

/// Shows how the sinks of a server stand.
///
/// # Errors
/// When who is asked does not answer.
pub fn list(args: &AlertListArgs) -> Result<Verdict> {
    let rows = sql::rows(&args.server, STATES)?;
    let mut out = io::stdout().lock();
    if args.format == Format::Json {
        for row in &rows {
            writeln!(out, "{}", Json::Object(row.clone()))?;
        }
        return Ok(Verdict::Done);
    }
    let columns = ["name", "type", "pending", "set_aside", "refused", "last_saved", "trouble"];
    let mut table = styled();
    table.set_header(columns);
    for row in &rows {
        table.add_row(columns.map(|column| match row.get(column) {
            None | Some(Json::Null) => String::new(),
            Some(Json::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        }));
    }
    writeln!(out, "{table}")?;
    Ok(Verdict::Done)
}
