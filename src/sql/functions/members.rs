//! JSON read member by member: what is asked for is found, the rest is passed over unbuilt.
//!
//! Nothing here recurses, however deep the text nests.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The text of one member of an object; the last of equal ones, as the API server reads it.
/// `None` when there is none and when the text is no object.
pub(super) fn member<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    serde_json::Deserializer::from_str(json).deserialize_map(MemberOf(name)).ok().flatten()
}

struct MemberOf<'n>(&'n str);

impl<'de> Visitor<'de> for MemberOf<'_> {
    type Value = Option<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(wanted) = members.next_key_seed(Is(self.0))? {
            let value = members.next_value::<&'de RawValue>()?;
            if wanted {
                found = Some(value.get());
            }
        }
        Ok(found)
    }
}

/// Whether a string is this, without keeping the string.
#[derive(Clone, Copy)]
pub(super) struct Is<'n>(pub(super) &'n str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
        Ok(text == self.0)
    }
}
