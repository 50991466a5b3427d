//! Every metric, by name, one function each. Labels are bounded: clusters by the ingest limit,
//! detections by the catalogue, sources by the settings, reasons by their enums.

mod detections;
mod kafka;
mod query;

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCluster {
    cluster: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByClusterAndReason {
    cluster: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySource {
    source: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySink {
    sink: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySinkAndOutcome {
    sink: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByDetection {
    detection: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByDetectionAndCluster {
    detection: String,
    cluster: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByState {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByDetectionAndSeverity {
    detection: String,
    severity: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByException {
    exception: String,
}

/// All metrics of the service.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    deliveries: Family<ByCluster, Counter>,
    delivery_bytes: Family<ByCluster, Counter>,
    refused: Family<ByReason, Counter>,
    acknowledge: Histogram,
    file_bytes: Family<BySource, Counter>,
    file_truncations: Family<BySource, Counter>,
    file_gone: Family<BySource, Counter>,
    file_passed_over: Family<BySource, Counter>,
    kafka_records: Family<BySource, Counter>,
    kafka_bytes: Family<BySource, Counter>,
    kafka_unnamed: Family<BySource, Counter>,
    events: Family<ByCluster, Counter>,
    duplicates: Family<ByCluster, Counter>,
    repeated: Family<ByCluster, Counter>,
    late: Family<ByCluster, Counter>,
    quarantined: Family<ByClusterAndReason, Counter>,
    passed_over: Family<ByCluster, Counter>,
    pending: Gauge<i64, AtomicI64>,
    watermark: Family<ByCluster, Gauge<f64, AtomicU64>>,
    findings: Family<ByDetectionAndSeverity, Counter>,
    faults: Family<ByDetection, Counter>,
    detection_rows: Family<ByDetection, Gauge<i64, AtomicI64>>,
    detection_seconds: Family<ByDetection, Gauge<f64, AtomicU64>>,
    detection_state: Family<ByDetection, Gauge<i64, AtomicI64>>,
    detection_keys: Family<ByDetection, Gauge<i64, AtomicI64>>,
    detection_learned: Family<ByDetectionAndCluster, Gauge<f64, AtomicU64>>,
    detections: Family<ByState, Gauge<i64, AtomicI64>>,
    detections_rejected: Gauge<i64, AtomicI64>,
    detections_reloads: Family<ByOutcome, Counter>,
    exempted: Family<ByException, Counter>,
    sink_deliveries: Family<BySinkAndOutcome, Counter>,
    sink_lag: Family<BySink, Gauge<i64, AtomicI64>>,
    journal_damaged: Gauge<i64, AtomicI64>,
    hot_rows: Gauge<i64, AtomicI64>,
    hot_bytes: Gauge<i64, AtomicI64>,
    history_rows: Counter,
    history_bytes: Counter,
    history_failures: Counter,
    query: query::Wires,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("auditmill"),
            deliveries: Family::default(),
            delivery_bytes: Family::default(),
            refused: Family::default(),
            acknowledge: Histogram::new(exponential_buckets(0.000_1, 2.0, 18)),
            file_bytes: Family::default(),
            file_truncations: Family::default(),
            file_gone: Family::default(),
            file_passed_over: Family::default(),
            kafka_records: Family::default(),
            kafka_bytes: Family::default(),
            kafka_unnamed: Family::default(),
            events: Family::default(),
            duplicates: Family::default(),
            repeated: Family::default(),
            late: Family::default(),
            quarantined: Family::default(),
            passed_over: Family::default(),
            pending: Gauge::default(),
            watermark: Family::default(),
            findings: Family::default(),
            faults: Family::default(),
            detection_rows: Family::default(),
            detection_seconds: Family::default(),
            detection_state: Family::default(),
            detection_keys: Family::default(),
            detection_learned: Family::default(),
            detections: Family::default(),
            detections_rejected: Gauge::default(),
            detections_reloads: Family::default(),
            exempted: Family::default(),
            sink_deliveries: Family::default(),
            sink_lag: Family::default(),
            journal_damaged: Gauge::default(),
            hot_rows: Gauge::default(),
            hot_bytes: Gauge::default(),
            history_rows: Counter::default(),
            history_bytes: Counter::default(),
            history_failures: Counter::default(),
            query: query::Wires::default(),
        };
        metrics.register_files();
        metrics.register_kafka();
        metrics.register_query();
        metrics.register_journal();
        metrics.register_detections();
        metrics.register_sinks();
        metrics.register();
        metrics
    }

    fn register_files(&mut self) {
        let registry = &mut self.registry;
        let help = "Bytes of logs taken";
        registry.register("ingest_file_bytes", help, self.file_bytes.clone());
        let help = "Times that a log was cut in place, so that lines may be lost";
        registry.register("ingest_file_truncations", help, self.file_truncations.clone());
        let help = "Rotated logs that were gone before they were known to be read to their end";
        registry.register("ingest_file_gone", help, self.file_gone.clone());
        let help = "Bytes of log lines that were too long, passed over";
        registry.register("ingest_file_passed_over_bytes", help, self.file_passed_over.clone());
    }

    fn register_journal(&mut self) {
        let help = "Files of the journal whose head is damaged, as of the start";
        self.registry.register("journal_damaged_files", help, self.journal_damaged.clone());
    }

    fn register_sinks(&mut self) {
        let registry = &mut self.registry;
        let help = "Findings sent to sinks, by what came of it";
        registry.register("sink_deliveries", help, self.sink_deliveries.clone());
        let help = "Findings that a sink has not been told of in their latest version";
        registry.register("sink_lag_findings", help, self.sink_lag.clone());
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("ingest_deliveries", "Deliveries taken", self.deliveries.clone());
        let help = "Bytes of deliveries taken";
        registry.register("ingest_delivery_bytes", help, self.delivery_bytes.clone());
        registry.register("ingest_refused", "Deliveries refused", self.refused.clone());
        let help = "Time from the first byte of a delivery to its acknowledgement";
        let acknowledge = self.acknowledge.clone();
        registry.register_with_unit("ingest_acknowledge", help, Unit::Seconds, acknowledge);
        registry.register("decode_events", "Audit events decoded", self.events.clone());
        let help = "Audit events that had been seen before and were not counted again";
        registry.register("decode_duplicate_events", help, self.duplicates.clone());
        let help = "Deliveries that came again, byte for byte, and were passed over";
        registry.register("decode_repeated_deliveries", help, self.repeated.clone());
        let help = "Audit events that came after the watermark";
        registry.register("detect_late_events", help, self.late.clone());
        let help = "Pieces of deliveries that could not be read, kept in the quarantine";
        registry.register("decode_quarantined", help, self.quarantined.clone());
        let help = "Records of clouds' wrappings that were not meant to be audit events";
        registry.register("decode_passed_over", help, self.passed_over.clone());
        let help = "Records acknowledged but not yet decoded, detected and stored";
        registry.register("pipeline_pending_records", help, self.pending.clone());
        let help = "Event time up to which windows are closed, seconds since 1970";
        registry.register("detect_watermark_seconds", help, self.watermark.clone());
        registry.register("findings_new", "Findings that are new", self.findings.clone());
        let help = "Batches that a detection failed to evaluate";
        registry.register("detect_faults", help, self.faults.clone());
        registry.register("history_hot_rows", "Rows held in memory", self.hot_rows.clone());
        registry.register("history_hot_bytes", "Bytes held in memory", self.hot_bytes.clone());
        let help = "Rows written to files";
        registry.register("history_rows", help, self.history_rows.clone());
        let help = "Bytes of the files that rows were written to";
        registry.register("history_bytes", help, self.history_bytes.clone());
        let help = "Failures to write or look after files, each tried again";
        registry.register("history_failures", help, self.history_failures.clone());
    }

    /// A delivery was taken.
    pub fn delivery(&self, cluster: &str, bytes: usize, seconds: f64) {
        let label = ByCluster { cluster: cluster.to_owned() };
        self.deliveries.get_or_create(&label).inc();
        self.delivery_bytes.get_or_create(&label).inc_by(bytes as u64);
        self.acknowledge.observe(seconds);
    }

    /// A delivery was refused.
    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&ByReason { reason }).inc();
    }

    /// A log is followed: its counters are there, at zero.
    pub fn file_source(&self, source: &str) {
        let label = BySource { source: source.to_owned() };
        let counters =
            [&self.file_bytes, &self.file_truncations, &self.file_gone, &self.file_passed_over];
        for counter in counters {
            drop(counter.get_or_create(&label));
        }
    }

    /// Lines of a log were taken.
    pub fn file_bytes(&self, source: &str, bytes: usize) {
        let label = BySource { source: source.to_owned() };
        self.file_bytes.get_or_create(&label).inc_by(bytes as u64);
    }

    /// A log was cut in place.
    pub fn file_truncated(&self, source: &str) {
        self.file_truncations.get_or_create(&BySource { source: source.to_owned() }).inc();
    }

    /// A log was gone before it was known to be read to its end.
    pub fn file_gone(&self, source: &str) {
        self.file_gone.get_or_create(&BySource { source: source.to_owned() }).inc();
    }

    /// A part of a log line that was too long was passed over.
    pub fn file_passed_over(&self, source: &str, bytes: u64) {
        let label = BySource { source: source.to_owned() };
        self.file_passed_over.get_or_create(&label).inc_by(bytes);
    }

    /// Events of a cluster were decoded.
    pub fn events(&self, cluster: &str, events: usize) {
        let label = ByCluster { cluster: cluster.to_owned() };
        self.events.get_or_create(&label).inc_by(events as u64);
    }

    /// Events had been seen before.
    pub fn duplicates(&self, cluster: &str, events: usize) {
        let label = ByCluster { cluster: cluster.to_owned() };
        self.duplicates.get_or_create(&label).inc_by(events as u64);
    }

    /// A delivery had come before.
    pub fn repeated(&self, cluster: &str) {
        self.repeated.get_or_create(&ByCluster { cluster: cluster.to_owned() }).inc();
    }

    /// Events came after the watermark.
    pub fn late(&self, cluster: &str, events: u64) {
        let label = ByCluster { cluster: cluster.to_owned() };
        self.late.get_or_create(&label).inc_by(events);
    }

    /// A piece of a delivery could not be read.
    pub fn quarantined(&self, cluster: &str, reason: &'static str) {
        let label = ByClusterAndReason { cluster: cluster.to_owned(), reason };
        self.quarantined.get_or_create(&label).inc();
    }

    /// Records around audit events were no events and not meant to be.
    pub fn passed_over(&self, cluster: &str, records: usize) {
        if records > 0 {
            let label = ByCluster { cluster: cluster.to_owned() };
            self.passed_over.get_or_create(&label).inc_by(records as u64);
        }
    }

    /// How many acknowledged records are not processed yet.
    pub fn pending(&self, records: u64) {
        self.pending.set(i64::try_from(records).unwrap_or(i64::MAX));
    }

    /// A cluster's watermark, microseconds since 1970.
    #[expect(clippy::cast_precision_loss, reason = "a gauge of seconds needs no more")]
    pub fn watermark(&self, cluster: &str, micros: i64) {
        let label = ByCluster { cluster: cluster.to_owned() };
        self.watermark.get_or_create(&label).set(micros as f64 / 1e6);
    }

    /// A finding was sent to a sink: `delivered`, `retried`, `refused` or `set_aside`.
    pub fn sink_delivery(&self, sink: &str, outcome: &'static str) {
        let label = BySinkAndOutcome { sink: sink.to_owned(), outcome };
        self.sink_deliveries.get_or_create(&label).inc();
    }

    /// How many findings a sink has not been told of in their latest version.
    pub fn sink_lag(&self, sink: &str, findings: u64) {
        let lag = self.sink_lag.get_or_create(&BySink { sink: sink.to_owned() });
        lag.set(i64::try_from(findings).unwrap_or(i64::MAX));
    }

    /// So many files of the journal have a damaged head.
    pub fn journal_damaged(&self, files: usize) {
        self.journal_damaged.set(i64::try_from(files).unwrap_or(i64::MAX));
    }

    /// Rows and bytes held in memory.
    pub fn hot(&self, rows: usize, bytes: usize) {
        self.hot_rows.set(i64::try_from(rows).unwrap_or(i64::MAX));
        self.hot_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Rows written to history, and bytes of their files.
    pub fn history_written(&self, rows: u64, bytes: u64) {
        self.history_rows.inc_by(rows);
        self.history_bytes.inc_by(bytes);
    }

    /// History could not be written or looked after; it will be tried again.
    pub fn history_failed(&self) {
        self.history_failures.inc();
    }

    /// The text that Prometheus scrapes (OpenMetrics).
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
