//! The wires of SQL beside HTTP: made of the settings, let in by the same gate, counted.

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Result;
use tracing::{info, warn};

use crate::config::{Query, Settings};
use crate::http::auth::Gate;
use crate::http::routes::Shared;
use crate::http::server::{self, Server};
use crate::metrics::Metrics;
use crate::query::postgres::{Admits, Counts, Happened, Postgres, TlsNow};

/// The protocol's name in TLS.
const POSTGRES_PROTOCOL: &[u8] = b"postgresql";

const POSTGRES: &str = "postgres";

/// Takes the port for clients of PostgreSQL, if there is to be one. The usual port may be taken.
///
/// # Errors
/// When the settings would leave the door open, or the port is taken.
pub(super) fn listen(settings: &Settings) -> Result<Option<TcpListener>> {
    let Some(address) = settings.query.postgres_listen.0 else { return Ok(None) };
    let setting = "[query] postgres_listen";
    let port = server::listen(setting, address, &settings.http, &settings.auth);
    let (listener, address) = match port {
        // Nobody asked for this port: another server on this machine may have it.
        Err(error) if error.is_taken() && address == Query::POSTGRES => {
            warn!(
                "no clients of PostgreSQL: {error}; `[query] postgres_listen` names another port"
            );
            return Ok(None);
        }
        port => port?,
    };
    // Before the line of HTTP: who waits for that knows this.
    info!(%address, "clients of PostgreSQL are served");
    Ok(Some(listener))
}

/// The wire on this port.
pub(super) fn postgres(
    listener: TcpListener,
    settings: &Settings,
    server: &Server,
    shared: &Shared,
) -> Postgres {
    let gate = Gate::new(&settings.auth);
    let admits: Admits =
        Arc::new(move |token, certificate| gate.asker(token, certificate, POSTGRES));
    let tls = server.tls_for(POSTGRES_PROTOCOL).map(|now| Arc::new(now) as TlsNow);
    let sessions_max = settings.query.sessions_max.get();
    let counts = counts(Arc::clone(&shared.metrics));
    Postgres::new(listener, sessions_max, Arc::clone(&shared.query), tls, (admits, counts))
}

fn counts(metrics: Arc<Metrics>) -> Counts {
    Arc::new(move |happened| match happened {
        Happened::Opened => metrics.session_opened(POSTGRES),
        Happened::Closed => metrics.session_closed(POSTGRES),
        Happened::Full => metrics.session_refused(POSTGRES, "full"),
        Happened::Refused => metrics.session_refused(POSTGRES, "refused"),
        Happened::Answered => metrics.query(POSTGRES, "answered"),
        Happened::Failed => metrics.query(POSTGRES, "failed"),
    })
}
