//! A finding's evidence with its proof: what another machine checks without the history.
//!
//! JSON of [`Bundle`]. Each event's content leads over its place in its segment's tree to the root
//! that a statement names, the statement over its place in the log to the root that the checkpoint
//! signs. What is proven is that these rows were in the history as they are here, not that the
//! finding was made of them: it is beside them to be read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::key::VerifierKey;
use super::problem::{Kind, Problem};
use super::row;
use super::statement::{Segment, SegmentId, Statement, What};
use super::tree::{Hash, is_in};

/// The form of a bundle; a reader refuses others.
pub const FORMAT: u32 = 1;
/// A bundle of more bytes is not read.
pub const BYTES_MAX: u64 = 256 << 20;

/// A finding's evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// [`FORMAT`].
    pub format: u32,
    /// Version of the program that made it.
    pub program: String,
    /// The finding, as `/v1/findings` has it.
    pub finding: Json,
    /// The key to verify by: to be compared with what is known from elsewhere.
    pub key: String,
    /// The signed head of the log.
    pub checkpoint: String,
    /// The leaves that the events rest on.
    pub leaves: Vec<Leaf>,
    /// The events of the finding's evidence.
    pub events: Vec<Event>,
    /// Those of them that are not here.
    pub missing: Vec<Missing>,
}

/// A leaf of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaf {
    /// Its number.
    pub number: u64,
    /// Its bytes.
    pub statement: String,
    /// That it is in the log.
    pub proof: Vec<Hash>,
}

/// A row of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The event's id.
    pub event_id: String,
    /// The leaf that tells of its segment.
    pub leaf: u64,
    /// Its segment.
    pub segment: SegmentId,
    /// Its place in the segment.
    pub row: u64,
    /// Its columns that have a value.
    pub content: Map<String, Json>,
    /// That it is in the segment.
    pub proof: Vec<Hash>,
}

/// An event that is not here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Missing {
    /// The event's id.
    pub event_id: String,
    /// Why.
    pub why: String,
}

impl Bundle {
    /// What does not hold, by a key that is known to be the right one; nothing when all does.
    #[must_use]
    pub fn problems(&self, key: &VerifierKey) -> Vec<Problem> {
        let not = |what: String| Problem::new(Kind::NotProven, what);
        if self.format != FORMAT {
            let form = self.format;
            return vec![not(format!("the bundle is of form {form}, this version reads {FORMAT}"))];
        }
        let head = match key.open_head(self.checkpoint.as_bytes()) {
            Ok(head) => head,
            Err(why) => {
                return vec![Problem::new(Kind::OtherKey, format!("the checkpoint: {why}"))];
            }
        };
        let mut problems = Vec::new();
        let mut segments: BTreeMap<(u64, SegmentId), Segment> = BTreeMap::new();
        for leaf in &self.leaves {
            let (number, bytes) = (leaf.number, leaf.statement.as_bytes());
            if !is_in(&leaf.proof, head.size, head.root, number, Hash::of_leaf(bytes)) {
                let what = format!("leaf {number} is not in the log that the checkpoint signs");
                problems.push(not(what).of_leaf(Some(number)));
                continue;
            }
            if let Some(Statement { what: What::Came { segments: came, .. }, .. }) =
                Statement::parse(bytes)
            {
                segments.extend(came.into_iter().map(|segment| ((number, segment.id), segment)));
            }
        }
        for event in &self.events {
            let is_proven = segments.get(&(event.leaf, event.segment)).is_some_and(|of| {
                row::hash(&event.content)
                    .is_some_and(|hash| is_in(&event.proof, of.rows, of.root, event.row, hash))
                    && event.content.get("event_id").and_then(Json::as_str) == Some(&event.event_id)
            });
            if !is_proven {
                let (id, segment) = (&event.event_id, event.segment);
                let what = format!("event {id} is not in segment {segment} as it is here");
                problems.push(not(what).of_leaf(Some(event.leaf)).of_segment(segment));
            }
        }
        problems.extend(self.unspoken().map(|id| not(format!("event {id} is not in the bundle"))));
        problems
    }

    /// Events of the finding's evidence of which the bundle says nothing.
    fn unspoken(&self) -> impl Iterator<Item = &str> {
        let evidence = self.finding.get("evidence").and_then(Json::as_array);
        let ids =
            evidence.into_iter().flatten().filter_map(|event| event.get("event_id")?.as_str());
        ids.filter(|id| {
            self.events.iter().all(|event| event.event_id != *id)
                && self.missing.iter().all(|missing| missing.event_id != *id)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::SigningKey;
    use super::super::statement::File;
    use super::super::tree::{Frontier, Tree};
    use super::*;

    /// A bundle of the third of five rows of the fourth of six statements.
    fn bundle() -> (Bundle, VerifierKey) {
        let key = SigningKey::of(tempfile::tempdir().unwrap().path(), "k").unwrap();
        let content = |number: u64| {
            let json = serde_json::json!({"event_id": format!("e{number}"), "cluster": "c"});
            json.as_object().unwrap().clone()
        };
        let (mut rows, mut root) = (Tree::default(), Frontier::default());
        for number in 0..5 {
            let hash = row::hash(&content(number)).unwrap();
            rows.push(hash);
            root.push(hash);
        }
        let segment = Segment {
            id: SegmentId::new(9, 0).unwrap(),
            cluster: "c".to_owned(),
            day: String::new(),
            rows: 5,
            redacted: 0,
            events: (String::new(), String::new()),
            root: root.root(),
            marks: None,
            file: File { path: String::new(), bytes: 0, sha256: Hash::of(b"") },
        };
        let id = segment.id;
        let what = What::Came { position: None, redaction: vec![], segments: vec![segment] };
        let statement = Statement { version: 9, at: String::new(), what }.text();
        let (mut log, mut head) = (Tree::default(), Frontier::default());
        for number in 0..6 {
            let text = if number == 3 { &statement } else { "other" };
            log.push(Hash::of_leaf(text.as_bytes()));
            head.push(Hash::of_leaf(text.as_bytes()));
        }
        let leaf = Leaf { number: 3, statement, proof: log.proof(3).unwrap() };
        let event = Event {
            event_id: "e2".to_owned(),
            leaf: 3,
            segment: id,
            row: 2,
            content: content(2),
            proof: rows.proof(2).unwrap(),
        };
        let evidence = serde_json::json!({"evidence": [{"event_id": "e2"}, {"event_id": "e9"}]});
        let missing = Missing { event_id: "e9".to_owned(), why: "let go".to_owned() };
        let bundle = Bundle {
            format: FORMAT,
            program: String::new(),
            finding: evidence,
            key: key.public().text().to_owned(),
            checkpoint: key.sign_head(6, head.root()).unwrap().note,
            leaves: vec![leaf],
            events: vec![event],
            missing: vec![missing],
        };
        (bundle, key.public().clone())
    }

    #[test]
    fn what_is_changed_in_a_bundle_does_not_hold() {
        let (sound, key) = bundle();
        let text = serde_json::to_string(&sound).unwrap();
        assert_eq!(serde_json::from_str::<Bundle>(&text).unwrap().problems(&key), []);
        let check = |change: &dyn Fn(&mut Bundle), expected: &str| {
            let mut bundle = sound.clone();
            change(&mut bundle);
            let problems = bundle.problems(&key);
            assert!(problems.iter().any(|of| of.what.contains(expected)), "{problems:?}");
        };
        let other = |bundle: &mut Bundle| {
            bundle.events[0].content.insert("user_name".to_owned(), "eve".into());
        };
        check(&other, "event e2 is not in segment 9.0");
        check(&|bundle| bundle.events[0].row = 1, "event e2 is not in segment 9.0");
        check(&|bundle| bundle.events[0].event_id = "e3".to_owned(), "event e3 is not in segment");
        check(&|bundle| bundle.leaves[0].number = 2, "leaf 2 is not in the log");
        check(&|bundle| bundle.leaves[0].statement.push(' '), "leaf 3 is not in the log");
        check(&|bundle| bundle.leaves.clear(), "event e2 is not in segment 9.0");
        check(&|bundle| bundle.missing.clear(), "event e9 is not in the bundle");
        check(&|bundle| bundle.format = 2, "form 2");
        check(&|bundle| bundle.checkpoint = String::new(), "no signed note");
        let (others, _) = self::bundle();
        check(&|bundle| bundle.checkpoint.clone_from(&others.checkpoint), "not signed by this key");
    }
}
