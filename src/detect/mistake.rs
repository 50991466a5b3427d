//! What is wrong with a detection's query, told with the file's line and the nearest name.

use std::collections::BTreeMap;

use datafusion::common::utils::datafusion_strsim::levenshtein;
use datafusion::common::{DataFusionError, SchemaError};

use super::detection::{Detection, LoadError};

/// DataFusion's error in words of ours.
pub(crate) struct Told {
    /// One-based line of the SQL, where known.
    pub(crate) line: Option<u64>,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

/// DataFusion's error as one of the file: with the line, and the nearest name that exists.
pub(crate) fn located(detection: &Detection, error: &DataFusionError) -> LoadError {
    let Told { line, message, hint } = told(error);
    detection.error(line, message, hint)
}

/// What an error says, where, and the nearest name that exists.
pub(crate) fn told(error: &DataFusionError) -> Told {
    let text = error.strip_backtrace();
    let text = text.lines().next().unwrap_or_default();
    let diagnostic = error.diagnostic();
    let span = diagnostic.and_then(|diagnostic| diagnostic.span);
    let line = span.map(|span| span.start.line).or_else(|| line_in_message(text));
    let message = match diagnostic {
        Some(diagnostic) => diagnostic.message.clone(),
        None => text.trim_start_matches("SQL error: ").to_owned(),
    };
    let helps = diagnostic.map(|diagnostic| {
        let notes = diagnostic.notes.iter().map(|note| note.message.as_str());
        notes.chain(diagnostic.helps.iter().map(|help| help.message.as_str())).collect::<Vec<_>>()
    });
    let hint = match error.find_root() {
        DataFusionError::SchemaError(schema_error, _) => nearest_column(schema_error),
        DataFusionError::SQL(..) => Some("see the SQL near that place".to_owned()),
        _ => None,
    };
    let hint = hint.or_else(|| helps.filter(|helps| !helps.is_empty()).map(|h| h.join("; ")));
    Told { line, message, hint }
}

fn nearest_column(error: &SchemaError) -> Option<String> {
    let SchemaError::FieldNotFound { field, valid_fields } = error else {
        return None;
    };
    let distances: BTreeMap<usize, &str> = valid_fields
        .iter()
        .rev()
        .map(|valid| (levenshtein(&field.name, &valid.name), valid.name.as_str()))
        .collect();
    match distances.first_key_value() {
        Some((distance, name)) if *distance <= field.name.len().div_ceil(2) => {
            Some(format!("did you mean `{name}`?"))
        }
        _ => Some("`SELECT * FROM events LIMIT 1` shows all columns".to_owned()),
    }
}

/// The line in a message such as `... at Line: 3, Column: 5`.
fn line_in_message(message: &str) -> Option<u64> {
    let (_, after) = message.rsplit_once("Line: ")?;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// One-based line of the first occurrence of `needle`.
pub(crate) fn line_containing(sql: &str, needle: &str) -> Option<u64> {
    let position = sql.lines().position(|line| line.contains(needle))?;
    Some(position as u64 + 1)
}
