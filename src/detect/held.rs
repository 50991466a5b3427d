//! The rows that queries are run over again: events, or findings.

use std::sync::Arc;

use arrow::array::RecordBatch;

use super::buffer::Buffer;
use super::chain::{Feed, FindingsBuffer};
use super::detection::Window;

/// The rows that windows are asked over.
#[derive(Debug)]
pub(super) enum Held {
    Events(Buffer),
    Findings(FindingsBuffer),
}

impl Held {
    pub(super) fn events(window: Window) -> Self {
        Self::Events(Buffer::new(window))
    }

    pub(super) fn findings(window: Window, feed: Arc<Feed>) -> Self {
        Self::Findings(FindingsBuffer::new(window, feed))
    }

    pub(super) fn window(&self, end: i64) -> Option<Vec<RecordBatch>> {
        match self {
            Self::Events(buffer) => buffer.window(end),
            Self::Findings(buffer) => buffer.window(end),
        }
    }

    pub(super) fn forget(&mut self, first: i64) {
        match self {
            Self::Events(buffer) => buffer.forget(first),
            Self::Findings(buffer) => buffer.forget(first),
        }
    }

    pub(super) fn cap(&mut self, bytes_max: usize) -> bool {
        match self {
            Self::Events(buffer) => buffer.cap(bytes_max),
            Self::Findings(buffer) => buffer.cap(bytes_max),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Events(buffer) => buffer.bytes(),
            Self::Findings(buffer) => buffer.bytes(),
        }
    }
}
