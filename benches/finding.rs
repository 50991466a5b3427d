//! How long is it from the acknowledgement of an event to its finding, at about half of the load
//! that the server can take?
//!
//! The real binary; deliveries of ordinary events at a fixed rate (`AUDITMILL_RATE` events/s), and
//! among them, fifty times a second, one event that a detection is about. Findings are taken from
//! the stream of server-sent events, as a page would be. The aim is a p99 of 100 ms.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    reason = "figures for people"
)]

#[path = "traffic/server.rs"]
mod server;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;

use server::start;

const PROBES: usize = 1_000;
const PAUSE: Duration = Duration::from_millis(20);
const RATE: usize = 60_000;
const EVENTS_PER_BODY: usize = 400;

fn main() {
    rustls::crypto::ring::default_provider().install_default().expect("the only provider");
    let rate = std::env::var("AUDITMILL_RATE").ok().and_then(|text| text.parse().ok());
    let rate = rate.unwrap_or(RATE);
    let data = tempfile::tempdir_in(".").expect("a folder on this disk");
    let server = start(data.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (mut times, sent, took) = runtime.expect("a runtime").block_on(measure(&server.url, rate));
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "to a finding   p50 {:>9.3?}  p90 {:>9.3?}  p99 {:>9.3?}  max {:>9.3?}, at {:.0} events/s",
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
        sent as f64 / took.as_secs_f64()
    );
}

/// Times from acknowledgements to findings, and the events that were sent beside them in a time.
async fn measure(url: &str, rate: usize) -> (Vec<Duration>, usize, Duration) {
    let client = reqwest::Client::new();
    let stream = client.get(format!("{url}/v1/findings/stream?detection=K8A-401"));
    let stream = stream.send().await.expect("a stream");
    let (done, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let begun = Instant::now();
    let load = async {
        let body = ordinary();
        while !done.load(Ordering::Relaxed) {
            let due = (begun.elapsed().as_secs_f64() * rate as f64) as usize;
            if sent.load(Ordering::Relaxed) > due {
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            }
            // Each delivery is another: repeats would be passed over.
            let number = sent.fetch_add(EVENTS_PER_BODY, Ordering::Relaxed);
            let body = body.replace("NUMBER", &number.to_string());
            let answer = client.post(format!("{url}/v1/audit/busy")).body(body).send().await;
            assert!(answer.expect("an answer").status().is_success());
        }
    };
    let probe = async {
        let mut acknowledged = HashMap::with_capacity(PROBES);
        for number in 0..PROBES {
            tokio::time::sleep(PAUSE).await;
            let answer = client.post(format!("{url}/v1/audit/probed")).body(exec(number)).send();
            assert!(answer.await.expect("an answer").status().is_success());
            acknowledged.insert(number, Instant::now());
        }
        acknowledged
    };
    let listen = async {
        let (mut found, mut text) = (HashMap::with_capacity(PROBES), String::new());
        let mut stream = stream.bytes_stream();
        while found.len() < PROBES {
            let part = stream.next().await.expect("the stream goes on").expect("a part");
            text.push_str(&String::from_utf8_lossy(&part));
            while let Some((event, rest)) = text.split_once("\n\n") {
                let number = event.split_once("probe-").map(|(_, rest)| {
                    rest.chars().take_while(char::is_ascii_digit).collect::<String>()
                });
                if let Some(Ok(number)) = number.map(|number| number.parse::<usize>()) {
                    found.entry(number).or_insert_with(Instant::now);
                }
                text = rest.to_owned();
            }
        }
        found
    };
    let measured = async {
        let both = tokio::join!(probe, listen);
        done.store(true, Ordering::Relaxed);
        both
    };
    let ((), (acknowledged, found)) = tokio::join!(load, measured);
    let took = begun.elapsed();
    let times = acknowledged.iter().filter_map(|(number, at)| {
        found.get(number).map(|found| found.saturating_duration_since(*at))
    });
    (times.collect(), sent.into_inner(), took)
}

/// Events that nothing is found in; `NUMBER` makes each delivery another.
fn ordinary() -> String {
    let events = (0..EVENTS_PER_BODY).map(|number| {
        format!(
            "{{\"level\":\"Metadata\",\"auditID\":\"NUMBER-{number}\",\
             \"stage\":\"ResponseComplete\",\"verb\":\"get\",\
             \"requestURI\":\"/api/v1/namespaces/dev/pods/web-{number}\",\
             \"objectRef\":{{\"resource\":\"pods\",\"namespace\":\"dev\",\
             \"name\":\"web-{number}\"}},\
             \"responseStatus\":{{\"code\":200}},\"user\":{{\"username\":\"alice-{}\"}},\
             \"userAgent\":\"kubectl/v1.36\",\"sourceIPs\":[\"10.0.0.{}\"],\
             \"annotations\":{{\"authorization.k8s.io/decision\":\"allow\"}}}}",
            number % 50,
            number % 200
        )
    });
    list(&events.collect::<Vec<_>>().join(","))
}

/// Somebody enters a pod.
fn exec(number: usize) -> String {
    list(&format!(
        "{{\"level\":\"Metadata\",\"auditID\":\"exec-{number}\",\"stage\":\"ResponseStarted\",\
         \"verb\":\"get\",\"requestURI\":\"/api/v1/namespaces/dev/pods/web/exec?command=sh\",\
         \"objectRef\":{{\"resource\":\"pods\",\"namespace\":\"dev\",\"name\":\"web\",\
         \"subresource\":\"exec\"}},\"responseStatus\":{{\"code\":101}},\
         \"user\":{{\"username\":\"probe-{number}\"}},\"sourceIPs\":[\"10.0.0.1\"]}}"
    ))
}

fn list(events: &str) -> String {
    format!(
        "{{\"kind\":\"EventList\",\"apiVersion\":\"audit.k8s.io/v1\",\"metadata\":{{}},\
         \"items\":[{events}]}}"
    )
}
