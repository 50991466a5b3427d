//! Watches the folder of detections, and what they know of addresses, while the service runs:
//! changed files are read and planned here, then the pipeline goes on with them.
//!
//! Promise: a file that cannot be used changes nothing but what is said of it, in the log, in
//! `/metrics` and in the table `detections`: it stays in use as it was when it last could be, and
//! what changed in other files is taken. Only when that makes no whole does all stay as it was.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::detect::addresses::{AddressFiles, Addresses};
use crate::detect::catalog::Sources;
use crate::detect::detection::LoadError;
use crate::detect::engine::{Engine, EngineSettings};
use crate::detect::in_use::InUse;
use crate::metrics::Metrics;
use crate::pipeline::Reload;
use crate::query::service::QueryService;
use crate::tasks::Tasks;

/// How often it is looked whether files changed.
const INTERVAL: Duration = Duration::from_secs(2);

/// What the files below a folder look like, without their content: size and time of change; or
/// why they cannot be looked at.
pub(super) type Look = std::result::Result<BTreeMap<PathBuf, (u64, i64, i64)>, String>;

/// Looks at files, and at those below folders but hidden ones, as they are now.
pub(super) fn look<'a>(places: impl Iterator<Item = &'a Path>) -> Look {
    let mut seen = BTreeMap::new();
    for place in places {
        let mut folders = Vec::new();
        match std::fs::metadata(place) {
            Ok(of) if !of.is_dir() => drop(seen.insert(place.to_owned(), stamp(&of))),
            // What is not there is told as a folder that cannot be read.
            _ => folders.push(place.to_owned()),
        }
        while let Some(folder) = folders.pop() {
            look_into(&folder, &mut seen, &mut folders)
                .map_err(|error| format!("{}: {error}", folder.display()))?;
        }
    }
    Ok(seen)
}

fn stamp(of: &Metadata) -> (u64, i64, i64) {
    (of.size(), of.mtime(), of.mtime_nsec())
}

fn look_into(
    folder: &Path,
    seen: &mut BTreeMap<PathBuf, (u64, i64, i64)>,
    folders: &mut Vec<PathBuf>,
) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        // Of what a link names: that is what is read.
        let of = match std::fs::metadata(entry.path()) {
            Ok(of) if of.is_dir() => {
                folders.push(entry.path());
                continue;
            }
            Ok(of) => stamp(&of),
            // It is gone, or its link leads nowhere; whoever reads it will say so.
            Err(_) => (0, 0, 0),
        };
        seen.insert(entry.path(), of);
    }
    Ok(())
}

/// Starts to look after the files, if there are any. SIGHUP is listened for in any case: it never
/// ends the process.
pub(super) fn start(watch: Option<Watch>, tasks: &Tasks) -> Result<()> {
    let hangup = signal(SignalKind::hangup()).context("wait for signals")?;
    let Some(watch) = watch else { return Ok(()) };
    let (runtime, stop) = (Handle::current(), tasks.stop().clone());
    tasks.spawn_thread("detections", move || {
        watch.run(&runtime, hangup, &stop);
        Ok(())
    })?;
    Ok(())
}

/// Files of detections in use, and of what they know of addresses.
pub(super) struct Watch {
    /// The folder of detections.
    pub(super) dir: Option<PathBuf>,
    /// Where lists and databases of addresses are.
    pub(super) files: AddressFiles,
    /// Which shipped detections run.
    pub(super) shipped: String,
    /// What it looked like before it was read.
    pub(super) looked: Look,
    /// The files of the folder in use: those that could be used last.
    pub(super) good: Sources,
    /// What is known of addresses in use.
    pub(super) addresses: Addresses,
    /// How the engine runs.
    pub(super) settings: EngineSettings,
    /// Who goes on with what is good.
    pub(super) reloads: SyncSender<Reload>,
    /// Is told what is wrong.
    pub(super) in_use: Arc<InUse>,
    /// What is counted.
    pub(super) metrics: Arc<Metrics>,
    /// Who asks lists and databases of addresses, too.
    pub(super) query: Arc<QueryService>,
}

impl Watch {
    /// Looks until it is stopped; reads what changed once it stays as it is from one look to the
    /// next, so that nothing half written is read, or at once when asked by `hangup`. Not for use
    /// inside an async runtime.
    fn run(mut self, runtime: &Handle, mut hangup: Signal, stop: &CancellationToken) {
        let mut before = self.looked.clone();
        loop {
            let is_asked = runtime.block_on(async {
                tokio::select! {
                    () = stop.cancelled() => None,
                    Some(()) = hangup.recv() => Some(true),
                    () = tokio::time::sleep(INTERVAL) => Some(false),
                }
            });
            let Some(is_asked) = is_asked else { return };
            let now = look(self.dir.as_deref().into_iter().chain(self.files.paths()));
            if is_asked || now == before && now != self.looked {
                self.looked.clone_from(&now);
                if !self.load() {
                    return;
                }
            }
            before = now;
        }
    }

    /// Reads the files; false when nobody goes on with them because the service stops.
    fn load(&mut self) -> bool {
        let Readout { taken, mistakes } = self.read();
        self.metrics.detections_rejected(mistakes.len());
        self.in_use.mistake(mistakes.clone());
        if !mistakes.is_empty() {
            for mistake in &mistakes {
                say(mistake, taken.is_none());
            }
            self.metrics.detections_reloaded("rejected");
        }
        let Some((reload, sources, addresses)) = taken else { return true };
        if !mistakes.is_empty() && sources.is_as(&self.good) && addresses == self.addresses {
            return true;
        }
        info!(addresses = ?addresses.names(), "detections read again");
        self.query.supply(&addresses);
        (self.good, self.addresses) = (sources, addresses);
        // Waits for the pipeline while it has not taken the last ones.
        self.reloads.send(reload).is_ok()
    }
}

/// What there is to go on with, of which files, and what is wrong.
struct Readout {
    taken: Option<(Reload, Sources, Addresses)>,
    mistakes: Vec<LoadError>,
}

impl Watch {
    /// Reads and plans what there is now; what cannot be used as it was.
    fn read(&self) -> Readout {
        let (addresses, mut mistakes) = match self.files.read() {
            Ok(addresses) => (addresses, Vec::new()),
            Err(mistakes) => (self.addresses.clone(), mistakes),
        };
        let plan = |sources: &Sources| {
            let catalog = sources.catalog()?.supplied(&addresses).limited(&self.shipped);
            let engine = Engine::new(&catalog, self.settings)?;
            Ok(Reload { catalog, engine })
        };
        let (taken, wrong) = Sources::read(self.dir.as_deref()).settled(&self.good, plan);
        mistakes.extend(wrong);
        let taken = taken.map(|(reload, sources)| (reload, sources, addresses));
        Readout { taken, mistakes }
    }
}

fn say(mistake: &LoadError, is_none_taken: bool) {
    let LoadError { path, line, message, hint } = mistake;
    let hint = hint.as_deref().unwrap_or_default();
    let stays = if is_none_taken {
        "a file of detections cannot be used, all stay as they were"
    } else {
        "a file of detections cannot be used, it stays as it was when it could"
    };
    error!(file = %path, line, hint, error = message, "{stays}");
}
