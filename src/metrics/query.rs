//! Metrics of the wires that clients of SQL use.

use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::Metrics;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByWire {
    wire: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByWireAndReason {
    wire: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByWireAndOutcome {
    wire: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Default)]
pub(super) struct Wires {
    sessions: Family<ByWire, Gauge<i64, AtomicI64>>,
    refused: Family<ByWireAndReason, Counter>,
    answers: Family<ByWireAndOutcome, Counter>,
}

impl Metrics {
    /// A session of a wire begins.
    pub fn session_opened(&self, wire: &'static str) {
        self.query.sessions.get_or_create(&ByWire { wire }).inc();
    }

    /// It ends.
    pub fn session_closed(&self, wire: &'static str) {
        self.query.sessions.get_or_create(&ByWire { wire }).dec();
    }

    /// Somebody got no session.
    pub fn session_refused(&self, wire: &'static str, reason: &'static str) {
        self.query.refused.get_or_create(&ByWireAndReason { wire, reason }).inc();
    }

    /// A query had an answer, or had none.
    pub fn query(&self, wire: &'static str, outcome: &'static str) {
        self.query.answers.get_or_create(&ByWireAndOutcome { wire, outcome }).inc();
    }

    pub(super) fn register_query(&mut self) {
        let registry = &mut self.registry;
        let help = "Sessions of clients of SQL that are open";
        registry.register("query_sessions", help, self.query.sessions.clone());
        let help = "Clients of SQL that got no session";
        registry.register("query_sessions_refused", help, self.query.refused.clone());
        let help = "Queries of sessions, by what came of them before their first row";
        registry.register("query_queries", help, self.query.answers.clone());
    }
}
