//! auditmill behind a real kube-apiserver.
//!
//! Promises: etcd, kube-apiserver, kube-controller-manager and kwok (a kubelet that only pretends)
//! run on 127.0.0.1 with ports the system picks, driven by kubectl and curl as people would; every
//! process is gone when the test ends, however it ends. Never: a mock of the API server, a fixed
//! port, a wait that is not for a condition.
//!
//! The parts are programs, so the tests need `AUDITMILL_CLUSTER_BIN`, the folder that
//! `tests/cluster/build.sh` filled; `make test` sets it. Without it they say so and pass, except
//! under `CI`, where a test that silently did nothing would be a lie.
//!
//! `AUDITMILL_RECORD=DIR` makes [`record_events`] write the same traffic to DIR, one file for each
//! scenario: this is how `testdata/events/apiserver` was made.
//!
//! - `pki`: the authority, certificates and signing keys of one cluster
//! - `process`: a child that cannot outlive the test, and waiting with a deadline
//! - `apiserver`, `etcd`: the cluster, from etcd to a Ready node
//! - `kubeconfig`: where the API server is and who is asking, as files
//! - `audit_log`: what the API server's own log backend wrote, to compare with
//! - `drive`: ordinary work and attacks, one function each
//! - `service`: the program under test and its HTTP interface
//! - `attack_steps`, `attack_end`: what one attacker does from the first look around to the end
//! - `deeds`, `deeds_workload`, `deeds_control`: what else shipped detections look for
//! - `hardening`: deeds that show each hardening control broken, and what only looks like them
//! - `least_privilege`: a role made of what was used, and the workload under it
//! - `networks`: requests from addresses of the Internet
//! - `policies`: what audit policies record, beside the model of them
//! - `fed`: what fires under which audit policy, beside what `policy check` says of it
//! - `first_finding`, `outage`, `walk`, `record`: the stories told with them

#![expect(clippy::print_stdout, reason = "what a test prints is its report, seen with --nocapture")]

mod apiserver;
mod attack_end;
mod attack_steps;
mod audit_log;
mod deeds;
mod deeds_control;
mod deeds_workload;
mod drive;
mod etcd;
mod fed;
mod first_finding;
mod hardening;
mod kubeconfig;
mod least_privilege;
mod networks;
mod outage;
pub(crate) mod pki;
mod policies;
pub(crate) mod process;
mod record;
mod service;
mod walk;

#[test]
fn real_apiserver_first_finding() {
    if let Some(bin) = apiserver::programs() {
        first_finding::tell(&bin);
    }
}

#[test]
fn real_apiserver_outage_and_overload() {
    if let Some(bin) = apiserver::programs() {
        outage::tell(&bin);
    }
}

#[test]
fn real_apiserver_attack_walk() {
    if let Some(bin) = apiserver::programs() {
        walk::tell(&bin);
    }
}

#[test]
fn record_events() {
    if let (Some(dir), Some(bin)) = (record::destination(), apiserver::programs()) {
        record::write(&bin, &dir);
    }
}

#[test]
fn record_hardening() {
    if let (Some(dir), Some(bin)) = (hardening::destination(), apiserver::programs()) {
        hardening::write(&bin, &dir);
    }
}

#[test]
fn real_apiserver_suggested_role_is_enough() {
    if let Some(bin) = apiserver::programs() {
        least_privilege::tell(&bin);
    }
}

#[test]
fn real_apiserver_feeds_what_policy_check_says() {
    if let Some(bin) = apiserver::programs() {
        fed::tell(&bin);
    }
}

#[test]
fn real_apiserver_records_what_the_model_says() {
    if let Some(bin) = apiserver::programs() {
        policies::tell(&bin);
    }
}

#[test]
fn real_apiserver_sees_where_requests_come_from() {
    if let Some(bin) = apiserver::programs() {
        networks::tell(&bin, "cluster::real_apiserver_sees_where_requests_come_from");
    }
}
