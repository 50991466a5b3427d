//! What must not be kept is taken out of rows on their way into files.
//!
//! Detections see events as they came, and so do questions for as long as rows are in memory; the
//! journal has them until history has. Ids stay those of the events as they came.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, RecordBatch, StringViewArray, StringViewBuilder,
};
use arrow::datatypes::Int32Type;
use arrow::error::ArrowError;
use serde_json::Value;
use serde_json_path::{JsonPath, NormalizedPath};

use crate::event::repeating::text;

/// What stands where something was.
const REDACTED: &str = "REDACTED";

/// One rule for bodies.
#[derive(Clone, Debug)]
pub struct BodyRule {
    /// The resource whose bodies are meant, such as `secrets`; `*` means all.
    pub resource: String,
    /// Where in `request_object` and `response_object` the values are (RFC 9535).
    pub paths: Vec<JsonPath>,
}

/// All rules.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    /// Rules for bodies.
    pub bodies: Vec<BodyRule>,
    /// Whether what follows the command's first word in the URI of an exec is taken out.
    pub exec_arguments: bool,
}

impl Redactor {
    /// The rules, each as text.
    pub(super) fn rules(&self) -> Vec<String> {
        let of = |rule: &BodyRule| {
            let paths = rule.paths.iter().map(ToString::to_string).collect::<Vec<_>>();
            format!("bodies of {}: {}", rule.resource, paths.join(", "))
        };
        let arguments = self.exec_arguments.then(|| "arguments of exec".to_owned());
        arguments.into_iter().chain(self.bodies.iter().map(of)).collect()
    }

    /// The rows without what must not be kept, and how many of them had any.
    ///
    /// # Errors
    /// Only when the batch is not of the events table.
    pub(super) fn apply(&self, rows: &RecordBatch) -> Result<(RecordBatch, u64), ArrowError> {
        let mut rows = rows.clone();
        let mut redacted = vec![false; rows.num_rows()];
        let mut note = |row: usize, found: Option<String>, text: &str| {
            if let Some(redacted) = redacted.get_mut(row) {
                *redacted |= found.as_deref().is_some_and(|found| found != text);
            }
            found
        };
        if self.exec_arguments {
            let is_exec: Vec<bool> =
                texts(&rows, "subresource")?.iter().map(|text| *text == Some("exec")).collect();
            rows = replace(&rows, "request_uri", |row, uri| {
                let found = (is_exec.get(row) == Some(&true)).then(|| without_arguments(uri));
                note(row, found, uri)
            })?;
        }
        let resources: Vec<Option<String>> =
            texts(&rows, "resource")?.iter().map(|text| text.map(str::to_owned)).collect();
        let bodies = ["request_object", "response_object"];
        for body in bodies.into_iter().filter(|_| !self.bodies.is_empty()) {
            rows = replace(&rows, body, |row, text| {
                let resource = resources.get(row)?.as_deref();
                note(row, self.body(resource, text), text)
            })?;
        }
        let redacted = redacted.into_iter().filter(|redacted| *redacted).count();
        Ok((rows, redacted as u64))
    }

    /// The body without what the rules name; `None` when none of them is about it.
    fn body(&self, resource: Option<&str>, text: &str) -> Option<String> {
        let is_meant =
            |rule: &&BodyRule| rule.resource == "*" || resource == Some(rule.resource.as_str());
        let mut rules = self.bodies.iter().filter(is_meant).peekable();
        rules.peek()?;
        // What cannot be looked into is not kept at all.
        let Ok(mut body) = serde_json::from_str::<Value>(text) else {
            return Some(format!("\"{REDACTED}\""));
        };
        for path in rules.flat_map(|rule| &rule.paths) {
            let places: Vec<String> = path
                .query_located(&body)
                .locations()
                .map(NormalizedPath::to_json_pointer)
                .collect();
            for place in places {
                if let Some(value) = body.pointer_mut(&place) {
                    *value = Value::from(REDACTED);
                }
            }
        }
        Some(body.to_string())
    }
}

/// The URI of an exec with only the first word of its command.
fn without_arguments(uri: &str) -> String {
    let Some((path, query)) = uri.split_once('?') else { return uri.to_owned() };
    let mut first = true;
    let pairs = query.split('&').map(|pair| {
        if !pair.starts_with("command=") || std::mem::take(&mut first) {
            return pair.to_owned();
        }
        format!("command={REDACTED}")
    });
    format!("{path}?{}", pairs.collect::<Vec<_>>().join("&"))
}

fn texts<'a>(rows: &'a RecordBatch, name: &str) -> Result<Vec<Option<&'a str>>, ArrowError> {
    let column = rows.column(rows.schema().index_of(name)?);
    let wrong = || ArrowError::SchemaError(format!("{name} has another type"));
    let column = column.as_dictionary_opt::<Int32Type>().ok_or_else(wrong)?;
    column.values().as_string_opt::<i32>().ok_or_else(wrong)?;
    Ok((0..rows.num_rows()).map(|row| text(column, row)).collect())
}

/// The rows with the texts of one column replaced where `with` gives another.
fn replace(
    rows: &RecordBatch,
    name: &str,
    mut with: impl FnMut(usize, &str) -> Option<String>,
) -> Result<RecordBatch, ArrowError> {
    let index = rows.schema().index_of(name)?;
    let wrong = || ArrowError::SchemaError(format!("{name} has another type"));
    let texts: &StringViewArray = rows.column(index).as_string_view_opt().ok_or_else(wrong)?;
    let mut builder = StringViewBuilder::with_capacity(texts.len());
    let mut changed = false;
    for (row, text) in texts.iter().enumerate() {
        match text.map(|text| (text, with(row, text))) {
            Some((_, Some(other))) => {
                changed = true;
                builder.append_value(other);
            }
            Some((text, None)) => builder.append_value(text),
            None => builder.append_null(),
        }
    }
    if !changed {
        return Ok(rows.clone());
    }
    let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
    if let Some(column) = columns.get_mut(index) {
        *column = Arc::new(builder.finish());
    }
    RecordBatch::try_new(rows.schema(), columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Decoder, Delivery};
    use crate::event::Rows;

    fn rows(text: &str) -> RecordBatch {
        let mut rows = Rows::new();
        let text = text.replace('\n', "");
        let body = text.as_bytes();
        let delivery = Delivery { cluster: "c", source: "webhook", received_at: 0, body };
        Decoder::new().decode(&delivery, &mut rows, &mut Vec::new());
        rows.finish()
    }

    fn value(rows: &RecordBatch, column: &str) -> String {
        rows.column_by_name(column).unwrap().as_string_view().value(0).to_owned()
    }

    #[test]
    fn values_in_bodies_go_and_the_rest_stays() {
        let rule = BodyRule {
            resource: "secrets".to_owned(),
            paths: vec![JsonPath::parse("$.data.*").unwrap()],
        };
        let redactor = Redactor { bodies: vec![rule], exec_arguments: false };
        let secret = rows(
            r#"{"auditID":"a","objectRef":{"resource":"secrets"},"requestObject":
                {"kind":"Secret","data":{"a/b":"c2VjcmV0","d":"ZQ=="}}}"#,
        );
        let (kept, redacted) = redactor.apply(&secret).unwrap();
        assert_eq!(redacted, 1);
        let expected = r#"{"kind":"Secret","data":{"a/b":"REDACTED","d":"REDACTED"}}"#;
        assert_eq!(value(&kept, "request_object"), expected);
        assert_eq!(value(&kept, "event_id"), value(&secret, "event_id"));
        let other =
            rows(r#"{"auditID":"a","objectRef":{"resource":"pods"},"requestObject":{"data":1}}"#);
        assert_eq!(redactor.apply(&other).unwrap(), (other, 0));
    }

    #[test]
    fn a_command_keeps_its_first_word() {
        let redactor = Redactor { bodies: Vec::new(), exec_arguments: true };
        let uri = "/api/v1/namespaces/d/pods/p/exec?command=mysql&command=-phunter2&stdin=true";
        let exec = format!(
            r#"{{"auditID":"a","requestURI":"{uri}",
                "objectRef":{{"resource":"pods","subresource":"exec"}}}}"#
        );
        let (kept, redacted) = redactor.apply(&rows(&exec)).unwrap();
        assert_eq!(redacted, 1);
        let expected = "/api/v1/namespaces/d/pods/p/exec?command=mysql&command=REDACTED&stdin=true";
        assert_eq!(value(&kept, "request_uri"), expected);
        let other = rows(&exec.replace("exec\"", "log\""));
        assert_eq!(redactor.apply(&other).unwrap(), (other, 0));
    }
}
