//! Metrics of topics that are read.

use super::{BySource, Metrics};

impl Metrics {
    /// A source is in use: its counters are shown from now on.
    pub fn kafka_source(&self, source: &str) {
        let label = BySource { source: source.to_owned() };
        for counter in [&self.kafka_records, &self.kafka_bytes, &self.kafka_unnamed] {
            drop(counter.get_or_create(&label));
        }
    }

    /// A record of so many bytes was read.
    pub fn kafka_record(&self, source: &str, bytes: usize) {
        let label = BySource { source: source.to_owned() };
        self.kafka_records.get_or_create(&label).inc();
        self.kafka_bytes.get_or_create(&label).inc_by(bytes as u64);
    }

    /// A record named no cluster, or one that cannot be, and went to the source's own.
    pub fn kafka_unnamed(&self, source: &str) {
        self.kafka_unnamed.get_or_create(&BySource { source: source.to_owned() }).inc();
    }

    pub(super) fn register_kafka(&mut self) {
        let registry = &mut self.registry;
        let help = "Records of topics that were read";
        registry.register("ingest_kafka_records", help, self.kafka_records.clone());
        let help = "Bytes of records that were read";
        registry.register("ingest_kafka_bytes", help, self.kafka_bytes.clone());
        let help = "Records that named no cluster that can be, and went to the source's own";
        registry.register("ingest_kafka_unnamed_records", help, self.kafka_unnamed.clone());
    }
}
