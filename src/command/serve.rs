//! `auditmill serve`: builds every step, joins them, waits for a signal or a failed task, stops
//! in order.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use datafusion::catalog::TableProvider;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use super::catalogue::address_files;
use super::parts::{
    around, bytes, check, engine_settings, history, journal, limits, lock, signed_flush_settings,
    signing_key, sinks, spill, store_settings,
};
use super::source::{Reader, readers};
use super::watch::{self, Look, Watch, look};
use super::wires::{self, Wires};
use super::{BadDetections, Verdict};
use crate::alert::head::{Heads, Publisher};
use crate::alert::outlet::Outlet;
use crate::alert::router::{self, Router};
use crate::cli::ServeArgs;
use crate::clock::now_micros;
use crate::config::Settings;
use crate::detect::addresses::Addresses;
use crate::detect::catalog::{Catalog, Sources};
use crate::detect::engine::Engine;
use crate::detect::in_use::InUse;
use crate::event::seen::{Horizon, Seen};
use crate::event::time::rfc3339;
use crate::findings::quarantine::Quarantine;
use crate::findings::questions::QuestionLog;
use crate::findings::store::Store;
use crate::history::flush::{FlushSettings, History};
use crate::history::hot::Hot;
use crate::history::opening::Opening;
use crate::history::recall::Recall;
use crate::history::replay::Past;
use crate::http::auth::Gate;
use crate::http::health::Ready;
use crate::http::routes::{Shared, router};
use crate::http::server::Server;
use crate::ingest::accept::Door;
use crate::ingest::budget::Budget;
use crate::journal::{Journal, Position, Writer};
use crate::metrics::Metrics;
use crate::pipeline::{Owed, Pipeline, Reload};
use crate::query::questions::questions_table;
use crate::query::service::QueryService;
use crate::query::tables::{Tables, tables};
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

/// How many detections there are, and which exceptions hide nothing any more: somebody counted on
/// them.
fn tell(catalog: &Catalog) {
    info!(detections = catalog.detections().count(), "detections loaded");
    for (detection, lacks) in catalog.lacking() {
        info!(detection = detection.id, reason = lacks, "detection is not evaluated");
    }
    let now = now_micros();
    for exception in catalog.exceptions().iter().filter(|exception| exception.is_expired(now)) {
        let (name, owner) = (&exception.name, &exception.owner);
        warn!(name, owner, expired = rfc3339(exception.expires), "exception has expired");
    }
}

/// The detections, ready to run.
struct Detections {
    /// What their files looked like.
    looked: Look,
    sources: Sources,
    catalog: Catalog,
    engine: Engine,
    in_use: Arc<InUse>,
    addresses: Addresses,
}

fn load(settings: &Settings) -> Result<Detections> {
    let (dir, files) = (settings.detect.dir.as_deref(), address_files(settings));
    // Files are looked at before they are read: what changes meanwhile is seen.
    let looked = look(dir.into_iter().chain(files.paths()));
    let addresses = files.read().map_err(BadDetections)?;
    let sources = Sources::read(dir);
    let catalog = sources.catalog().map_err(BadDetections)?;
    let catalog = catalog.supplied(&addresses).limited(&settings.detect.shipped);
    let engine = Engine::new(&catalog, engine_settings(settings)).map_err(BadDetections)?;
    tell(&catalog);
    let classes = engine.classes().map(|(id, class)| (id.to_owned(), class)).collect();
    let in_use = Arc::new(InUse::new(catalog.clone(), classes));
    Ok(Detections { looked, sources, catalog, engine, in_use, addresses })
}

/// Who looks after their files, and where what changed comes out.
fn watched(
    settings: &Settings,
    (looked, good, addresses): (Look, Sources, Addresses),
    in_use: &Arc<InUse>,
    shared: &Shared,
) -> (Option<Watch>, mpsc::Receiver<Reload>) {
    let (sender, reloads) = mpsc::sync_channel(1);
    let (dir, files) = (settings.detect.dir.clone(), address_files(settings));
    let is_any = dir.is_some() || files.paths().next().is_some();
    let watch = is_any.then(|| Watch {
        dir,
        files,
        shipped: settings.detect.shipped.clone(),
        looked,
        good,
        addresses,
        settings: engine_settings(settings),
        reloads: sender,
        in_use: Arc::clone(in_use),
        metrics: Arc::clone(&shared.metrics),
        query: Arc::clone(&shared.query),
    });
    (watch, reloads)
}

fn quarantine(settings: &Settings, data: &Path) -> Result<Quarantine> {
    let folder = data.join("quarantine");
    Quarantine::open(&folder, settings.history.quarantine.as_u64())
        .with_context(|| format!("open quarantine `{}`", folder.display()))
}

fn door(settings: &Settings, journal: &Arc<Journal>) -> Arc<Door> {
    let ingest = &settings.ingest;
    let budget = Budget::new(ingest.budget.as_u64());
    Arc::new(Door::new(Arc::clone(journal), budget, ingest.clusters_max))
}

fn store(settings: &Settings, data: &Path) -> Result<Arc<Store>> {
    let store = Store::open(&data.join("findings.db"), store_settings(settings))?;
    store.set_gap(settings.alert.incident_gap.micros());
    Ok(Arc::new(store))
}

fn outlets(
    settings: &Settings,
    data: &Path,
    store: &Arc<Store>,
    metrics: &Arc<Metrics>,
) -> Result<Vec<Outlet>> {
    let outlet = |sink| {
        let only = router::told(sink, &settings.routes)?;
        Outlet::open(sink, only, &settings.alert, (store, metrics), now_micros())
    };
    let outlets = sinks(settings, data).iter().map(outlet).collect::<Result<_>>()?;
    if let Err(error) = store.forget_sinks(now_micros()) {
        warn!(error = format!("{error:#?}"), "places of sinks that are gone are kept");
    }
    Ok(outlets)
}

fn query(
    settings: &Settings,
    data: &Path,
    mut tables: Tables,
    history: &Opening,
) -> Result<Arc<QueryService>> {
    // Who asked is known as long as what was found.
    let keep = settings.history.findings_keep.micros();
    let log = Arc::new(QuestionLog::open(&data.join(QuestionLog::FILE), keep, now_micros)?);
    tables.push(questions_table(&log));
    let query = QueryService::with_spill(tables, limits(settings), spill(settings, data)?);
    let whereabouts = history.whereabouts(signing_key(settings, data)?.public().clone());
    let query = query.context("set up SQL")?.with_log(log).with_whereabouts(whereabouts);
    Ok(Arc::new(query))
}

/// Every part, built and joined, nothing running yet.
struct Service {
    tasks: Tasks,
    server: Server,
    wires: Wires,
    shared: Arc<Shared>,
    journal: Arc<Journal>,
    writer: Writer,
    pipeline: Pipeline,
    history: Opening,
    flush: FlushSettings,
    journal_space: u64,
    store: Arc<Store>,
    ready: Ready,
    outlets: Vec<Outlet>,
    readers: Vec<Reader>,
    router: Router,
    heads: (Heads, Vec<Publisher>),
    watch: Option<Watch>,
    _lock: File,
}

impl Service {
    fn build(settings: &Settings, data: &Path) -> Result<Self> {
        check(settings)?;
        let tasks = Tasks::new();
        let Detections { looked, sources, catalog, engine, in_use, addresses } = load(settings)?;
        let server = Server::bind(&settings.http, &settings.auth)?;
        let ports = wires::listen(settings)?;
        let (lock, hot) = (lock(data)?, Arc::new(Hot::new(bytes(settings.history.memory))));
        let mut history = history(settings, data, &hot)?;
        let (journal, writer) =
            journal(settings, data, history.opened().map_or(0, History::position))?;
        history.check(journal.position())?;
        let ingest = &settings.ingest;
        let door = door(settings, &journal);
        let store = store(settings, data)?;
        let quarantine = Arc::new(quarantine(settings, data)?);
        let metrics = Arc::new(Metrics::new());
        let events: Arc<dyn TableProvider> = Arc::new(history.table());
        let both: [Arc<dyn TableProvider>; 2] = [Arc::clone(&events), Arc::new(history.minutes())];
        let tables = tables(both, &store, &quarantine, &in_use, now_micros)?;
        let shared = Shared {
            door: Arc::clone(&door),
            store: Arc::clone(&store),
            query: query(settings, data, tables, &history)?,
            metrics: Arc::clone(&metrics),
            ready: Ready::default(),
            body_bytes_max: bytes(settings.http.body_bytes_max),
            body_timeout: settings.http.body_timeout.0,
            gate: Gate::new(&settings.auth),
        };
        shared.query.supply(&addresses);
        let (watch, reloads) = watched(settings, (looked, sources, addresses), &in_use, &shared);
        let pipeline = Pipeline {
            journal: Arc::clone(&journal),
            door,
            catalog,
            engine,
            settings: engine_settings(settings),
            reloads,
            in_use,
            recall: Recall::new(events, Arc::new(history.table().without_imports())),
            owed: Owed::default(),
            rebuilding: None,
            deliveries: Horizon::new(ingest.duplicates_events_max, ingest.deliveries_span.micros()),
            seen: Seen::new(ingest.duplicates_events_max, ingest.duplicates_span.micros()),
            hot,
            store: Arc::clone(&store),
            quarantine,
            metrics: Arc::clone(&metrics),
            stop: tasks.stop().clone(),
        };
        let readers = readers(settings, data, &shared)?;
        Ok(Self {
            tasks,
            wires: ports.wires(settings, &server, &shared),
            server,
            ready: shared.ready.clone(),
            shared: Arc::new(shared),
            journal,
            writer,
            pipeline,
            history,
            flush: signed_flush_settings(settings, data)?,
            heads: Heads::open(&settings.history.publish, &settings.sinks)?,
            journal_space: settings.journal.space.as_u64(),
            router: Router::new(settings, &store)?,
            outlets: outlets(settings, data, &store, &metrics)?,
            store,
            readers,
            watch,
            _lock: lock,
        })
    }

    async fn run(self) -> Result<Verdict> {
        let tasks = self.tasks;
        self.shared.metrics.journal_damaged(self.journal.damaged().len());
        let mut terminate = signal(SignalKind::terminate()).context("wait for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("wait for signals")?;
        let (heads, publishers) = self.heads;
        for publisher in publishers {
            tasks.spawn("publisher", publisher.run());
        }
        for outlet in self.outlets {
            tasks.spawn("sink", outlet.run());
        }
        tasks.spawn("router", self.router.run());
        let (writer, pipeline) = (self.writer, self.pipeline);
        tasks.spawn_thread("journal", move || writer.run().context("write the journal"))?;
        let (opened, history) = mpsc::channel::<(Past, Position)>();
        tasks.spawn_thread("pipeline", move || {
            if let Ok((past, written)) = history.recv() {
                return Ok(pipeline.run(&past, written)?);
            }
            pipeline.close();
            Ok(())
        })?;
        let mut around =
            around(&self.journal, self.journal_space, &self.store, &self.shared.metrics, heads);
        let (history, flush, journal) = (self.history, self.flush, Arc::clone(&self.journal));
        let (runtime, stop) = (Handle::current(), tasks.stop().clone());
        tasks.spawn_thread("history", move || {
            let stopped = |wait| {
                runtime
                    .block_on(async { tokio::time::timeout(wait, stop.cancelled()).await.is_ok() })
            };
            let history = history.wait(journal.position(), stopped, &mut around.failed)?;
            let Some(history) = history else { return Ok(()) };
            // Nobody to receive it: the pipeline has failed, which stops the service.
            let _ = opened.send((history.past(), history.position()));
            drop(opened);
            history.run(&flush, around)
        })?;
        start(self.readers, &tasks)?;
        watch::start(self.watch, &tasks)?;
        self.wires.start(&tasks);
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

/// A thread for each source.
fn start(readers: Vec<Reader>, tasks: &Tasks) -> Result<()> {
    for reader in readers {
        let (runtime, stop) = (Handle::current(), tasks.stop().clone());
        tasks.spawn_thread("source", move || {
            reader.run(&runtime, &stop);
            Ok(())
        })?;
    }
    Ok(())
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
