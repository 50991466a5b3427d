//! The table's log: which files are the history, and how far the journal is in it.
//!
//! Each commit carries the journal position below which all events are in the table, so that files
//! and position change together or not at all. It is made only where the next version is not there
//! yet. Positions are kept by writer: two servers that were given one place by mistake do not take
//! each other's positions for their own, and lose nothing.

use std::collections::HashMap;

use deltalake_core::DeltaTable;
use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake_core::kernel::{Action, DataType, PrimitiveType, StructField, Transaction};
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use serde_json::Value as Json;
use tracing::{info, warn};

use super::error::HistoryError;
use super::file::DataFile;
use super::location::Location;
use crate::event::schema::{COLUMNS, Form};
use crate::event::time::rfc3339;
use crate::journal::Position;
use crate::proof::key::VerifierKey;
use crate::proof::statement::{Statement, Told, What};

/// Which version of the table's layout this is, as a table property.
const LAYOUT_PROPERTY: &str = "auditmill.layout";
const LAYOUT: &str = "1";
/// What is said of a commit, among what the commit says of itself, and its signature.
const STATEMENT: &str = "auditmillStatement";
const SIGNATURE: &str = "auditmillSignature";
/// A commit of more bytes is not looked into.
const COMMIT_BYTES_MAX: usize = 256 << 20;

/// What becomes of the table in one step.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) added: Vec<DataFile>,
    pub(super) removed: Vec<DataFile>,
    /// All events of the journal below are in the table from now on.
    pub(super) position: Option<Position>,
    /// How far an import of this name is from now on; it never goes back.
    pub(super) import: Option<(String, i64)>,
    /// Whether rows come or go; false when they are only laid out anew.
    pub(super) rows: bool,
    /// What is said of it, signed.
    pub(super) told: Option<Told>,
}

/// The log, at its newest version.
#[derive(Debug)]
pub(super) struct Log {
    table: DeltaTable,
    /// The name under which positions are committed: that of one journal.
    writer: String,
    position: Position,
}

impl Log {
    /// Opens the table of a place; creates it where there is none.
    ///
    /// # Errors
    /// When the place cannot be reached, or has a table of another kind.
    pub(super) async fn open(location: &Location, writer: &str) -> Result<Self, HistoryError> {
        let mut table = DeltaTable::new(location.log());
        if table.verify_deltatable_existence().await? {
            table.load().await?;
        } else {
            info!(table = %location.address(), "history created");
            table = create(location).await?;
        }
        let mut log = Self { table, writer: format!("auditmill-{writer}"), position: 0 };
        log.check(location)?;
        log.load_position().await?;
        Ok(log)
    }

    /// Opens the table of a place; `None` where there is none.
    ///
    /// # Errors
    /// When the place cannot be reached, or has a table of another kind.
    pub(super) async fn open_existing(
        location: &Location,
        writer: &str,
    ) -> Result<Option<Self>, HistoryError> {
        let table = DeltaTable::new(location.log());
        if !table.verify_deltatable_existence().await? {
            return Ok(None);
        }
        Self::open(location, writer).await.map(Some)
    }

    /// The number of the newest version.
    pub(super) fn version(&self) -> u64 {
        self.table.version().unwrap_or(0)
    }

    /// How far the import of this name is; `None` before its first commit.
    pub(super) async fn import_version(&self, name: &str) -> Result<Option<i64>, HistoryError> {
        let log_store = self.table.log_store();
        let state = self.table.snapshot()?;
        Ok(state.transaction_version(log_store.as_ref(), name).await?)
    }

    /// All events of the journal below this position are in the table.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// The files of the newest version.
    pub(super) fn files(&self) -> Result<Vec<DataFile>, HistoryError> {
        let state = self.table.snapshot()?;
        let mut files = Vec::new();
        for view in state.log_data().iter() {
            if let Some(file) = DataFile::of(&view) {
                files.push(file);
            } else {
                warn!(path = %view.path(), "a file that is not ours is passed over");
            }
        }
        files.sort_by(|a, b| (a.event_time, &a.path).cmp(&(b.event_time, &b.path)));
        Ok(files)
    }

    /// Makes a change, all of it or nothing, to the version that is known here; it fails when
    /// somebody else made a later one. When it says that it failed, it may have been made all the
    /// same: [`Self::refresh`] tells.
    pub(super) async fn commit(&mut self, change: &Change, now: i64) -> Result<(), HistoryError> {
        let data_change = change.rows;
        let added = change.added.iter().map(|file| Action::Add(file.add(now, data_change)));
        let removed = change.removed.iter();
        let removed = removed.map(|file| Action::Remove(file.remove(now, data_change)));
        let mut properties = CommitProperties::default();
        if let Some(position) = change.position {
            let version = i64::try_from(position).unwrap_or(i64::MAX);
            let transaction = Transaction::new(&self.writer, version);
            properties = properties.with_application_transaction(transaction);
        }
        if let Some((name, version)) = &change.import {
            let transaction = Transaction::new(name, *version);
            properties = properties.with_application_transaction(transaction);
        }
        if let Some(Told { text, signature }) = &change.told {
            let member = |name: &str, text: &String| (name.to_owned(), text.clone().into());
            let members = [member(STATEMENT, text), member(SIGNATURE, signature)];
            properties = properties.with_metadata(members);
        }
        let operation = DeltaOperation::Write {
            mode: SaveMode::Append,
            partition_by: Some(vec!["cluster".to_owned(), "day".to_owned()]),
            predicate: None,
        };
        let state = self.table.snapshot()?;
        let committed = CommitBuilder::from(properties)
            // Left to itself, it would try again after somebody else's commit, also where both
            // joined the same files: their rows would be there twice.
            .with_max_retries(0)
            .with_actions(added.chain(removed).collect())
            .build(Some(state), self.table.log_store(), operation)
            .await?;
        self.table.state = Some(committed.snapshot());
        if let Some(position) = change.position {
            self.position = position;
        }
        Ok(())
    }

    /// What a commit says of itself, if this key signed it; else that somebody else did it. The
    /// statement's line.
    pub(super) async fn statement(
        &self,
        version: u64,
        key: &VerifierKey,
        now: i64,
    ) -> Result<String, HistoryError> {
        let bytes = self.table.log_store().read_commit_entry(version).await?;
        // One that is too old to be kept is nobody's.
        let bytes = bytes.filter(|bytes| bytes.len() <= COMMIT_BYTES_MAX).unwrap_or_default();
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for line in bytes.split(|byte| *byte == b'\n') {
            let Ok(action) = serde_json::from_slice::<Json>(line) else { continue };
            let info = action.get("commitInfo");
            let text = |name| Some(info?.get(name)?.as_str()?.to_owned());
            if let Some((text, signature)) = text(STATEMENT).zip(text(SIGNATURE)) {
                let told = Told { text, signature };
                if told.open(key).is_some_and(|said| said.version == version) {
                    return Ok(told.text);
                }
            }
            for (kind, paths) in [("add", &mut added), ("remove", &mut removed)] {
                let path = action.get(kind).and_then(|action| action.get("path")?.as_str());
                paths.extend(path.map(str::to_owned));
            }
        }
        let what = What::Foreign { added, removed };
        Ok(Statement { version, at: rfc3339(now), what }.text())
    }

    /// Reads what the log says now.
    pub(super) async fn refresh(&mut self) -> Result<(), HistoryError> {
        self.table.update_state().await?;
        self.load_position().await
    }

    async fn load_position(&mut self) -> Result<(), HistoryError> {
        let log_store = self.table.log_store();
        let state = self.table.snapshot()?;
        let version = state.transaction_version(log_store.as_ref(), &self.writer).await?;
        self.position = version.and_then(|version| u64::try_from(version).ok()).unwrap_or(0);
        Ok(())
    }

    fn check(&self, location: &Location) -> Result<(), HistoryError> {
        let foreign =
            |why: String| HistoryError::Foreign { url: location.address().to_string(), why };
        let metadata = self.table.snapshot()?.metadata();
        match metadata.configuration().get(LAYOUT_PROPERTY).map(String::as_str) {
            Some(LAYOUT) => Ok(()),
            Some(other) => {
                Err(foreign(format!("its layout is {other}, this version knows {LAYOUT}")))
            }
            None => Err(foreign(format!("it has no property `{LAYOUT_PROPERTY}`"))),
        }
    }
}

async fn create(location: &Location) -> Result<DeltaTable, HistoryError> {
    let columns = COLUMNS.iter().map(|column| {
        let field = StructField::new(column.name, data_type(column.form), true);
        field.with_metadata([("comment", column.about)])
    });
    let day = StructField::new("day", DataType::Primitive(PrimitiveType::Date), true)
        .with_metadata([("comment", "The day of event_time, UTC.")]);
    let configuration = HashMap::from([
        (LAYOUT_PROPERTY.to_owned(), Some(LAYOUT.to_owned())),
        // Each commit is small and there are many: checkpoints keep opening fast.
        ("delta.checkpointInterval".to_owned(), Some("50".to_owned())),
        ("delta.logRetentionDuration".to_owned(), Some("interval 7 days".to_owned())),
        ("delta.deletedFileRetentionDuration".to_owned(), Some("interval 1 days".to_owned())),
    ]);
    let table = CreateBuilder::new()
        .with_log_store(location.log())
        .with_location(location.address().as_str())
        .with_table_name("events")
        .with_comment("Kubernetes audit events, one row each")
        .with_columns(columns.chain([day]))
        .with_partition_columns(["cluster", "day"])
        .with_configuration(configuration)
        // A property of our own is not among those that the crate knows.
        .with_raise_if_key_not_exists(false)
        .await?;
    Ok(table)
}

/// The column's type in the table's schema; how it is encoded in a file is the file's affair.
fn data_type(form: Form) -> DataType {
    DataType::Primitive(match form {
        Form::Repeating | Form::Text => PrimitiveType::String,
        Form::Time => PrimitiveType::Timestamp,
        Form::Integer => PrimitiveType::Integer,
        Form::Truth => PrimitiveType::Boolean,
    })
}
