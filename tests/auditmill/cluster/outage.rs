//! auditmill gone for half a minute, then too busy: the API server loses no event over it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::super::program::SOME;
use super::apiserver::{Cluster, Webhook, mark_path};
use super::audit_log::text;
use super::pki::Pki;
use super::process::{lasting_port, until};
use super::service::{BODY_BYTES_MAX, Service};

const OUTAGE: Duration = Duration::from_secs(30);
/// How long anything else may take. The API server sends a failed batch again after about 10, 25
/// and 50 seconds, each of these half as long again for those that come late.
const LIMIT: Duration = Duration::from_mins(8);
const CLUSTER: &str = "prod-eu";
/// Requests on one connection, one after the other; then a short pause: a busy cluster, not a test
/// of the API server.
const BURST: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);
/// More deliveries are turned away than there are attempts for one batch.
const REFUSALS: f64 = 20.0;
const REFUSED: &str = "auditmill_ingest_refused_total{reason=\"memory\"}";

/// Runs the whole story.
pub(crate) fn tell(bin: &Path) {
    let dir = tempfile::tempdir().expect("create a folder");
    let pki = Pki::new(&dir.path().join("pki"));
    let settings = format!("[ingest]\nbudget = {BODY_BYTES_MAX}\n[detect]\nshipped = \"{SOME}\"\n");
    let mut service = Service::start_on(dir.path(), &pki, lasting_port(), &settings);
    let sender = pki.client("kube-apiserver-audit", None);
    let webhook = Webhook { url: &service.ingest_url(CLUSTER), identity: &sender };
    let mut cluster = Cluster::start(bin, dir.path(), &pki, Some(&webhook));

    let started = Instant::now();
    let load = Load::default();
    thread::scope(|scope| {
        scope.spawn(|| load.run(&cluster));
        // Also when something below fails: else the scope would never end.
        let _stop = Stop(&load);
        let query = format!("select count(*) as n from events where cluster = '{CLUSTER}'");
        until("events to arrive", LIMIT, || (count(&service, &query) > 100).then_some(()));
        service.kill_and_restart(|| {
            let before = load.requests();
            thread::sleep(OUTAGE);
            assert!(load.requests() > before, "the load stood still");
        });
        println!("{:?}: back, {} requests so far", started.elapsed(), load.requests());
        overload(&service);
        println!("{:?}: room again, {} requests so far", started.elapsed(), load.requests());
    });
    cluster.mark("quiet");
    cluster.stop_background();
    wait_until_the_same(&service, &cluster);
    println!("{:?}: everything has arrived", started.elapsed());
    let lost = cluster.audit_errors();
    assert!(lost == 0.0, "the API server could not deliver {lost} events");
    cluster.stop_apiserver();
    service.stop();
}

/// Leaves no room for deliveries until enough of them were turned away.
fn overload(service: &Service) {
    let (done, is_done) = watch::channel(false);
    let hog = service.fill_budget(&is_done);
    thread::scope(|scope| {
        // Goes with a panic: then the hog ends too, and the scope.
        let done = done;
        let hog = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("build a runtime").block_on(hog);
        });
        let before = service.counter(REFUSED);
        until("deliveries to be turned away", LIMIT, || {
            assert!(!hog.is_finished(), "nothing fills the budget any more");
            (service.counter(REFUSED) - before >= REFUSALS).then_some(())
        });
        done.send_replace(true);
    });
}

/// Waits until each (audit id, stage) of the API server's own log is in `events`, as often as
/// there, which is once.
fn wait_until_the_same(service: &Service, cluster: &Cluster) {
    let query = format!("select count(*) as n from events where cluster = '{CLUSTER}'");
    until("the service to have as many events as the API server's log", LIMIT, || {
        (count(service, &query) >= cluster.audit_log.lines().len()).then_some(())
    });
    let mut logged: BTreeMap<(String, String), u64> = BTreeMap::new();
    for event in cluster.audit_log.events() {
        let key = (text(&event, "/auditID").to_owned(), text(&event, "/stage").to_owned());
        *logged.entry(key).or_default() += 1;
    }
    let query = format!(
        "select audit_id, stage, count(*) as n from events where cluster = '{CLUSTER}' \
         group by audit_id, stage"
    );
    let stored: BTreeMap<(String, String), u64> = service
        .sql(&query)
        .iter()
        .map(|row| {
            let key = (text(row, "/audit_id").to_owned(), text(row, "/stage").to_owned());
            (key, row["n"].as_u64().expect("a count"))
        })
        .collect();
    let twice: Vec<_> = logged.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "the API server logged an event twice: {twice:?}");
    let missing: Vec<_> = logged.keys().filter(|key| !stored.contains_key(*key)).collect();
    assert!(missing.is_empty(), "{} events are missing: {missing:?}", missing.len());
    assert!(logged == stored, "an event is there twice, or was never logged");
    println!("{} events, each of them once", logged.len());
}

fn count(service: &Service, query: &str) -> usize {
    let count = service.sql(query).first().and_then(|row| row["n"].as_u64());
    usize::try_from(count.expect("a count")).expect("a small count")
}

/// Somebody who looks at things all the time.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    requests: AtomicU32,
}

impl Load {
    fn run(&self, cluster: &Cluster) {
        let user = ["--header", "Authorization: Bearer token-ops"];
        while !self.stop.load(Ordering::SeqCst) {
            let first = self.requests();
            let path = |number: u32| mark_path(&format!("load-{number}"));
            let paths: Vec<String> = (first..first + BURST).map(path).collect();
            let codes = cluster.curl(&user, &paths);
            assert!(codes.iter().all(|code| *code == 200), "{codes:?}");
            self.requests.fetch_add(BURST, Ordering::SeqCst);
            thread::sleep(PAUSE);
        }
    }

    fn requests(&self) -> u32 {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Ends the load when it goes.
struct Stop<'l>(&'l Load);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::SeqCst);
    }
}
