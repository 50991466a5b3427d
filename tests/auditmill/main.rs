//! The one integration test binary: each test binary links the query engine again.
//!
//! Everything here goes through the doors that users have: the program's commands, its HTTP
//! interface, its files. Only [`oracle`] calls the engine itself, to compare it with a model.
//!
//! - `events`: audit events and bodies to send
//! - `program`: the program, run to its end
//! - `server`: the program, serving
//! - `small_disk`: a disk that can be filled
//! - `auth`: who may deliver and ask what, and the certificates it goes by
//! - `webhook`: deliveries in, findings out, and what is refused
//! - `hostile`: bodies and queries that mean harm
//! - `durability`: killed at any moment, nothing that was acknowledged is missing
//! - `stores`: killed at each step of the three stores
//! - `memory`: many large deliveries at once, within the budget
//! - `full_disk`: no room left, nothing that was acknowledged is missing
//! - `sinks`: findings on their way out, `receiver`: who gets them and misbehaves
//! - `incidents`: findings that reach people
//! - `outward`: sinks against receivers that hold to what they publish
//! - `kafka`: findings in a topic of a real broker
//! - `s3`: history in a bucket of a real S3 server that comes and goes
//! - `readers`: other programs read the history
//! - `import`: old logs, put into the history once
//! - `backup`: copies of a data directory in use, restored
//! - `data_directory`: a data directory of an earlier version opens
//! - `proof`: the history is verified, and what is changed is named
//! - `tail`: logs on disk, followed
//! - `detections`: the detections shipped, and folders of an operator's own
//! - `catalogue`: detections listed, explained, judged; overrides and exceptions
//! - `recording`: what is found in the recording of a real cluster, whatever way it comes in
//! - `noise`: an hour of an ordinary cluster, over which the detections are quiet
//! - `addresses`: lists and databases of addresses, supplied, missing, changed, broken
//! - `reload`: detections that change while the program runs
//! - `scan`: the command line
//! - `backtest`, `explain`: detections over the past, and why an event was found or not
//! - `posture`, `reports`, `suggested_roles`, `audit_policies`: questions with answers made ready
//! - `outputs`: what the main commands print, as a whole
//! - `sql`: questions over HTTP and on the command line
//! - `postgres`: the same over PostgreSQL's wire
//! - `flight`: the same over Flight SQL
//! - `oracle`: the engine of detections against a slow and simple model of it
//! - `tidy`: the house rules that a machine can check
//! - `cluster`: behind a real API server

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test's threads and tasks end with it")]
#![expect(clippy::float_cmp, reason = "counters are whole numbers")]

mod access;
mod addresses;
mod audit_policies;
mod auth;
mod backtest;
mod backup;
mod catalogue;
mod cluster;
mod data_directory;
mod detections;
mod durability;
mod events;
mod explain;
mod flight;
mod full_disk;
mod greedy;
mod hostile;
mod import;
mod incidents;
#[cfg(feature = "kafka")]
mod kafka;
mod library;
mod memory;
mod minutes;
mod noise;
mod oracle;
mod outputs;
mod outward;
mod postgres;
mod posture;
mod program;
mod proof;
mod readers;
mod receiver;
mod recording;
mod reload;
mod reports;
mod s3;
mod scan;
mod server;
mod sinks;
mod small_disk;
mod sql;
mod stores;
mod suggested_roles;
mod tail;
mod tidy;
mod webhook;
