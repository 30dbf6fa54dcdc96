//! `use tiny_dancer::*` beside the names that it once hid. That this compiles is the test.

use core::fmt;
use tiny_dancer::*;
use tracing::info;

struct Threshold(RouterConfig);

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.confidence_threshold)
    }
}

#[test]
fn everything_can_be_imported_beside_core_and_tracing() {
    let threshold = Threshold(RouterConfig::default());
    info!("no subscriber reads this: {threshold}");
    assert_eq!(threshold.to_string(), "0.85");
}
