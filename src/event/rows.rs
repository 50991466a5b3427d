//! Typed appends that become one Arrow batch.
//!
//! Promise: a batch has the schema of [`events_schema`], and its rows are in the order pushed.
//!
//! Never: nothing is parsed or checked here, and no row is dropped. Callers take the batch out
//! with [`Rows::finish`] well before [`Rows::bytes`] reaches 1 GiB: Arrow counts the text of a
//! dictionary in 31 bits.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, BooleanBuilder, Int32Builder, StringDictionaryBuilder,
    StringViewBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::Int32Type;
use arrow::record_batch::RecordBatch;

use super::schema::{COLUMNS, Form, events_schema};

/// One row of the events table, borrowed: field for field the columns of
/// [`COLUMNS`], where their meaning is written. Times are microseconds since
/// 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the column of its name, documented there")]
pub struct EventRow<'a> {
    pub cluster: &'a str,
    pub event_id: &'a str,
    pub event_time: i64,
    pub request_time: Option<i64>,
    pub ingest_time: i64,
    pub audit_id: Option<&'a str>,
    pub stage: Option<&'a str>,
    pub level: Option<&'a str>,
    pub verb: Option<&'a str>,
    pub request_uri: Option<&'a str>,
    pub user_name: Option<&'a str>,
    pub user_uid: Option<&'a str>,
    pub user_groups: Option<&'a str>,
    pub user_extra: Option<&'a str>,
    pub impersonated_user: Option<&'a str>,
    pub impersonated_groups: Option<&'a str>,
    pub source_ips: Option<&'a str>,
    pub source_ip: Option<&'a str>,
    pub user_agent: Option<&'a str>,
    pub api_group: Option<&'a str>,
    pub api_version: Option<&'a str>,
    pub resource: Option<&'a str>,
    pub subresource: Option<&'a str>,
    pub namespace: Option<&'a str>,
    pub name: Option<&'a str>,
    pub object_uid: Option<&'a str>,
    pub response_code: Option<i32>,
    pub response_reason: Option<&'a str>,
    pub response_message: Option<&'a str>,
    pub decision: Option<&'a str>,
    pub decision_reason: Option<&'a str>,
    pub annotations: Option<&'a str>,
    pub request_object: Option<&'a str>,
    pub response_object: Option<&'a str>,
    pub credential_id: Option<&'a str>,
    pub pod_name: Option<&'a str>,
    pub node_name: Option<&'a str>,
    pub truncated: bool,
    pub source: &'a str,
    pub other: Option<&'a str>,
}

/// Rows on their way into one batch.
pub struct Rows {
    len: usize,
    bytes: usize,
    cluster: Repeating,
    event_id: Text,
    event_time: TimestampMicrosecondBuilder,
    request_time: TimestampMicrosecondBuilder,
    ingest_time: TimestampMicrosecondBuilder,
    audit_id: Text,
    stage: Repeating,
    level: Repeating,
    verb: Repeating,
    request_uri: Text,
    user_name: Repeating,
    user_uid: Repeating,
    user_groups: Repeating,
    user_extra: Text,
    impersonated_user: Repeating,
    impersonated_groups: Repeating,
    source_ips: Repeating,
    source_ip: Repeating,
    user_agent: Repeating,
    api_group: Repeating,
    api_version: Repeating,
    resource: Repeating,
    subresource: Repeating,
    namespace: Repeating,
    name: Text,
    object_uid: Text,
    response_code: Int32Builder,
    response_reason: Repeating,
    response_message: Text,
    decision: Repeating,
    decision_reason: Repeating,
    annotations: Repeating,
    request_object: Text,
    response_object: Text,
    credential_id: Text,
    pod_name: Repeating,
    node_name: Repeating,
    truncated: BooleanBuilder,
    source: Repeating,
    other: Text,
}

impl Default for Rows {
    fn default() -> Self {
        Self::new()
    }
}

impl Rows {
    /// No rows yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            len: 0,
            bytes: 0,
            cluster: Repeating::default(),
            event_id: Text::default(),
            event_time: time_builder(),
            request_time: time_builder(),
            ingest_time: time_builder(),
            audit_id: Text::default(),
            stage: Repeating::default(),
            level: Repeating::default(),
            verb: Repeating::default(),
            request_uri: Text::default(),
            user_name: Repeating::default(),
            user_uid: Repeating::default(),
            user_groups: Repeating::default(),
            user_extra: Text::default(),
            impersonated_user: Repeating::default(),
            impersonated_groups: Repeating::default(),
            source_ips: Repeating::default(),
            source_ip: Repeating::default(),
            user_agent: Repeating::default(),
            api_group: Repeating::default(),
            api_version: Repeating::default(),
            resource: Repeating::default(),
            subresource: Repeating::default(),
            namespace: Repeating::default(),
            name: Text::default(),
            object_uid: Text::default(),
            response_code: Int32Builder::new(),
            response_reason: Repeating::default(),
            response_message: Text::default(),
            decision: Repeating::default(),
            decision_reason: Repeating::default(),
            annotations: Repeating::default(),
            request_object: Text::default(),
            response_object: Text::default(),
            credential_id: Text::default(),
            pod_name: Repeating::default(),
            node_name: Repeating::default(),
            truncated: BooleanBuilder::new(),
            source: Repeating::default(),
            other: Text::default(),
        }
    }

    /// Appends one row.
    pub fn push(&mut self, row: &EventRow<'_>) {
        let mut text_bytes = 0;
        text_bytes += self.cluster.push(Some(row.cluster));
        text_bytes += self.event_id.push(Some(row.event_id));
        self.event_time.append_value(row.event_time);
        self.request_time.append_option(row.request_time);
        self.ingest_time.append_value(row.ingest_time);
        text_bytes += self.audit_id.push(row.audit_id);
        text_bytes += self.stage.push(row.stage);
        text_bytes += self.level.push(row.level);
        text_bytes += self.verb.push(row.verb);
        text_bytes += self.request_uri.push(row.request_uri);
        text_bytes += self.user_name.push(row.user_name);
        text_bytes += self.user_uid.push(row.user_uid);
        text_bytes += self.user_groups.push(row.user_groups);
        text_bytes += self.user_extra.push(row.user_extra);
        text_bytes += self.impersonated_user.push(row.impersonated_user);
        text_bytes += self.impersonated_groups.push(row.impersonated_groups);
        text_bytes += self.source_ips.push(row.source_ips);
        text_bytes += self.source_ip.push(row.source_ip);
        text_bytes += self.user_agent.push(row.user_agent);
        text_bytes += self.api_group.push(row.api_group);
        text_bytes += self.api_version.push(row.api_version);
        text_bytes += self.resource.push(row.resource);
        text_bytes += self.subresource.push(row.subresource);
        text_bytes += self.namespace.push(row.namespace);
        text_bytes += self.name.push(row.name);
        text_bytes += self.object_uid.push(row.object_uid);
        self.response_code.append_option(row.response_code);
        text_bytes += self.response_reason.push(row.response_reason);
        text_bytes += self.response_message.push(row.response_message);
        text_bytes += self.decision.push(row.decision);
        text_bytes += self.decision_reason.push(row.decision_reason);
        text_bytes += self.annotations.push(row.annotations);
        text_bytes += self.request_object.push(row.request_object);
        text_bytes += self.response_object.push(row.response_object);
        text_bytes += self.credential_id.push(row.credential_id);
        text_bytes += self.pod_name.push(row.pod_name);
        text_bytes += self.node_name.push(row.node_name);
        self.truncated.append_value(row.truncated);
        text_bytes += self.source.push(Some(row.source));
        text_bytes += self.other.push(row.other);
        self.len += 1;
        self.bytes += text_bytes + fixed_bytes();
    }

    /// The number of rows pushed since the last [`Rows::finish`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// About how many bytes the batch will take; too high where texts come again after others.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The rows as a batch, in the order pushed; leaves no rows behind. Without rows the batch
    /// is empty but has the schema.
    pub fn finish(&mut self) -> RecordBatch {
        let columns: Vec<ArrayRef> = vec![
            self.cluster.finish(),
            self.event_id.finish(),
            Arc::new(self.event_time.finish()),
            Arc::new(self.request_time.finish()),
            Arc::new(self.ingest_time.finish()),
            self.audit_id.finish(),
            self.stage.finish(),
            self.level.finish(),
            self.verb.finish(),
            self.request_uri.finish(),
            self.user_name.finish(),
            self.user_uid.finish(),
            self.user_groups.finish(),
            self.user_extra.finish(),
            self.impersonated_user.finish(),
            self.impersonated_groups.finish(),
            self.source_ips.finish(),
            self.source_ip.finish(),
            self.user_agent.finish(),
            self.api_group.finish(),
            self.api_version.finish(),
            self.resource.finish(),
            self.subresource.finish(),
            self.namespace.finish(),
            self.name.finish(),
            self.object_uid.finish(),
            Arc::new(self.response_code.finish()),
            self.response_reason.finish(),
            self.response_message.finish(),
            self.decision.finish(),
            self.decision_reason.finish(),
            self.annotations.finish(),
            self.request_object.finish(),
            self.response_object.finish(),
            self.credential_id.finish(),
            self.pod_name.finish(),
            self.node_name.finish(),
            Arc::new(self.truncated.finish()),
            self.source.finish(),
            self.other.finish(),
            Arc::new(BooleanArray::from(vec![false; self.len])),
        ];
        self.len = 0;
        self.bytes = 0;
        RecordBatch::try_new(events_schema(), columns)
            .expect("one column per field of the schema, of its type, a value per row")
    }
}

fn time_builder() -> TimestampMicrosecondBuilder {
    TimestampMicrosecondBuilder::new().with_timezone("UTC")
}

/// What a row takes beside its text: keys, views, numbers.
const fn fixed_bytes() -> usize {
    let mut bytes = 0;
    let mut column = 0;
    while column < COLUMNS.len() {
        bytes += match COLUMNS[column].form {
            Form::Repeating | Form::Integer => 4,
            Form::Text => 16,
            Form::Time => 8,
            Form::Truth => 1,
        };
        column += 1;
    }
    bytes
}

/// A dictionary column. Neighbouring events mostly share their values, so a run of one value is
/// counted first and looked up once.
#[derive(Default)]
struct Repeating {
    builder: StringDictionaryBuilder<Int32Type>,
    value: String,
    is_null: bool,
    run: usize,
}

impl Repeating {
    /// Appends a value; returns the bytes of its text when it is not a repetition.
    fn push(&mut self, value: Option<&str>) -> usize {
        let same = match value {
            Some(text) => !self.is_null && text == self.value,
            None => self.is_null,
        };
        if same && self.run > 0 {
            self.run += 1;
            return 0;
        }
        self.flush();
        self.run = 1;
        self.is_null = value.is_none();
        self.value.clear();
        self.value.push_str(value.unwrap_or_default());
        self.value.len()
    }

    fn flush(&mut self) {
        match self.run {
            0 => {}
            run if self.is_null => self.builder.append_nulls(run),
            run => self.builder.append_values(&self.value, run),
        }
        self.run = 0;
    }

    fn finish(&mut self) -> ArrayRef {
        self.flush();
        Arc::new(self.builder.finish())
    }
}

/// A column of string views.
#[derive(Default)]
struct Text {
    builder: StringViewBuilder,
}

impl Text {
    /// Appends a value; returns the bytes of its text.
    fn push(&mut self, value: Option<&str>) -> usize {
        self.builder.append_option(value);
        value.map_or(0, str::len)
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(self.builder.finish())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};

    use super::*;

    fn check(users: &[Option<&str>], expected: &[Option<&str>], distinct: usize) {
        let mut rows = Rows::new();
        for user in users {
            rows.push(&EventRow { user_name: *user, ..EventRow::default() });
        }
        assert_eq!(rows.len(), users.len());
        let batch = rows.finish();
        assert!(rows.is_empty() && rows.bytes() == 0);
        let column = batch.column_by_name("user_name").unwrap().as_dictionary::<Int32Type>();
        let texts = column.downcast_dict::<arrow::array::StringArray>().unwrap();
        assert_eq!(texts.into_iter().collect::<Vec<_>>(), expected);
        assert_eq!(column.values().len(), distinct);
    }

    #[test]
    fn runs_of_values_keep_their_order() {
        let (a, b) = (Some("a"), Some("b"));
        check(&[a, a, b, None, None, a], &[a, a, b, None, None, a], 2);
        check(&[None, a, None], &[None, a, None], 1);
        check(&[Some(""), None, Some("")], &[Some(""), None, Some("")], 1);
        check(&[], &[], 0);
    }

    #[test]
    fn a_second_batch_starts_from_nothing() {
        let mut rows = Rows::new();
        rows.push(&EventRow { verb: Some("get"), ..EventRow::default() });
        let first = rows.finish();
        assert_eq!(rows.finish().num_rows(), 0);
        rows.push(&EventRow { verb: Some("get"), ..EventRow::default() });
        assert_eq!(rows.finish(), first);
    }

    #[test]
    fn bytes_grow_with_the_text() {
        let mut rows = Rows::new();
        rows.push(&EventRow { request_object: Some("{}"), ..EventRow::default() });
        let small = rows.bytes();
        rows.push(&EventRow { request_object: Some(&"x".repeat(10_000)), ..EventRow::default() });
        assert!(rows.bytes() - small >= 10_000);
    }
}
