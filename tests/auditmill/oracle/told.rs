//! What a finding says, whoever says it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use auditmill::detect::evidence::EventRef;
use auditmill::detect::finding::Finding;
use auditmill::detect::value::Value;
use sha2::{Digest as _, Sha256};

use super::plain::Row;

/// What findings say, by id.
pub(super) type Said = BTreeMap<String, Told>;

/// All fields of a finding but its id and status.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    pub(super) detection: String,
    pub(super) cluster: String,
    pub(super) key: Row,
    pub(super) row: Row,
    pub(super) summary: String,
    pub(super) count: u64,
    pub(super) shown: Vec<EventRef>,
    pub(super) first: Option<EventRef>,
    pub(super) last: Option<EventRef>,
    pub(super) incomplete: bool,
}

fn named(row: &auditmill::detect::row::Row) -> Row {
    row.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect()
}

impl Told {
    pub(super) fn of(finding: &Finding) -> Self {
        Self {
            detection: finding.detection.id.clone(),
            cluster: finding.cluster.clone(),
            key: named(&finding.key),
            row: named(&finding.row),
            summary: finding.summary(),
            count: finding.evidence.count(),
            shown: finding.evidence.shown(),
            first: finding.evidence.first(),
            last: finding.evidence.last(),
            incomplete: finding.incomplete,
        }
    }

    /// What is told of these events: the row that is shown, and the earliest three and the latest
    /// two of them.
    pub(super) fn by_definition(
        (detection, cluster): (&str, &str),
        key: Row,
        summary: String,
        row: Row,
        all: &BTreeSet<EventRef>,
    ) -> Self {
        let shown: BTreeSet<EventRef> =
            all.iter().take(3).chain(all.iter().rev().take(2)).cloned().collect();
        Self {
            detection: detection.to_owned(),
            cluster: cluster.to_owned(),
            key,
            row,
            summary,
            count: all.len() as u64,
            shown: shown.into_iter().collect(),
            first: all.first().cloned(),
            last: all.last().cloned(),
            incomplete: false,
        }
    }
}

/// The id of a finding: written here again, because it must never change.
pub(super) fn identity(detection: &str, cluster: &str, key: &[Value], bucket: i64) -> String {
    fn text(bytes: &mut Vec<u8>, text: &str) {
        bytes.push(4);
        bytes.extend((text.len() as u64).to_be_bytes());
        bytes.extend(text.as_bytes());
    }
    let mut bytes = Vec::new();
    text(&mut bytes, detection);
    text(&mut bytes, cluster);
    for value in key {
        match value {
            Value::Null => bytes.push(0),
            Value::Bool(value) => bytes.extend([1, u8::from(*value)]),
            Value::Int(value) => {
                bytes.push(2);
                bytes.extend(value.to_be_bytes());
            }
            Value::Text(value) => text(&mut bytes, value),
            Value::Float(value) => panic!("no subject has such a key: {value:?}"),
        }
    }
    bytes.push(2);
    bytes.extend(bucket.to_be_bytes());
    let digest: Vec<u8> = Sha256::digest(&bytes).iter().take(16).copied().collect();
    let digest: [u8; 16] = digest.try_into().unwrap();
    format!("{:032x}", u128::from_be_bytes(digest))
}

/// The sentence: each `{{column}}` is the row's value, cut after 200 characters, its control
/// characters written out.
pub(super) fn sentence(describe: &str, row: &Row) -> String {
    let mut pieces = describe.trim().split("{{");
    let mut sentence = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once("}}").expect("braces come in pairs");
        let (_, value) = row.iter().find(|(column, _)| column == name).expect("a column");
        for (at, char) in value.to_string().chars().enumerate().take(201) {
            if at == 200 {
                sentence.push('…');
            } else if char.is_control() {
                write!(sentence, "\\u{{{:x}}}", u32::from(char)).unwrap();
            } else {
                sentence.push(char);
            }
        }
        sentence.push_str(rest);
    }
    sentence
}
