//! Hostile input: forged bearers, and randomly broken requests and events. None may cause a panic, a 5xx or an
//! undocumented answer, or be repeated in the answer.
//!
//! `PROPTEST_CASES=4000 cargo test --workspace hostile` is the long version.

mod bearers;
mod events;
mod input;
mod requests;

use std::time::{Duration, Instant};

/// A text in hostile values that no refusal may repeat.
const MARKER: &str = "hostileMarker";

/// A result and how long it took. Only a hanging request fails the test: the machine's speed is not tested.
async fn timed<T>(coming: impl Future<Output = T>) -> (T, Duration) {
    let started = Instant::now();
    let come = tokio::time::timeout(Duration::from_secs(20), coming).await.expect("it hangs");
    (come, started.elapsed())
}
