//! Which topics are read, and whose events are in them.

use std::collections::BTreeMap;

use crate::event::ClusterName;

/// Topics to read.
#[derive(Clone)]
pub struct KafkaSource {
    /// Its name in messages and metrics.
    pub name: String,
    /// The topics.
    pub topics: Vec<String>,
    /// Options of librdkafka: brokers, group, secrets.
    pub options: BTreeMap<String, String>,
    /// Whose events these are, if a record does not say.
    pub cluster: ClusterName,
    /// What of a record says whose they are.
    pub naming: Naming,
    /// The column `source`: of [`source_word`].
    pub word: &'static str,
    /// The longest record that is handed on whole, in bytes; not zero.
    pub record_bytes_max: usize,
}

impl std::fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSource").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What of a record says whose events are in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Naming {
    /// Nothing.
    Fixed,
    /// Its key.
    Key,
    /// Its topic.
    Topic,
    /// The header of this name.
    Header(String),
}

/// The column `source` of records in this envelope: `kafka`, or `kafka:<format>`.
///
/// # Errors
/// In words, when there is no such format.
pub fn source_word(format: &str) -> Result<&'static str, String> {
    const WORDS: [&str; 6] = [
        "kafka:lines",
        "kafka:eventlist",
        "kafka:eks",
        "kafka:gke",
        "kafka:aks",
        "kafka:openshift",
    ];
    if format == "auto" {
        return Ok("kafka");
    }
    let named = |word: &&&str| word.strip_prefix("kafka:") == Some(format);
    WORDS.iter().find(named).copied().ok_or_else(|| {
        let known = WORDS.map(|word| word.trim_start_matches("kafka:")).join(", ");
        format!("format: `{format}` is not known, use auto or one of: {known}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_have_words() {
        assert_eq!(source_word("auto"), Ok("kafka"));
        assert_eq!(source_word("eks"), Ok("kafka:eks"));
        assert!(source_word("avro").unwrap_err().contains("one of: lines, eventlist, eks"));
    }
}
