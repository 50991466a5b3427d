//! Named, supervised tasks and threads, and the stop signal.
//!
//! A task that fails or panics stops the process: a half-dead service is worse than a restart.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

/// The tasks of a running service; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    failed: Arc<AtomicBool>,
}

impl Tasks {
    /// No tasks yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the service is to stop.
    #[must_use]
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Runs a future to its end; an error stops the service.
    pub fn spawn(
        &self,
        name: &'static str,
        future: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let alarm = Alarm { name, tasks: self.clone(), armed: true };
        #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
        let handle = self.tracker.spawn(async move { alarm.settle(future.await) });
        drop(handle);
    }

    /// Runs a function on a thread of its own; an error or a panic stops the service.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn spawn_thread(
        &self,
        name: &'static str,
        work: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
    ) -> std::io::Result<()> {
        let alarm = Alarm { name, tasks: self.clone(), armed: true };
        let token = self.tracker.token();
        let builder = std::thread::Builder::new().name(name.to_owned());
        #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
        let handle = builder.spawn(move || {
            let _token = token;
            alarm.settle(work());
        })?;
        drop(handle);
        Ok(())
    }

    /// Waits until every task has ended; true when all ended well.
    pub async fn finished(&self) -> bool {
        self.tracker.close();
        self.tracker.wait().await;
        !self.failed.load(Ordering::SeqCst)
    }
}

/// Stops the service when its task ends badly, also by a panic.
struct Alarm {
    name: &'static str,
    tasks: Tasks,
    armed: bool,
}

impl Alarm {
    fn settle(mut self, result: anyhow::Result<()>) {
        match result {
            Ok(()) => self.armed = false,
            Err(error) => error!(task = self.name, error = format!("{error:#}"), "task failed"),
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if self.armed {
            error!(task = self.name, "stopping, because this task did not end well");
            self.tasks.failed.store(true, Ordering::SeqCst);
            self.tasks.stop.cancel();
        }
    }
}
