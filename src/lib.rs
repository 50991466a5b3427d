//! auditmill: Kubernetes audit events in, findings out, SQL over what was seen.
//!
//! The modules stand in the order in which a batch of events meets them. Read [`pipeline`] first:
//! it is the loop that joins them; [`command::serve`] builds it.

// Commands and flags.
pub mod cli;

// Settings.
pub mod config;

// What the user typed, each command a straight line of calls.
pub mod command;

// The wire: audit webhook, findings, SQL.
pub mod http;

// The one door: what passes is in the journal.
pub mod ingest;

// What was acknowledged.
pub mod journal;

// The loop: journal to findings.
pub mod pipeline;

// What an audit event is: the table, its identity.
pub mod event;

// Bytes to rows; never fails.
pub mod decode;

// One SQL for detections and analysts.
pub mod sql;

// Rows to findings.
pub mod detect;

// Questions that are asked again and again: controls, reports.
pub mod question;

// What an audit policy records, and what that is worth.
pub mod policy;

// Findings and quarantine, stored.
pub mod findings;

// Findings on their way out.
pub mod alert;

// Proof that rows are what was stored.
pub mod proof;

// Rows, stored.
pub mod history;

// Analysts' questions.
pub mod query;

// Named, supervised tasks.
pub mod tasks;

// Places at which tests kill the process.
pub mod fault;

// The wall clock.
pub mod clock;

// Every metric.
pub mod metrics;
