//! `auditmill detections lint`: what is wrong with detections although they may load.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use super::Verdict;
use super::test::files;
use crate::cli::{Format, LintArgs};
use crate::clock::now_micros;
use crate::detect::catalog::Catalog;
use crate::detect::detection::Detection;
use crate::detect::engine::{Engine, EngineSettings};
use crate::detect::exception::Exception;
use crate::detect::lint::{Complaint, Level, lint};
use crate::event::time::rfc3339;

/// Judges the shipped detections, or those below a folder and what lies beside them.
///
/// # Errors
/// When the folder cannot be read, or an id is none of its detections'.
pub fn run(args: &LintArgs) -> Result<Verdict> {
    let dir = args.dir.as_deref();
    let tests = match dir {
        Some(dir) => files::beside(dir)?,
        None => files::shipped(),
    };
    let (catalog, unreadable) = Catalog::readable(dir);
    if let Some(id) = args.ids.iter().find(|id| catalog.get(id).is_none()) {
        let unread = unreadable.len();
        anyhow::bail!("no detection `{id}` ({unread} files cannot be read)");
    }
    let is_wanted = |d: &&Arc<Detection>| args.ids.is_empty() || args.ids.contains(&d.id);
    let wanted: Vec<&Arc<Detection>> = catalog.detections().filter(is_wanted).collect();
    let mut complaints = Vec::new();
    if args.ids.is_empty() {
        complaints.extend(unreadable.into_iter().map(Complaint::from));
        complaints.extend(dir.into_iter().flat_map(beside));
    }
    for detection in &wanted {
        complaints.extend(judge(detection, &tests));
    }
    if dir.is_some() {
        complaints.extend(namesakes(&wanted));
    }
    // What does not load is told by each who tries.
    let text = |complaint: &Complaint| {
        let place = (Arc::clone(&complaint.path), std::cmp::Reverse(complaint.level));
        (place, complaint.line, complaint.rule, complaint.message.clone())
    };
    complaints.sort_by_key(text);
    complaints.dedup();
    print(&complaints, args.format)?;
    let count = |level| complaints.iter().filter(|complaint| complaint.level == level).count();
    let (errors, warnings) = (count(Level::Error), count(Level::Warning));
    eprintln!("{} detections: {errors} errors, {warnings} warnings", wanted.len());
    Ok(if errors == 0 { Verdict::Done } else { Verdict::No })
}

fn judge(detection: &Arc<Detection>, tests: &BTreeMap<String, String>) -> Vec<Complaint> {
    let mut complaints = lint(detection);
    // What a server would refuse to start with.
    let engine = Engine::new(&Catalog::of(detection.as_ref().clone()), EngineSettings::default());
    complaints.extend(engine.err().into_iter().flatten().map(Complaint::from));
    if !tests.contains_key(files::stem(&detection.path)) {
        let message = "no test file".to_owned();
        let rule = ("test-missing", Level::Error);
        let hint = files::missing(detection);
        complaints.push(Complaint::of(detection, rule, None, message, &hint));
    }
    complaints
}

/// What is wrong with the files beside the detections: `overrides.yaml`, `exceptions.yaml`.
fn beside(dir: &Path) -> Vec<Complaint> {
    let catalog = match Catalog::load(Some(dir)) {
        Ok(catalog) => catalog,
        Err(errors) => return errors.into_iter().map(Complaint::from).collect(),
    };
    let now = now_micros();
    let expired = catalog.exceptions().iter().filter(|exception| exception.is_expired(now));
    let complain = |exception: &Arc<Exception>| Complaint {
        path: Arc::clone(&exception.path),
        line: Some(exception.line),
        rule: "expired",
        level: Level::Warning,
        message: format!("`{}` has expired: {}", exception.name, rfc3339(exception.expires)),
        hint: Some(format!("ask {}: renew it, or remove it", exception.owner)),
    };
    expired.map(complain).collect()
}

/// Detections with the id of a shipped one that is about something else.
fn namesakes(own: &[&Arc<Detection>]) -> Vec<Complaint> {
    let (shipped, _) = Catalog::readable(None);
    let other = |detection: &&&Arc<Detection>| {
        shipped.get(&detection.id).is_some_and(|other| other.title != detection.title)
    };
    let complain = |detection: &&Arc<Detection>| {
        let message = format!("`{}` replaces a shipped detection of another title", detection.id);
        let line = detection.line_of("id");
        let hint = "choose another id, or keep the title of what it replaces";
        Complaint::of(detection, ("duplicate-id", Level::Warning), line, message, hint)
    };
    own.iter().filter(other).map(complain).collect()
}

fn print(complaints: &[Complaint], format: Format) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for complaint in complaints {
        match format {
            Format::Table => writeln!(out, "{complaint}")?,
            Format::Json => {
                let line = serde_json::json!({
                    "file": complaint.path,
                    "line": complaint.line,
                    "level": complaint.level.as_str(),
                    "rule": complaint.rule,
                    "message": complaint.message,
                    "hint": complaint.hint,
                });
                writeln!(out, "{line}")?;
            }
        }
    }
    Ok(())
}
