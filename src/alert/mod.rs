//! Findings on their way out. A sink follows the store at its own pace by a cursor: a slow or dead
//! one holds up nobody and costs no memory.

pub mod jsonl;
