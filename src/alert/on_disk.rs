//! What followers of the store ask of it, away from the threads that wait for receivers.

use std::sync::Arc;

use anyhow::{Context as _, Result};

use crate::findings::database::StoreError;
use crate::findings::store::Store;

/// Asks the store, or writes to it, on a thread that may wait for the disk.
pub(super) async fn on_disk<T: Send + 'static>(
    store: &Arc<Store>,
    work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T> {
    let store = Arc::clone(store);
    Ok(tokio::task::spawn_blocking(move || work(&store)).await.context("ask the store")??)
}
