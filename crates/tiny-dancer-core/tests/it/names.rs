//! The names of enums.

use std::fmt::{Debug, Display};
use std::str::FromStr;
use tiny_dancer_core::breaker::Cause;
use tiny_dancer_core::budget::Settlement;
use tiny_dancer_core::model::Ties;
use tiny_dancer_core::observer::{MemoryErrorKind, Operation, Stage, StageErrorKind, Status, VerdictKind};
use tiny_dancer_core::{Circuit, CircuitState, ErrorKind, Feature, ModelType, Origin, OutcomeResult, Reason};

fn check<T: Copy + Debug + Display + FromStr + PartialEq>(all: &[T]) {
    for value in all {
        assert_eq!(value.to_string().parse::<T>().ok(), Some(*value));
    }
}

#[test]
fn every_name_is_read_as_it_is_written() {
    check(&Cause::ALL);
    check(&Circuit::ALL);
    check(&CircuitState::ALL);
    check(&ErrorKind::ALL);
    check(&Feature::ALL);
    check(&MemoryErrorKind::ALL);
    check(&ModelType::ALL);
    check(&Operation::ALL);
    check(&Origin::ALL);
    check(&OutcomeResult::ALL);
    check(&Reason::ALL);
    check(&Settlement::ALL);
    check(&Stage::ALL);
    check(&StageErrorKind::ALL);
    check(&Status::ALL);
    check(&Ties::ALL);
    check(&VerdictKind::ALL);
}

#[test]
fn an_unknown_name_is_refused_with_a_list_of_the_known_ones() {
    let error = "half_open".parse::<Circuit>().unwrap_err();
    assert_eq!(error.to_string(), r#"unknown circuit "half_open", expected inference, lightweight"#);
    assert_eq!(format!("{:>12}|", Circuit::Inference), "   inference|");
}
