//! Detections and their tests are embedded: build again when one is added, changed or removed.

fn main() {
    println!("cargo::rerun-if-changed=queries");
    println!("cargo::rerun-if-changed=testdata/detections");
}
