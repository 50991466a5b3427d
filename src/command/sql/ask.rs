//! One question of another command.

use anyhow::{Context as _, Result, anyhow};
use arrow::array::RecordBatch;
use futures::StreamExt as _;
use serde_json::{Map, Value as Json};
use tokio::runtime::Builder;

use super::print::Rows;
use super::source::{AskError, Source};
use crate::cli::ServerArgs;
use crate::query::format::Format;

/// The rows of an answer.
///
/// # Errors
/// When nobody can be asked, or the question is refused.
pub(in crate::command) fn rows(args: &ServerArgs, query: &str) -> Result<Vec<Map<String, Json>>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let source = Source::open(args)?;
    let answer = runtime.block_on(bytes(&source, query)).map_err(told)?;
    serde_json::from_slice(&answer).context("read the answer")
}

/// The rows of an answer, as they are in the tables.
///
/// # Errors
/// When nobody can be asked, or the question is refused.
pub(in crate::command) fn batches(args: &ServerArgs, query: &str) -> Result<Vec<RecordBatch>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let source = Source::open(args)?;
    let rows =
        runtime.block_on(async { Rows::gather(source.ask(query, Format::Arrow).await?).await });
    Ok(rows.map_err(told)?.batches().to_vec())
}

fn told(error: AskError) -> anyhow::Error {
    match error {
        AskError::Wrong(message) => anyhow!(message),
        AskError::Failed(error) => error,
    }
}

async fn bytes(source: &Source, query: &str) -> Result<Vec<u8>, AskError> {
    let mut parts = source.ask(query, Format::Json).await?;
    let mut bytes = Vec::new();
    while let Some(part) = parts.next().await {
        bytes.extend_from_slice(&part?);
    }
    Ok(bytes)
}
