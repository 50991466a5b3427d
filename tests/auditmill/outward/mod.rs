//! Sinks against receivers that take what their makers say they take, and nothing else; where the
//! real one runs here, against that.

mod alertmanager;
mod command;
mod file;
mod judge;
mod mail;
mod pagerduty;
mod slack;
mod syslog;
mod tls;
