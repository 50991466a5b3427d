//! The parts of a service, each made of the settings and the data directory.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use serde_json_path::JsonPath;
use tracing::{error, info};

use crate::alert::head::Heads;
use crate::config::history::Redact;
use crate::config::sink::JsonlSettings;
use crate::config::{Settings, Sink};
use crate::detect::engine::{EngineSettings, Pace};
use crate::detect::watermark::Patience;
use crate::findings::store::{Store, StoreSettings};
use crate::history::flush::{Around, FlushSettings};
use crate::history::hot::Hot;
use crate::history::location::Location;
use crate::history::opening::Opening;
use crate::history::redact::{BodyRule, Redactor};
use crate::history::upkeep::UpkeepSettings;
use crate::history::writer;
use crate::journal::disk::Folder;
use crate::journal::{Journal, JournalSettings, Position, Writer};
use crate::metrics::Metrics;
use crate::proof::key::SigningKey;
use crate::query::service::Limits;
use crate::sql::spill::{self, Spill};

pub(super) fn engine_settings(settings: &Settings) -> EngineSettings {
    let detect = &settings.detect;
    EngineSettings {
        limited: true,
        pace: Pace::Live,
        patience: Patience {
            lateness: detect.lateness.micros(),
            skew: detect.skew.micros(),
            idle_after: detect.idle_after.micros(),
        },
        hold: detect.hold.micros(),
        state_bytes_max: bytes(detect.buffer),
    }
}

/// The configured sinks; without any, standard output and a file in the data directory.
pub(super) fn sinks(settings: &Settings, data: &Path) -> Vec<Sink> {
    if !settings.sinks.is_empty() {
        return settings.sinks.clone();
    }
    let jsonl = |name: &str, path: PathBuf| Sink::Jsonl(JsonlSettings::new(name, path));
    vec![jsonl("stdout", PathBuf::from("-")), jsonl("data", data.join("findings.jsonl"))]
}

pub(super) fn check(settings: &Settings) -> Result<()> {
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

pub(super) fn history(settings: &Settings, data: &Path, hot: &Arc<Hot>) -> Result<Opening> {
    let fail = || format!("use data directory `{}`", data.display());
    let writer = writer::name(data).with_context(fail)?;
    Ok(Opening::begin(location(settings, data)?, &writer, Arc::clone(hot))?)
}

/// The history of this data directory, or where the settings say.
pub(super) fn location(settings: &Settings, data: &Path) -> Result<Location> {
    let folder = data.join("history");
    Ok(match &settings.history.url {
        Some(url) if url.contains("://") => Location::url(url, &settings.history.options.0),
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
        key: None,
        bytes: bytes(history.flush_bytes),
        age: history.flush_after.0,
        late: settings.ingest.duplicates_span.micros(),
        redactor: Redactor { bodies, exec_arguments: history.redact_exec_arguments },
        upkeep: UpkeepSettings {
            keep: Some(keep).filter(|keep| !keep.is_zero()),
            bytes_max: Some(space).filter(|space| *space > 0),
        },
    })
}

/// What signs what is done to the history of a data directory.
pub(super) fn signing_key(settings: &Settings, data: &Path) -> Result<SigningKey> {
    if let Some(path) = &settings.history.signing_key {
        return Ok(SigningKey::read(path)?);
    }
    let writer = writer::name(data);
    let writer = writer.with_context(|| format!("use data directory `{}`", data.display()))?;
    Ok(SigningKey::of(data, &writer)?)
}

/// The same for a server, which signs what it does.
pub(super) fn signed_flush_settings(settings: &Settings, data: &Path) -> Result<FlushSettings> {
    let key = Some(signing_key(settings, data)?);
    Ok(FlushSettings { key, ..flush_settings(settings)? })
}

/// The order of the stores: findings first, then history, then the journal forgets.
pub(super) fn around(
    journal: &Arc<Journal>,
    space: u64,
    store: &Arc<Store>,
    metrics: &Arc<Metrics>,
    heads: Heads,
) -> Around {
    let (journal, filling) = (Arc::clone(journal), Arc::clone(journal));
    let (store, wrote, failed) = (Arc::clone(store), Arc::clone(metrics), Arc::clone(metrics));
    Around {
        before: Box::new(move |_| Ok(store.sync()?)),
        after: Box::new(move |position| journal.truncate(position)),
        urgent: Box::new(move || filling.bytes() > space / 2),
        wrote: Box::new(move |rows, bytes| wrote.history_written(rows, bytes)),
        signed: Box::new(move |head| heads.tell(&head.note)),
        failed: Box::new(move || failed.history_failed()),
    }
}

/// The journal of this data directory; `first` is where it begins when it has no files.
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
    for name in journal.damaged() {
        let file = path.join(name);
        error!(
            file = %file.display(),
            "the head of a journal file is damaged: its records, if it had any, are not read; it \
             is left as it is, restore it from a backup or move it away"
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

pub(super) fn limits(settings: &Settings) -> Limits {
    Limits {
        memory_bytes: bytes(settings.query.memory),
        timeout: settings.query.timeout.0,
        concurrent_max: settings.query.concurrent_max,
        queue_max: settings.query.queue_max,
        rows_max: settings.query.rows_max,
    }
}

/// Where queries put what has no room in memory; emptied of what an earlier run left.
pub(super) fn spill(settings: &Settings, data: &Path) -> Result<Option<Spill>> {
    let folder = data.join("spill");
    let fail = || format!("empty `{}`", folder.display());
    let bytes_max = settings.query.spill.as_u64();
    if bytes_max == 0 {
        spill::clear(&folder).with_context(fail)?;
        return Ok(None);
    }
    let reserve = settings.journal.reserve.as_u64();
    Ok(Some(Spill::open(&folder, bytes_max, reserve).with_context(fail)?))
}

pub(super) fn bytes(size: bytesize::ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}
