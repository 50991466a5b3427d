//! Bytes in and out of one connection, within bounds of size and time.
//!
//! Promise: what is kept of a client is one message and a little more, and whoever neither sends
//! nor reads is let go.

use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::failure::Failure;
use super::message::{FIRST_HEAD_BYTES, HEAD_BYTES, Malformed};

/// Longest message: a statement with what is around it. Bytes that arrive while a question is
/// answered are kept up to here too.
pub(super) const MESSAGE_BYTES_MAX: usize = (1 << 20) + (64 << 10);

/// Longest first message, as in PostgreSQL.
const FIRST_BYTES_MAX: usize = 10_000;

/// How long a message may take from its first byte to its last.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client may read nothing of what waits for it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// So much is written before it is sent.
const OUT_BYTES: usize = 64 << 10;

/// A connection, plain or in TLS.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Why there is nothing more to be said.
#[derive(Debug)]
pub(super) enum Ended {
    /// The client has gone, or does not read.
    Left,
    /// It is told why.
    Told(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Told(failure)
    }
}

impl From<Malformed> for Ended {
    fn from(error: Malformed) -> Self {
        Self::Told(error.into())
    }
}

pub(super) struct Wire {
    stream: Box<dyn Duplex>,
    inbox: BytesMut,
    /// What is to be sent.
    pub(super) out: BytesMut,
}

impl Wire {
    pub(super) fn new(stream: impl Duplex + 'static) -> Self {
        Self { stream: Box::new(stream), inbox: BytesMut::new(), out: BytesMut::new() }
    }

    /// A first message, without its length.
    pub(super) async fn first(&mut self) -> Result<Bytes, Ended> {
        self.fill(FIRST_HEAD_BYTES).await?;
        let length = self.length_at(0);
        if !(FIRST_HEAD_BYTES..=FIRST_BYTES_MAX).contains(&length) {
            return Err(Malformed("a first message has 8 to 10000 bytes").into());
        }
        self.fill(length).await?;
        let mut message = self.inbox.split_to(length).freeze();
        message.advance(4);
        Ok(message)
    }

    /// The next message, once it is there; `None` when the client has gone without a word.
    pub(super) async fn message(
        &mut self,
        idle: Duration,
        bytes_max: usize,
    ) -> Result<Option<(u8, Bytes)>, Ended> {
        if self.inbox.is_empty() {
            match timeout(idle, self.read()).await {
                Ok(Ok(true)) => {}
                Ok(_) => return Ok(None),
                Err(_) => {
                    let message = "closed, because nothing was asked for a long time";
                    return Err(Failure::fatal("57P05", message).into());
                }
            }
        }
        let late = || Failure::fatal("08P01", "a message took too long to arrive");
        let message = timeout(MESSAGE_TIMEOUT, self.whole(bytes_max)).await;
        message.map_err(|_| late())?.map(Some)
    }

    async fn whole(&mut self, bytes_max: usize) -> Result<(u8, Bytes), Ended> {
        self.fill(HEAD_BYTES).await?;
        let length = self.length_at(1);
        if length < 4 {
            return Err(Malformed("its length counts itself").into());
        }
        if length > bytes_max {
            let message = format!("a message of {length} bytes, more than the {bytes_max} read");
            let failure = Failure::fatal("54000", message);
            let hint = "put values into one range, pattern or join instead of a long list";
            return Err(failure.hint(hint).into());
        }
        self.fill(1 + length).await?;
        let mut message = self.inbox.split_to(1 + length).freeze();
        let kind = message.get_u8();
        message.advance(4);
        Ok((kind, message))
    }

    fn length_at(&self, at: usize) -> usize {
        let length = self.inbox.get(at..at + 4).and_then(|length| length.try_into().ok());
        let length = length.map_or(0, u32::from_be_bytes);
        usize::try_from(length).unwrap_or(usize::MAX)
    }

    /// Reads until there are so many bytes.
    async fn fill(&mut self, bytes: usize) -> Result<(), Ended> {
        while self.inbox.len() < bytes {
            if !self.read().await.map_err(|_| Ended::Left)? {
                return Err(Ended::Left);
            }
        }
        Ok(())
    }

    /// Reads what there is; false when there will never be more.
    async fn read(&mut self) -> std::io::Result<bool> {
        Ok(self.stream.read_buf(&mut self.inbox).await? > 0)
    }

    /// Ends when the client has gone. What it says meanwhile is kept for later.
    pub(super) async fn left(&mut self) {
        while self.inbox.len() < MESSAGE_BYTES_MAX {
            if !self.read().await.unwrap_or(false) {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    /// Sends what waits, if it is worth it.
    pub(super) async fn pass_on(&mut self) -> Result<(), Ended> {
        if self.out.len() >= OUT_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Sends what waits.
    pub(super) async fn flush(&mut self) -> Result<(), Ended> {
        let waiting = self.out.split().freeze();
        self.send(waiting).await
    }

    /// Sends these bytes, behind what waits.
    pub(super) async fn send(&mut self, mut bytes: Bytes) -> Result<(), Ended> {
        if !self.out.is_empty() {
            let waiting = self.out.split().freeze();
            Box::pin(self.send(waiting)).await?;
        }
        while bytes.has_remaining() {
            match timeout(WRITE_TIMEOUT, self.stream.write_buf(&mut bytes)).await {
                Ok(Ok(written)) if written > 0 => {}
                _ => return Err(Ended::Left),
            }
        }
        match timeout(WRITE_TIMEOUT, self.stream.flush()).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Ended::Left),
        }
    }

    /// Says why, and closes.
    pub(super) async fn close(mut self, why: Option<&Failure>) {
        if let Some(failure) = why {
            super::reply::error(&mut self.out, failure);
        }
        // Who has gone hears nothing any more.
        if self.flush().await.is_ok() {
            let _ = timeout(Duration::from_secs(1), self.stream.shutdown()).await;
        }
    }
}
