//! One SQL for detections, backtests and analysts: the same functions and the same settings
//! wherever a query is planned.

pub mod address;

pub mod compact;

pub mod context;

pub mod functions;

pub mod grants;

pub mod guard;

mod guarded;

pub mod meter;

pub mod snapshot;

pub mod spill;

pub mod views;

pub mod within;
