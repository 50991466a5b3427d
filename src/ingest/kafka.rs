//! Topics of Kafka, as one of a consumer group: `[[source]] type = "kafka"`.
//!
//! Promise: an offset is committed after the journal has the records below it, never before. What
//! was read and not committed when we were killed, or when a partition went to another member, is
//! read again: repeats are told by the horizons of duplicates, as those of any sender.
//!
//! Never: it keeps no more than one batch and what the client fetched ahead, both bounded; while
//! the door says no, partitions are paused, and the group is kept by asking on.
//!
//! A record may be any body that the webhook takes. Records that are one line of JSON each are
//! handed on together, others alone, so that what is damaged cannot spoil a neighbour; what cannot
//! be read is quarantined behind the door. Records without a value are passed over.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::record::{Taken, is_line};
pub use self::source::{KafkaSource, Naming, source_word};
use super::accept::{Door, RawBatch, Refusal};
use crate::clock::now_micros;
use crate::event::ClusterName;
use crate::metrics::Metrics;

/// A record, and what of it matters.
mod record;

/// What is read.
mod source;

/// Records that are handed on together.
const BATCH_BYTES: usize = 1 << 20;
/// So many records are handed on together at most.
const BATCH_RECORDS: usize = 10_000;
/// How long a look for records may take.
const POLL: Duration = Duration::from_millis(100);
/// While more records of the journal than this wait to be processed, topics wait ...
const RECORDS_WAITING_MAX: u64 = 16;
/// ... for so many looks, because small deliveries may keep the number up for ever.
const WAITS_MAX: u32 = 100;
/// How long such a wait is.
const WAIT: Duration = Duration::from_millis(10);
/// How long a client that cannot go on rests before there is another.
const REST: Duration = Duration::from_secs(1);

/// One of a group that reads topics.
pub struct Consume {
    source: KafkaSource,
    door: Arc<Door>,
    metrics: Arc<Metrics>,
    consumer: BaseConsumer<Told>,
    /// Lines of each cluster that are to be handed on together.
    lines: BTreeMap<ClusterName, Vec<u8>>,
    /// What the door does not have yet beside them.
    waiting: VecDeque<Delivery>,
    /// What is to be committed when the door has all of `waiting`: the next offset to read.
    offsets: Offsets,
    /// What was committed last.
    committed: Offsets,
    paused: bool,
    waits: u32,
    complaint: Option<String>,
}

impl std::fmt::Debug for Consume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consume").field("source", &self.source).finish_non_exhaustive()
    }
}

/// By topic and partition, the next offset to read.
type Offsets = BTreeMap<(String, i32), i64>;

/// A body for the door.
#[derive(Debug)]
struct Delivery {
    cluster: ClusterName,
    body: Bytes,
}

/// What the client tells beside records.
struct Told;

impl ClientContext for Told {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        debug!(?level, facility, message, "kafka");
    }

    /// Errors of brokers that are away come as results of looks, too.
    fn error(&self, error: KafkaError, reason: &str) {
        debug!(%error, reason, "kafka");
    }
}

impl ConsumerContext for Told {
    fn commit_callback(&self, result: Result<(), KafkaError>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            // The next commit has it too; until then a crash repeats more.
            debug!(%error, "offsets are not committed");
        }
    }
}

impl Consume {
    /// Gets ready to read. Brokers need not be there yet.
    ///
    /// # Errors
    /// When an option or a topic cannot be used.
    pub fn open(
        source: KafkaSource,
        door: Arc<Door>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, KafkaError> {
        let consumer = consumer(&source)?;
        metrics.kafka_source(&source.name);
        Ok(Self {
            source,
            door,
            metrics,
            consumer,
            lines: BTreeMap::new(),
            waiting: VecDeque::new(),
            offsets: Offsets::new(),
            committed: Offsets::new(),
            paused: false,
            waits: 0,
            complaint: None,
        })
    }

    /// Reads until `stop` is cancelled. Blocks its thread, which must not be one of the runtime's.
    pub fn run(mut self, runtime: &Handle, stop: &CancellationToken) {
        info!(source = self.source.name, topics = ?self.source.topics, "reading topics");
        while !stop.is_cancelled() {
            if self.consumer.client().fatal_error().is_some() {
                self.renew(runtime, stop);
                continue;
            }
            if self.waiting.is_empty() && self.offsets.is_empty() {
                self.gather();
            }
            if !self.hand_on(runtime) {
                self.wait(runtime, stop);
                continue;
            }
            if !self.offsets.is_empty() {
                self.committed = std::mem::take(&mut self.offsets);
                self.commit(CommitMode::Async);
            }
            self.resume();
        }
        // What waits is not committed: it is read again. The last commit may be on its way.
        if !self.committed.is_empty() {
            self.commit(CommitMode::Sync);
        }
    }

    /// Takes what there is, up to a batch.
    fn gather(&mut self) {
        let mut patience = POLL;
        let (mut records, mut bytes) = (0, 0);
        while records < BATCH_RECORDS && bytes < BATCH_BYTES {
            let Some(length) = self.look(patience) else { return };
            records += 1;
            bytes += length;
            patience = Duration::ZERO;
        }
    }

    /// Takes one record, if there is one; gives its length.
    fn look(&mut self, patience: Duration) -> Option<usize> {
        let polled = self.consumer.poll(patience)?;
        let taken = match polled {
            Ok(message) => Ok(Taken::of(&self.source, &message)),
            Err(error) => Err(error.to_string()),
        };
        match taken {
            Ok(taken) => {
                self.settle(None);
                Some(self.take(taken))
            }
            // The end of a partition is not asked for; everything else passes, or somebody sets it
            // right.
            Err(error) => {
                self.settle(Some(error));
                None
            }
        }
    }

    fn take(&mut self, taken: Taken) -> usize {
        let Taken { place, next, cluster, is_named, body, passed_over } = taken;
        let name = &self.source.name;
        self.offsets.insert(place, next);
        self.metrics.kafka_record(name, body.len());
        if !is_named {
            self.metrics.kafka_unnamed(name);
        }
        if passed_over > 0 {
            warn!(source = name, bytes = passed_over, "rest of a record that is too long left out");
        }
        let length = body.len();
        if length == 0 {
            return 0;
        }
        if !is_line(&body) {
            self.waiting.push_back(Delivery { cluster, body: Bytes::from(body) });
            return length;
        }
        let lines = self.lines.entry(cluster.clone()).or_default();
        let lines_max = BATCH_BYTES.min(self.source.record_bytes_max);
        if !lines.is_empty() && lines.len() + length >= lines_max {
            let body = Bytes::from(std::mem::take(lines));
            self.waiting.push_back(Delivery { cluster, body });
        }
        lines.extend_from_slice(&body);
        lines.push(b'\n');
        length
    }

    /// Whether the door has all that was taken.
    fn hand_on(&mut self, runtime: &Handle) -> bool {
        for (cluster, lines) in std::mem::take(&mut self.lines) {
            if !lines.is_empty() {
                self.waiting.push_back(Delivery { cluster, body: Bytes::from(lines) });
            }
        }
        if self.waiting.is_empty() {
            return true;
        }
        if self.door.pending() > RECORDS_WAITING_MAX && self.waits < WAITS_MAX {
            self.waits += 1;
            return false;
        }
        self.waits = 0;
        let mut calls = Vec::new();
        for delivery in &self.waiting {
            let Ok(permit) = self.door.reserve(delivery.body.len()) else { break };
            let batch = RawBatch {
                cluster: delivery.cluster.clone(),
                source: self.source.word,
                received_at: now_micros(),
                body: delivery.body.clone(),
                permit,
            };
            calls.push(self.door.accept(batch));
        }
        let answers = runtime.block_on(futures::future::join_all(calls));
        let mut trouble = None;
        let mut left = VecDeque::new();
        let mut answers = answers.into_iter();
        for mut delivery in std::mem::take(&mut self.waiting) {
            match answers.next() {
                Some(Ok(_)) => continue,
                Some(Err(Refusal::Forbidden(message))) => {
                    // A name that a sender made up must not hold up others.
                    if delivery.cluster == self.source.cluster {
                        trouble = Some(message);
                    } else {
                        delivery.cluster = self.source.cluster.clone();
                        self.metrics.kafka_unnamed(&self.source.name);
                    }
                }
                Some(Err(Refusal::Busy { .. })) | None => {}
            }
            left.push_back(delivery);
        }
        self.waiting = left;
        if trouble.is_some() {
            self.settle(trouble);
        }
        self.waiting.is_empty()
    }

    /// Waits, and stays one of the group.
    fn wait(&mut self, runtime: &Handle, stop: &CancellationToken) {
        self.pause();
        // A partition that comes meanwhile is not paused yet: what it brings is held with the rest.
        if self.look(Duration::ZERO).is_some() {
            self.paused = false;
        }
        runtime.block_on(async {
            stop.run_until_cancelled(tokio::time::sleep(WAIT)).await;
        });
    }

    fn pause(&mut self) {
        if !self.paused {
            let paused = self.consumer.assignment().and_then(|all| self.consumer.pause(&all));
            self.paused = paused.is_ok();
        }
    }

    fn resume(&mut self) {
        if self.paused {
            let resumed = self.consumer.assignment().and_then(|all| self.consumer.resume(&all));
            self.paused = resumed.is_err();
        }
    }

    fn commit(&self, mode: CommitMode) {
        let mut places = TopicPartitionList::new();
        for ((topic, partition), next) in &self.committed {
            // Only an offset that cannot be is refused.
            let _ = places.add_partition_offset(topic, *partition, Offset::Offset(*next));
        }
        if let Err(error) = self.consumer.commit(&places, mode) {
            debug!(%error, "offsets are not committed");
        }
    }

    /// A client that has lost its way never works again; another one does.
    fn renew(&mut self, runtime: &Handle, stop: &CancellationToken) {
        let error = self.consumer.client().fatal_error().map(|(_, error)| error);
        self.settle(error);
        runtime.block_on(async {
            stop.run_until_cancelled(tokio::time::sleep(REST)).await;
        });
        match consumer(&self.source) {
            Ok(consumer) => {
                self.consumer = consumer;
                self.waiting.clear();
                self.lines.clear();
                self.offsets.clear();
                self.committed.clear();
                self.paused = false;
            }
            Err(error) => self.settle(Some(error.to_string())),
        }
    }

    /// Says once what is wrong, and once that it is over.
    fn settle(&mut self, trouble: Option<String>) {
        let name = &self.source.name;
        match &trouble {
            Some(error) if self.complaint.as_ref() != Some(error) => {
                warn!(source = name, error, "topics are not read");
            }
            None if self.complaint.is_some() => info!(source = name, "topics are read again"),
            _ => {}
        }
        self.complaint = trouble;
    }
}

fn consumer(source: &KafkaSource) -> Result<BaseConsumer<Told>, KafkaError> {
    let mut config = ClientConfig::new();
    // What is fetched ahead, in KiB and bytes.
    config.set("queued.max.messages.kbytes", "16384").set("fetch.max.bytes", "8388608");
    config.set("topic.metadata.refresh.interval.ms", "30000");
    for (name, value) in &source.options {
        config.set(name, value);
    }
    // What the promise rests on is not for the settings to change.
    config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    let consumer: BaseConsumer<Told> = config.create_with_context(Told)?;
    let topics: Vec<&str> = source.topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics)?;
    Ok(consumer)
}
