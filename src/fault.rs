//! Places at which tests kill the process: nothing at all in a release build.

/// In a debug build, whether the process is to end at this place: what would keep it from coming
/// there for hours may be left out.
pub fn is_wanted(name: &str) -> bool {
    let wanted = if cfg!(debug_assertions) { std::env::var("AUDITMILL_FAULT").ok() } else { None };
    wanted.is_some_and(|wanted| wanted.split(':').next() == Some(name))
}

/// In a debug build, ends the process without any cleaning up when `AUDITMILL_FAULT` is
/// `NAME` or `NAME:N` and this is the place's N-th time.
#[cfg(debug_assertions)]
pub fn point(name: &str) {
    use std::sync::atomic::{AtomicU64, Ordering};
    static TIMES: AtomicU64 = AtomicU64::new(0);
    let Ok(wanted) = std::env::var("AUDITMILL_FAULT") else { return };
    let (wanted, times) = wanted.split_once(':').unwrap_or((&wanted, "1"));
    if wanted == name && TIMES.fetch_add(1, Ordering::SeqCst) + 1 == times.parse().unwrap_or(1) {
        eprintln!("fault point {name}: ending at once");
        std::process::abort();
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
pub fn point(_: &str) {}
