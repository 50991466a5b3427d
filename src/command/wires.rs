//! The wires of SQL beside HTTP: made of the settings, let in by the same gate, counted.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::Result;
use tracing::{info, warn};

use crate::config::{Listen, Query, Settings};
use crate::http::auth::Gate;
use crate::http::flight::router;
use crate::http::routes::Shared;
use crate::http::server::{self, Beside, Server};
use crate::metrics::Metrics;
use crate::query;
use crate::query::postgres::{Admits, Counts, Happened, Postgres, TlsNow};
use crate::tasks::Tasks;

/// The protocol's name in TLS.
const POSTGRES_PROTOCOL: &[u8] = b"postgresql";

const POSTGRES: &str = "postgres";
const FLIGHT: &str = "flight";

const SESSIONS_MAX: &str = "[query] sessions_max";

/// The ports of the wires that there are to be.
pub(super) struct Ports {
    postgres: Option<TcpListener>,
    flight: Option<TcpListener>,
}

/// The wires, nothing served yet.
pub(super) struct Wires {
    postgres: Option<Postgres>,
    flight: Option<Beside>,
}

/// Takes the ports for clients of SQL. The usual ones may be taken.
///
/// # Errors
/// When the settings would leave the door open, or a port that was asked for is taken.
pub(super) fn listen(settings: &Settings) -> Result<Ports> {
    let (postgres, flight) = (settings.query.postgres_listen, settings.query.flight_listen);
    Ok(Ports {
        postgres: port(
            settings,
            ("[query] postgres_listen", postgres),
            (Query::POSTGRES, "PostgreSQL"),
        )?,
        flight: port(settings, ("[query] flight_listen", flight), (Query::FLIGHT, "Flight SQL"))?,
    })
}

fn port(
    settings: &Settings,
    (setting, address): (&'static str, Listen),
    (usual, of): (SocketAddr, &str),
) -> Result<Option<TcpListener>> {
    let Some(address) = address.0 else { return Ok(None) };
    let port = server::listen(setting, address, &settings.http, &settings.auth);
    let (listener, address) = match port {
        // Nobody asked for this port: another server on this machine may have it.
        Err(error) if error.is_taken() && address == usual => {
            warn!("no clients of {of}: {error}; `{setting}` names another port");
            return Ok(None);
        }
        port => port?,
    };
    // Before the line of HTTP: who waits for that knows this.
    info!(%address, "clients of {of} are served");
    Ok(Some(listener))
}

impl Ports {
    /// The wires on these ports.
    pub(super) fn wires(self, settings: &Settings, server: &Server, shared: &Shared) -> Wires {
        let (postgres_port, flight_port) = (self.postgres, self.flight);
        Wires {
            postgres: postgres_port.map(|port| postgres(port, settings, server, shared)),
            flight: flight_port.map(|port| flight(port, settings, server, shared)),
        }
    }
}

impl Wires {
    /// Serves them, each as a task of its own.
    pub(super) fn start(self, tasks: &Tasks) {
        if let Some(postgres) = self.postgres {
            let serving = postgres.serve(tasks.stop().clone());
            tasks.spawn("postgres", async { Ok(serving.await?) });
        }
        if let Some(flight) = self.flight {
            let serving = flight.serve(tasks.stop().clone());
            tasks.spawn("flight", async { Ok(serving.await?) });
        }
    }
}

/// The wire of PostgreSQL on this port.
fn postgres(
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
    let counts = counts(POSTGRES, Arc::clone(&shared.metrics));
    Postgres::new(listener, sessions_max, Arc::clone(&shared.query), tls, (admits, counts))
}

/// The wire of Flight SQL on this port.
fn flight(listener: TcpListener, settings: &Settings, server: &Server, shared: &Shared) -> Beside {
    let counts = counts(FLIGHT, Arc::clone(&shared.metrics));
    let calls = query::flight::routes(Arc::clone(&shared.query), Arc::clone(&counts));
    let gate = Gate::new(&settings.auth);
    let router = router(calls, gate, Arc::clone(&counts), shared.body_timeout);
    let sessions_max = settings.query.sessions_max.get();
    server.beside(listener, router, (SESSIONS_MAX, sessions_max), counts)
}

fn counts(wire: &'static str, metrics: Arc<Metrics>) -> Counts {
    Arc::new(move |happened| match happened {
        Happened::Opened => metrics.session_opened(wire),
        Happened::Closed => metrics.session_closed(wire),
        Happened::Full => metrics.session_refused(wire, "full"),
        Happened::Refused => metrics.session_refused(wire, "refused"),
        Happened::Answered => metrics.query(wire, "answered"),
        Happened::Failed => metrics.query(wire, "failed"),
    })
}
