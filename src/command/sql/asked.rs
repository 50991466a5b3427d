//! Questions of a command, one after the other: of files, a data directory or a server.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context as _, Result};
use arrow::array::RecordBatch;
use futures::StreamExt as _;
use serde_json::{Map, Value as Json};
use tokio::runtime::{Builder, Runtime};

use super::gathered::{Read, gather};
use super::print::Looks;
use super::run::answer;
use super::source::{AskError, Source};
use crate::cli::{AddressArgs, PlaceArgs, SqlFormat};
use crate::query::format::Format;
use crate::query::service::Limits;

/// How long a question of our own may take where nobody else waits.
const PATIENCE: Duration = Duration::from_mins(30);
/// An answer that is taken as a whole is never as large.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Whoever answers, with a thread to wait on.
pub(in crate::command) struct Asked {
    source: Source,
    runtime: Runtime,
    /// What was read, of files.
    pub(in crate::command) read: Option<Read>,
}

impl Asked {
    /// What the flags name; rows of files go to `take` when they are read.
    ///
    /// # Errors
    /// When it is not there, cannot be read, or is in use.
    pub(in crate::command) fn open(
        place: &PlaceArgs,
        take: &mut dyn FnMut(&RecordBatch),
    ) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let limits = Limits { timeout: PATIENCE, ..Limits::default() };
        let (source, read) = if place.files.is_empty() {
            (Source::open_patiently(&place.server, limits)?, None)
        } else {
            let gathered = gather(place.cluster.as_str(), &place.files, take)?;
            let (folder, history, read) = gathered;
            (Source::files(folder, &history, limits)?, Some(read))
        };
        Ok(Self { source, runtime, read })
    }

    /// Lets what is asked from now on know this of addresses.
    ///
    /// # Errors
    /// When it cannot be read, or a server is to be told.
    pub(in crate::command) fn supply(&self, args: &AddressArgs) -> Result<()> {
        self.source.supply(args)
    }

    /// The rows of a short answer.
    ///
    /// # Errors
    /// When there is no answer, or it is not short.
    pub(in crate::command) fn rows(&self, sql: &str) -> Result<Vec<Map<String, Json>>, AskError> {
        let bytes = self.runtime.block_on(async {
            let mut parts = self.source.ask(sql, Format::Json).await?;
            let mut bytes = Vec::new();
            while let Some(part) = parts.next().await {
                bytes.extend_from_slice(&part?);
                if bytes.len() > ANSWER_BYTES_MAX {
                    return Err(AskError::Wrong("the answer is too large".to_owned()));
                }
            }
            Ok(bytes)
        })?;
        Ok(serde_json::from_slice(&bytes).context("read the answer")?)
    }

    /// Writes the answer in a format.
    ///
    /// # Errors
    /// When there is none, or it cannot be written.
    pub(in crate::command) fn print(
        &self,
        sql: &str,
        format: SqlFormat,
        out: &mut impl Write,
    ) -> Result<(), AskError> {
        let looks = Looks::of_terminal();
        self.runtime.block_on(answer(&self.source, sql, format, looks, out)).map(drop)
    }
}

/// What a command says of a question that was not answered.
pub(in crate::command) fn failed(error: AskError) -> anyhow::Error {
    match error {
        AskError::Wrong(message) => anyhow::anyhow!(message),
        AskError::Failed(error) => error,
    }
}
