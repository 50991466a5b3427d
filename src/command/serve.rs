//! `auditmill serve`: builds every step, joins them, waits for a signal or a failed task, stops
//! in order.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json_path::JsonPath;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use super::{BadDetections, Verdict};
use crate::alert::jsonl;
use crate::cli::ServeArgs;
use crate::config::history::Redact;
use crate::config::{Settings, Sink, Source};
use crate::detect::catalog::Catalog;
use crate::detect::engine::{Engine, EngineSettings, Pace};
use crate::detect::watermark::Patience;
use crate::event::seen::{Horizon, Seen};
use crate::findings::quarantine::Quarantine;
use crate::findings::store::{Store, StoreSettings};
use crate::history::flush::{Around, FlushSettings, History};
use crate::history::hot::Hot;
use crate::history::location::Location;
use crate::history::redact::{BodyRule, Redactor};
use crate::history::upkeep::UpkeepSettings;
use crate::http::auth::Gate;
use crate::http::health::Ready;
use crate::http::routes::{Shared, router};
use crate::http::server::Server;
use crate::ingest::accept::Door;
use crate::ingest::budget::Budget;
use crate::ingest::tail::{FileSource, Tail};
use crate::journal::disk::Folder;
use crate::journal::{Journal, JournalSettings, Position, Writer};
use crate::metrics::Metrics;
use crate::pipeline::Pipeline;
use crate::query::service::{Limits, QueryService};
use crate::tasks::Tasks;

/// How long requests under way and the pipeline get to end well.
const STOP_GRACE: Duration = Duration::from_secs(20);

/// Runs the service until SIGTERM or SIGINT.
///
/// # Errors
/// When settings or detections are wrong, or a part of the service failed.
pub fn run(args: &ServeArgs) -> Result<Verdict> {
    let settings = args.settings()?;
    let service = Service::build(&settings, &args.data)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let verdict = runtime.block_on(service.run());
    runtime.shutdown_background();
    verdict
}

/// Every part, built and joined, nothing running yet.
struct Service {
    server: Server,
    shared: Arc<Shared>,
    journal: Arc<Journal>,
    writer: Writer,
    pipeline: Pipeline,
    history: History,
    flush: FlushSettings,
    journal_space: u64,
    store: Arc<Store>,
    ready: Ready,
    sinks: Vec<Sink>,
    tails: Vec<Tail>,
    _lock: File,
}

impl Service {
    fn build(settings: &Settings, data: &Path) -> Result<Self> {
        check(settings)?;
        let catalog = Catalog::load(settings.detect.dir.as_deref()).map_err(BadDetections)?;
        let engine = Engine::new(&catalog, engine_settings(settings)).map_err(BadDetections)?;
        info!(detections = catalog.detections().count(), "detections loaded");
        let server = Server::bind(&settings.http, &settings.auth)?;
        let lock = lock(data)?;
        let hot = Arc::new(Hot::new(bytes(settings.history.memory)));
        let history = history(settings, data, &hot)?;
        let (journal, writer) = journal(settings, data, history.position())?;

        let budget = Budget::new(settings.ingest.budget.as_u64());
        let clusters_max = settings.ingest.clusters_max;
        let door = Arc::new(Door::new(Arc::clone(&journal), budget, clusters_max));
        let store = Arc::new(Store::open(&data.join("findings.db"), store_settings(settings))?);
        let quarantine = data.join("quarantine");
        let quarantine = Quarantine::open(&quarantine, settings.history.quarantine.as_u64())
            .with_context(|| format!("open quarantine `{}`", quarantine.display()))?;
        let quarantine = Arc::new(quarantine);
        let metrics = Arc::new(Metrics::new());
        let ready = Ready::default();
        let query = QueryService::new(history.table(), &store, &quarantine, limits(settings));
        let shared = Shared {
            door: Arc::clone(&door),
            store: Arc::clone(&store),
            query: query.context("set up SQL")?,
            metrics: Arc::clone(&metrics),
            ready: ready.clone(),
            body_bytes_max: bytes(settings.http.body_bytes_max),
            body_timeout: settings.http.body_timeout.0,
            gate: Gate::new(&settings.auth),
        };
        let ingest = &settings.ingest;
        let pipeline = Pipeline {
            journal: Arc::clone(&journal),
            door,
            engine,
            deliveries: Horizon::new(ingest.duplicates_events_max, ingest.deliveries_span.micros()),
            seen: Seen::new(ingest.duplicates_events_max, ingest.duplicates_span.micros()),
            past: history.past(),
            written: history.position(),
            hot,
            store: Arc::clone(&store),
            quarantine,
            metrics,
        };
        let sinks = sinks(settings, data);
        let tails = tails(settings, data, &shared)?;
        let shared = Arc::new(shared);
        Ok(Self {
            server,
            shared,
            journal,
            writer,
            pipeline,
            history,
            flush: flush_settings(settings)?,
            journal_space: settings.journal.space.as_u64(),
            store,
            ready,
            sinks,
            tails,
            _lock: lock,
        })
    }

    async fn run(self) -> Result<Verdict> {
        let tasks = Tasks::new();
        let mut terminate = signal(SignalKind::terminate()).context("wait for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("wait for signals")?;
        for sink in self.sinks {
            let Sink::Jsonl { path, name } = sink;
            let out = jsonl::open(&path)
                .with_context(|| format!("open sink `{name}`: `{}`", path.display()))?;
            let store = Arc::clone(&self.store);
            let runtime = Handle::current();
            tasks.spawn_thread("sink", move || jsonl::follow(&store, &runtime, out))?;
        }
        let (writer, pipeline, stop) = (self.writer, self.pipeline, tasks.stop().clone());
        tasks.spawn_thread("journal", move || writer.run().context("write the journal"))?;
        tasks.spawn_thread("pipeline", move || Ok(pipeline.run(&stop)?))?;
        let around = around(&self.journal, self.journal_space, &self.store, &self.shared.metrics);
        let (history, flush) = (self.history, self.flush);
        tasks.spawn_thread("history", move || history.run(&flush, around))?;
        for tail in self.tails {
            let (runtime, stop) = (Handle::current(), tasks.stop().clone());
            tasks.spawn_thread("tail", move || {
                tail.run(&runtime, &stop);
                Ok(())
            })?;
        }
        let (url, stop_server) = (self.server.url(), self.server.stopper());
        let serving = self.server.serve(router(self.shared));
        tasks.spawn("http", async { Ok(serving.await?) });
        self.ready.set(true);
        info!("listening on {url}");

        tokio::select! {
            () = tasks.stop().cancelled() => {}
            () = either(&mut terminate, &mut interrupt) => info!("stopping"),
        }
        self.ready.set(false);
        tasks.stop().cancel();
        stop_server(STOP_GRACE / 2);
        self.journal.close();
        tokio::select! {
            well = tasks.finished() => {
                if !well {
                    bail!("a part of the service failed, see the log");
                }
            }
            () = tokio::time::sleep(STOP_GRACE) => warn!("gave up waiting for the last work"),
            () = either(&mut terminate, &mut interrupt) => warn!("stopped at once, as asked"),
        }
        info!("stopped");
        Ok(Verdict::Done)
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

fn engine_settings(settings: &Settings) -> EngineSettings {
    let detect = &settings.detect;
    EngineSettings {
        pace: Pace::Live,
        patience: Patience {
            lateness: detect.lateness.micros(),
            skew: detect.skew.micros(),
            idle_after: detect.idle_after.micros(),
        },
        hold: detect.hold.micros(),
        buffer_bytes_max: bytes(detect.buffer),
    }
}

/// The configured sinks; without any, standard output and a file in the data directory.
fn sinks(settings: &Settings, data: &Path) -> Vec<Sink> {
    if !settings.sinks.is_empty() {
        return settings.sinks.clone();
    }
    let jsonl = |name: &str, path: PathBuf| Sink::Jsonl { name: name.to_owned(), path };
    vec![jsonl("stdout", PathBuf::from("-")), jsonl("data", data.join("findings.jsonl"))]
}

fn check(settings: &Settings) -> Result<()> {
    let (budget, body_max) = (settings.ingest.budget, settings.http.body_bytes_max);
    if budget < body_max {
        bail!(
            "`[ingest] budget` ({budget}) is below `[http] body_bytes_max` ({body_max}): the \
             largest delivery could never be taken; raise the one or lower the other"
        );
    }
    let (space, segment) = (settings.journal.space, settings.journal.segment);
    if space.as_u64() / 2 < segment.as_u64() {
        bail!(
            "`[journal] space` ({space}) has no room for two files of `[journal] segment` \
             ({segment}): raise the one or lower the other"
        );
    }
    Ok(())
}

/// Creates the data directory, for its owner only, and takes it for this process.
pub(super) fn lock(data: &Path) -> Result<File> {
    let fail = || format!("use data directory `{}`", data.display());
    let create = DirBuilder::new().recursive(true).mode(0o700).create(data);
    create.with_context(fail)?;
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(data.join("lock")).with_context(fail)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "data directory `{}` is in use by another process: stop that, or choose another \
             `--data`",
            data.display()
        ),
        Err(TryLockError::Error(error)) => Err(error).with_context(fail),
    }
}

fn history(settings: &Settings, data: &Path, hot: &Arc<Hot>) -> Result<History> {
    Ok(History::open(location(settings, data)?, Arc::clone(hot))?)
}

/// The history of this data directory, or where the settings say.
pub(super) fn location(settings: &Settings, data: &Path) -> Result<Location> {
    let folder = data.join("history");
    Ok(match &settings.history.url {
        Some(url) if url.contains("://") => Location::url(url, &settings.history.options),
        Some(path) => Location::folder(Path::new(path)),
        None => Location::folder(&folder),
    }?)
}

pub(super) fn flush_settings(settings: &Settings) -> Result<FlushSettings> {
    let history = &settings.history;
    let (keep, space) = (history.keep.0, history.space.as_u64());
    let path = |text: &String| {
        JsonPath::parse(text)
            .with_context(|| format!("`[[history.redact]] paths`: `{text}` is not a JSON path"))
    };
    let rule = |rule: &Redact| {
        let paths = rule.paths.iter().map(path).collect::<Result<_>>()?;
        Ok(BodyRule { resource: rule.resource.clone(), paths })
    };
    let bodies = history.redact.iter().map(rule).collect::<Result<_>>()?;
    Ok(FlushSettings {
        bytes: bytes(history.flush_bytes),
        age: history.flush_after.0,
        redactor: Redactor { bodies, exec_arguments: history.redact_exec_arguments },
        upkeep: UpkeepSettings {
            keep: Some(keep).filter(|keep| !keep.is_zero()),
            bytes_max: Some(space).filter(|space| *space > 0),
        },
    })
}

/// The order of the stores: findings first, then history, then the journal forgets.
fn around(
    journal: &Arc<Journal>,
    space: u64,
    store: &Arc<Store>,
    metrics: &Arc<Metrics>,
) -> Around {
    let (journal, filling) = (Arc::clone(journal), Arc::clone(journal));
    let (store, wrote, failed) = (Arc::clone(store), Arc::clone(metrics), Arc::clone(metrics));
    Around {
        before: Box::new(move |_| Ok(store.sync()?)),
        after: Box::new(move |position| journal.truncate(position)),
        urgent: Box::new(move || filling.bytes() > space / 2),
        wrote: Box::new(move |rows, bytes| wrote.history_written(rows, bytes)),
        failed: Box::new(move || failed.history_failed()),
    }
}

pub(super) fn journal(
    settings: &Settings,
    data: &Path,
    first: Position,
) -> Result<(Arc<Journal>, Writer)> {
    let path = data.join("journal");
    let fail = || format!("open journal `{}`", path.display());
    let disk = Folder::open(&path).with_context(fail)?;
    let journal_settings = JournalSettings {
        segment_bytes: settings.journal.segment.as_u64(),
        reserve_bytes: settings.journal.reserve.as_u64(),
        space_bytes: settings.journal.space.as_u64(),
        first,
        tail_bytes: bytes(settings.journal.memory),
        ..JournalSettings::default()
    };
    let opened = Journal::open(Arc::new(disk), journal_settings).with_context(fail)?;
    let (journal, writer) = opened;
    if journal.position() < first {
        bail!(
            "history has all events up to journal record {first}, but the journal `{}` ends at \
             {}: they do not belong together; move the journal aside to go on with the history",
            path.display(),
            journal.position()
        );
    }
    info!(first = journal.first(), next = journal.position(), "journal opened");
    Ok((Arc::new(journal), writer))
}

pub(super) fn store_settings(settings: &Settings) -> StoreSettings {
    let history = &settings.history;
    StoreSettings {
        findings_max: history.findings_max as u64,
        keep: history.findings_keep.micros(),
    }
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        memory_bytes: bytes(settings.query.memory),
        timeout: settings.query.timeout.0,
        concurrent_max: settings.query.concurrent_max,
    }
}

/// The configured logs; nothing is read yet.
fn tails(settings: &Settings, data: &Path, shared: &Shared) -> Result<Vec<Tail>> {
    let tail = |Source::File { name, path, cluster }: &Source| {
        let name = name.as_str().to_owned();
        let line_bytes_max = bytes(settings.http.body_bytes_max).max(1);
        let (path, cluster) = (path.clone(), cluster.clone());
        let source = FileSource { name, path, cluster, line_bytes_max };
        let (door, metrics) = (Arc::clone(&shared.door), Arc::clone(&shared.metrics));
        Ok(Tail::open(source, data, door, metrics)?)
    };
    settings.sources.iter().map(tail).collect()
}

fn bytes(size: bytesize::ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}
