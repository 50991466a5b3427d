//! Flight SQL's door: who asks is known before a byte of a question is read, questions are bounded,
//! and who does not read an answer is let go. What is asked is answered by `query::flight`.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody as _, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONNECTION};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::{StreamExt as _, stream};
use http_body_util::{BodyStream, StreamBody};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tonic::Status;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::debug;

use super::auth::{Caller, Gate, Peer};
use super::routes::Failure;
use super::server::Standing;
use crate::query::flight::{HANDSHAKE, MESSAGE_BYTES_MAX, Routes};
use crate::query::postgres::{Counts, Happened};

/// How those ask who ask here.
const WIRE: &str = "flight";

/// How long a client may read nothing of an answer that waits for it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// What lets requests in.
struct Entry {
    gate: Gate,
    counts: Counts,
    body_timeout: Duration,
}

/// The calls, for whom the gate knows; a request may take `body_timeout` to arrive.
pub fn router(routes: Routes, gate: Gate, counts: Counts, body_timeout: Duration) -> Router {
    let entry = Arc::new(Entry { gate, counts, body_timeout });
    let calls = routes.into_axum_router();
    calls.layer(from_fn_with_state(entry, let_in)).layer(CatchPanicLayer::new())
}

async fn let_in(State(entry): State<Arc<Entry>>, mut request: Request, next: Next) -> Response {
    if request.version() != Version::HTTP_2 {
        // Without TLS a browser speaks nothing else than HTTP/1: a web page must not reach us
        // through a name of its own that resolves to loopback.
        let (status, header) = (StatusCode::HTTP_VERSION_NOT_SUPPORTED, (CONNECTION, "close"));
        return (status, [header], "Flight SQL is spoken over HTTP/2\n").into_response();
    }
    match caller(&entry.gate, &mut request) {
        Ok(caller) => request.extensions_mut().insert(caller.asker(WIRE)),
        Err(failure) => {
            debug!(?failure, "a client was not let in");
            (entry.counts)(Happened::Refused);
            return refused(failure).into_http();
        }
    };
    let standing = request.extensions().get::<Standing>().cloned().unwrap_or_default();
    standing.welcome();
    if request.uri().path() != HANDSHAKE {
        request = match timeout(entry.body_timeout, whole(request)).await {
            Ok(Ok(request)) => request,
            Ok(Err(status)) => return status.into_http(),
            Err(_) => return Status::deadline_exceeded("the request came too slowly").into_http(),
        };
    }
    let (head, body) = next.run(request).await.into_parts();
    // What says all in its head has no end to wait for, and must not get one.
    let body = if body.is_end_stream() { body } else { watched(body, standing) };
    Response::from_parts(head, body)
}

/// Who asks: by a token, as bearer or as a password, else by the certificate of the connection. A
/// password goes on as the bearer token that it is.
fn caller(gate: &Gate, request: &mut Request) -> Result<Caller, Failure> {
    let bearer = basic_password(request.headers());
    if let Some(bearer) = bearer {
        request.headers_mut().insert(AUTHORIZATION, bearer);
    }
    let caller = gate.caller(request.headers(), request.extensions().get::<Peer>())?;
    caller.may_ask()?;
    Ok(caller)
}

fn refused(failure: Failure) -> Status {
    if let Failure::Forbidden(message) = failure {
        return Status::permission_denied(message);
    }
    let message = "show the token of an `[[auth.client]]` as a bearer token, or as the password \
                   of any user";
    Status::unauthenticated(message)
}

/// `Bearer PASSWORD` of the only header `Basic base64(USER:PASSWORD)` (RFC 7617).
fn basic_password(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut shown = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (shown.next(), shown.next()) else { return None };
    let (scheme, credential) = value.as_bytes().split_at_checked(b"Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let pair = BASE64_STANDARD.decode(credential.trim_ascii()).ok()?;
    let at = pair.iter().position(|byte| *byte == b':')?;
    let mut bearer =
        HeaderValue::from_bytes(&[&b"Bearer "[..], pair.get(at + 1..)?].concat()).ok()?;
    bearer.set_sensitive(true);
    Some(bearer)
}

/// The request with all of its body here.
async fn whole(request: Request) -> Result<Request, Status> {
    // A message has five bytes before it; parameters come as several.
    const BODY_BYTES_MAX: usize = MESSAGE_BYTES_MAX + (64 << 10);
    let (head, body) = request.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
        Status::resource_exhausted(format!("a request has at most {BODY_BYTES_MAX} bytes"))
    })?;
    Ok(Request::from_parts(head, Body::from(body)))
}

/// An answer, and since when a part of it waits to be asked for the next.
struct Answer {
    frames: Option<BodyStream<Body>>,
    unread_since: Option<Instant>,
}

/// The answer, dropped with its connection once nothing of it is read for a while: so its query
/// ends too.
fn watched(body: Body, standing: Standing) -> Body {
    let frames = Some(BodyStream::new(body));
    let answer = Arc::new(Mutex::new(Answer { frames, unread_since: None }));
    let mut watch = JoinSet::new();
    watch.spawn(watch_over(Arc::downgrade(&answer), standing));
    Body::new(StreamBody::new(stream::poll_fn(move |context: &mut Context<'_>| {
        // Until the answer is read or dropped, so is the watch.
        let _watch = &watch;
        let mut answer = answer.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(frames) = &mut answer.frames else {
            return Poll::Ready(Some(Err(axum::Error::new("nothing of the answer was read"))));
        };
        let polled = Pin::new(frames).poll_next_unpin(context);
        answer.unread_since = polled.is_ready().then(Instant::now);
        polled
    })))
}

async fn watch_over(answer: Weak<Mutex<Answer>>, standing: Standing) {
    let mut look = interval(WRITE_TIMEOUT / 6);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let Some(answer) = answer.upgrade() else { return };
        let mut answer = answer.lock().unwrap_or_else(PoisonError::into_inner);
        if answer.unread_since.is_some_and(|since| since.elapsed() >= WRITE_TIMEOUT) {
            debug!("a client read nothing of its answer, and is let go");
            answer.frames = None;
            standing.end();
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        basic_password(&headers).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_password_is_a_token() {
        let basic = |pair: &str| format!("Basic {}", BASE64_STANDARD.encode(pair));
        assert_eq!(bearer(&[&basic("ann:a:b")]).as_deref(), Some("Bearer a:b"));
        assert_eq!(bearer(&[&basic(":x").replace("Basic", "bAsIc")]).as_deref(), Some("Bearer x"));
        for value in ["Basic", "Basic !", "Bearer x", "", &basic("nothing"), &basic("a:\n")] {
            assert_eq!(bearer(&[value]), None, "{value}");
        }
        assert_eq!(bearer(&[&basic("a:b"), &basic("a:b")]), None);
    }
}
