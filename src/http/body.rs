//! The body of a delivery: read and unpacked within bounds, memory reserved before it is used.

use std::future::ready;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody as _};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, EXPECT};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use futures::{StreamExt as _, stream};
use http_body_util::BodyExt as _;

use super::routes::{Failure, Shared};
use crate::ingest::accept::Door;
use crate::ingest::budget::Permit;

/// Who was refused and sends nothing for so long is not waited for.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// How much is unpacked at a time.
const UNPACKED_BYTES: usize = 1 << 20;

/// The whole body, unpacked when it says that it is packed with gzip or Zstandard. What cannot
/// be unpacked is kept as it came: content is never refused, only set aside.
pub(super) async fn read(
    shared: &Shared,
    headers: &HeaderMap,
    body: &mut Body,
) -> Result<(Bytes, Permit), Failure> {
    let packing = headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    let packing = packing.map(|packing| packing.trim().to_ascii_lowercase());
    let (bytes, permit) = read_packed(shared, body).await?;
    let packing = match packing.as_deref() {
        Some("gzip" | "x-gzip") => Packing::Gzip,
        Some("zstd") => Packing::Zstd,
        _ => return Ok((bytes, permit)),
    };
    let (door, bytes_max) = (Arc::clone(&shared.door), shared.body_bytes_max);
    let work = tokio::task::spawn_blocking(move || {
        let unpacked = unpack(&door, &bytes, packing, bytes_max);
        match unpacked {
            Ok((unpacked, permit)) => Ok((unpacked, permit)),
            Err(Unpack::Refused(failure)) => Err(failure),
            Err(Unpack::Damaged) => Ok((bytes, permit)),
        }
    });
    // It only fails with the process.
    work.await.unwrap_or_else(|_| Err(Failure::TooSlow))
}

/// What is left of a body that was refused.
pub(super) struct Rest {
    pub(super) body: Body,
    /// So much of it is read.
    pub(super) bytes_max: usize,
    /// It is read until then.
    pub(super) deadline: Instant,
}

impl Rest {
    /// The answer at once, its end after the rest was read and dropped. A client that is still
    /// sending when its connection is closed, Go's among them, may never see why, nor when to come
    /// again. Who asks before sending has not begun, and need not.
    pub(super) fn behind(self, answer: Response, headers: &HeaderMap) -> Response {
        if self.body.is_end_stream() || headers.contains_key(EXPECT) {
            return answer;
        }
        let (mut head, answer) = answer.into_parts();
        head.headers.remove(CONTENT_LENGTH);
        let passed_over = stream::once(self.pass_over()).filter_map(|()| ready(None));
        let answer = answer.into_data_stream().chain(passed_over);
        Response::from_parts(head, Body::from_stream(answer))
    }

    async fn pass_over(self) {
        let Self { mut body, bytes_max, deadline } = self;
        let mut bytes = 0;
        while bytes <= bytes_max && Instant::now() < deadline {
            match tokio::time::timeout(SILENCE_MAX, body.frame()).await {
                Ok(Some(Ok(frame))) => bytes += frame.data_ref().map_or(0, Bytes::len),
                _ => return,
            }
        }
    }
}

async fn read_packed(shared: &Shared, body: &mut Body) -> Result<(Bytes, Permit), Failure> {
    let too_large = || Failure::TooLarge { bytes_max: shared.body_bytes_max };
    let announced = usize::try_from(body.size_hint().exact().unwrap_or(0)).unwrap_or(usize::MAX);
    if announced > shared.body_bytes_max {
        return Err(too_large());
    }
    let mut permit = shared.door.reserve(announced)?;
    let mut reserved = announced;
    let mut bytes = BytesMut::with_capacity(announced);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::Wrong(format!("body cut short: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        let length = bytes.len() + data.len();
        if length > shared.body_bytes_max {
            return Err(too_large());
        }
        if length > reserved {
            // A body without a length grows by doubling: one reservation per size, not per frame.
            let more = reserved.max(data.len()).min(shared.body_bytes_max - reserved);
            permit.merge(shared.door.reserve(more)?);
            reserved += more;
        }
        bytes.extend_from_slice(&data);
    }
    Ok((bytes.freeze(), permit))
}

#[derive(Clone, Copy)]
enum Packing {
    Gzip,
    Zstd,
}

enum Unpack {
    Refused(Failure),
    Damaged,
}

fn unpack(
    door: &Door,
    packed: &[u8],
    packing: Packing,
    bytes_max: usize,
) -> Result<(Bytes, Permit), Unpack> {
    let mut reader: Box<dyn Read + '_> = match packing {
        Packing::Gzip => Box::new(MultiGzDecoder::new(packed)),
        Packing::Zstd => Box::new(zstd::Decoder::with_buffer(packed).map_err(|_| Unpack::Damaged)?),
    };
    let refused = |refusal| Unpack::Refused(Failure::from(refusal));
    let mut permit = door.reserve(0).map_err(refused)?;
    let mut unpacked = Vec::new();
    loop {
        permit.merge(door.reserve(UNPACKED_BYTES).map_err(refused)?);
        let piece = reader.by_ref().take(UNPACKED_BYTES as u64).read_to_end(&mut unpacked);
        if piece.map_err(|_| Unpack::Damaged)? == 0 {
            return Ok((unpacked.into(), permit));
        }
        if unpacked.len() > bytes_max {
            return Err(Unpack::Refused(Failure::TooLarge { bytes_max }));
        }
    }
}
