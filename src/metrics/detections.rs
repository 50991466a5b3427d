//! What is counted of detections: their work, their state, their files, what they found.

use super::{
    ByDetection, ByDetectionAndCluster, ByDetectionAndSeverity, ByException, ByOutcome, ByState,
    Metrics, Unit,
};

impl Metrics {
    /// Names what there is of detections.
    pub(super) fn register_detections(&mut self) {
        let registry = &mut self.registry;
        let help = "Events that a detection's conditions let through";
        registry.register("detection_rows", help, self.detection_rows.clone());
        let help = "Time spent on the events that its conditions let through, and on its windows";
        let seconds = self.detection_seconds.clone();
        registry.register_with_unit("detection_busy", help, Unit::Seconds, seconds);
        let help = "What a detection keeps";
        let state = self.detection_state.clone();
        registry.register_with_unit("detection_state", help, Unit::Bytes, state);
        let help = "Keys, or open findings, that a detection keeps";
        registry.register("detection_keys", help, self.detection_keys.clone());
        let help = "How much of its time to learn a detection of what is new knows";
        let learned = self.detection_learned.clone();
        registry.register("detection_learned_ratio", help, learned);
        let help = "Detections, by whether they run, are off, or lack what they need of addresses";
        registry.register("detections", help, self.detections.clone());
        let help = "Mistakes in the files of detections as they are now; those before stay in use";
        registry.register("detections_rejected", help, self.detections_rejected.clone());
        let help = "Times that changed files of detections were read, by what came of it";
        registry.register("detections_reloads", help, self.detections_reloads.clone());
        let help = "Events that an exception hid from a detection";
        registry.register("detect_exempted_events", help, self.exempted.clone());
    }

    /// What a detection has cost and keeps now.
    pub fn detection(
        &self,
        detection: &str,
        (rows, nanos): (u64, u64),
        (bytes, keys): (usize, usize),
    ) {
        let label = ByDetection { detection: detection.to_owned() };
        self.detection_rows.get_or_create(&label).set(i64::try_from(rows).unwrap_or(i64::MAX));
        let seconds = std::time::Duration::from_nanos(nanos).as_secs_f64();
        self.detection_seconds.get_or_create(&label).set(seconds);
        self.detection_state.get_or_create(&label).set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.detection_keys.get_or_create(&label).set(i64::try_from(keys).unwrap_or(i64::MAX));
    }

    /// A detection of what is new knows so much of its time to learn, from 0 to 1.
    pub fn detection_learned(&self, detection: &str, cluster: &str, share: f64) {
        let (detection, cluster) = (detection.to_owned(), cluster.to_owned());
        let label = ByDetectionAndCluster { detection, cluster };
        self.detection_learned.get_or_create(&label).set(share);
    }

    /// A detection, of these clusters, does not run any more.
    pub fn detection_gone<'a>(&self, detection: &str, clusters: impl Iterator<Item = &'a String>) {
        for cluster in clusters {
            let (detection, cluster) = (detection.to_owned(), cluster.to_owned());
            self.detection_learned.remove(&ByDetectionAndCluster { detection, cluster });
        }
        let label = ByDetection { detection: detection.to_owned() };
        self.detection_rows.remove(&label);
        self.detection_seconds.remove(&label);
        self.detection_state.remove(&label);
        self.detection_keys.remove(&label);
    }

    /// So many run, are off, and lack a list or database of addresses.
    pub fn detections(&self, running: usize, off: usize, lacking: usize) {
        for (state, count) in [("running", running), ("off", off), ("lacking", lacking)] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.detections.get_or_create(&ByState { state }).set(count);
        }
    }

    /// So many mistakes are in the files of detections now.
    pub fn detections_rejected(&self, mistakes: usize) {
        self.detections_rejected.set(i64::try_from(mistakes).unwrap_or(i64::MAX));
    }

    /// Changed files of detections were read: `taken` or `rejected`.
    pub fn detections_reloaded(&self, outcome: &'static str) {
        self.detections_reloads.get_or_create(&ByOutcome { outcome }).inc();
    }

    /// An exception hid events from a detection.
    pub fn exempted(&self, exception: &str, events: u64) {
        let label = ByException { exception: exception.to_owned() };
        self.exempted.get_or_create(&label).inc_by(events);
    }

    /// A finding is new.
    pub fn finding(&self, detection: &str, severity: &'static str) {
        let label = ByDetectionAndSeverity { detection: detection.to_owned(), severity };
        self.findings.get_or_create(&label).inc();
    }

    /// A detection could not evaluate a batch.
    pub fn fault(&self, detection: &str) {
        self.faults.get_or_create(&ByDetection { detection: detection.to_owned() }).inc();
    }
}
