//! `use tiny_dancer::*` together with names that it must not hide. The test is that this compiles.

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
fn all_names_can_be_imported_together_with_core_and_tracing() {
    let threshold = Threshold(RouterConfig::default());
    info!("no subscriber reads this: {threshold}");
    assert_eq!(threshold.to_string(), "0.85");
}
