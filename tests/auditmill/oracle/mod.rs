//! The engine of detections against a model of it: slow, simple and by the definition.
//!
//! The model (`model`) runs a detection's query with plain DataFusion over the events of each
//! window `[k·S − W, k·S)` and makes findings of the rows by the words of the definition: key,
//! bucket of the window's end, the row of the window with the most events, the earliest three and
//! the latest two events. A detection that looks at each event alone is run over all of them. The
//! engine (`run`) gets the same events in any order, in any batches, some of them twice, in one go
//! or live while time passes, and is thrown away and made again of what a start reads again. Both
//! must say the same (`compare`).
//!
//! - `fixed`: detections with all that the definition names, written by hand
//! - `generated`: random detections, made by `grammar` and `shape`
//! - `kinds`: what is new, missing, silent, and what others found
//! - `shipped`: the catalogue, taken apart by `written`, over the events of its own tests and
//!   recordings (`sample`)
//! - `restarts`: moments that random stories rarely meet
//! - `faults`: the comparison is one that a faulty engine would not pass

mod compare;
mod event;
mod faults;
mod fixed;
mod generated;
mod grammar;
mod kinds;
mod model;
mod plain;
mod restarts;
mod run;
mod sample;
mod shape;
mod shipped;
mod subject;
mod told;
mod way;
mod written;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
