//! The lists and maps of an event, which are columns of JSON text: `has_group`, `annotation`.
//!
//! Read member by member; no tree is built.

use std::borrow::Cow;
use std::fmt;

use datafusion::error::Result;
use serde::Deserializer as _;
use serde::de::{SeqAccess, Visitor};

use super::members::{Is, member};
use super::text::{Argument, Gives, TextFunction, Value};

/// `has_group(groups, group)`
pub(super) struct HasGroup;

impl TextFunction for HasGroup {
    const NAME: &'static str = "has_group";
    const ARGUMENTS: &'static [Argument] = &[
        Argument { name: "groups", meaning: "A JSON list of strings, such as `user_groups`." },
        Argument { name: "group", meaning: "The exact name of a group." },
    ];
    const DESCRIPTION: &'static str = "Whether the list has the group as one of its members. NULL \
         if the text is not a JSON list of strings.";
    const EXAMPLE: &'static str = "has_group(user_groups, 'system:masters')";
    const GIVES: Gives = Gives::Boolean;
    type Prepared = String;

    fn prepare(argument: &str) -> Result<String> {
        Ok(argument.to_owned())
    }

    fn evaluate<'a>(group: &String, text: &'a str) -> Value<'a> {
        let mut reader = serde_json::Deserializer::from_str(text);
        reader.deserialize_seq(Contains(group)).ok().into()
    }
}

/// `annotation(annotations, key)`
pub(super) struct Annotation;

impl TextFunction for Annotation {
    const NAME: &'static str = "annotation";
    const ARGUMENTS: &'static [Argument] = &[
        Argument { name: "annotations", meaning: "A JSON object of strings: `annotations`." },
        Argument { name: "key", meaning: "The exact key; dots and slashes mean themselves." },
    ];
    const DESCRIPTION: &'static str = "The value of one audit annotation. NULL if there is none, \
         or if the text is not a JSON object.";
    const EXAMPLE: &'static str = "annotation(annotations, 'authentication.k8s.io/legacy-token')";
    const GIVES: Gives = Gives::Text;
    type Prepared = String;

    fn prepare(argument: &str) -> Result<String> {
        Ok(argument.to_owned())
    }

    fn evaluate<'a>(key: &String, text: &'a str) -> Value<'a> {
        let value = member(text, key).and_then(|value| serde_json::from_str(value).ok());
        value.map(Cow::<str>::Owned).into()
    }
}

/// Reads a list of strings to its end and says whether one of them is this.
struct Contains<'a>(&'a str);

impl<'de> Visitor<'de> for Contains<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of strings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some(equal) = items.next_element_seed(Is(self.0))? {
            found |= equal;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use crate::sql::functions::tests::{check, check_one};

    #[test]
    fn a_group_is_a_member_not_a_part_of_the_text() {
        let rows = [
            Some(r#"["dev","system:masters"]"#),
            Some(r#"["system:masters","dev"]"#),
            Some(r#"["not-system:masters","system:masters:x"]"#),
            Some(r#"["system\u003amasters"]"#),
            Some("[]"),
            Some("null"),
            Some(r#"{"system:masters":1}"#),
            Some("system:masters"),
            None,
        ];
        let expected = ["true", "true", "false", "true", "false", "NULL", "NULL", "NULL", "NULL"];
        check(&rows, "has_group({}, 'system:masters')", &expected);
    }

    #[test]
    fn an_annotation_is_told_by_its_exact_key() {
        let rows = [
            Some(r#"{"a.io/x":"1","a.io/x/y":"2"}"#),
            Some(r#"{"a":{"io/x":"1"}}"#),
            Some(r#"{"a.io\/x":"\"q\"\n"}"#),
            Some(r#"{"a.io/x":7}"#),
            Some("{}"),
            Some("[]"),
            Some("x"),
            None,
        ];
        let expected = ["1", "NULL", "\"q\"\n", "NULL", "NULL", "NULL", "NULL", "NULL"];
        check(&rows, "annotation({}, 'a.io/x')", &expected);
    }

    #[test]
    fn the_last_of_equal_keys_counts() {
        check_one(r#"{"k":"1","k":"2"}"#, "annotation({}, 'k')", "2");
    }

    #[test]
    fn a_missing_group_or_key_gives_null() {
        check_one("[]", "has_group({}, NULL)", "NULL");
        check_one("{}", "annotation({}, NULL)", "NULL");
    }
}
