//! The names of enums.

use std::fmt::{Debug, Display};
use std::str::FromStr;
use tiny_dancer_core::breaker::Cause;
use tiny_dancer_core::model::Ties;
use tiny_dancer_core::observer::{Operation, Stage, Status};
use tiny_dancer_core::{Circuit, CircuitState, ErrorKind, Feature, ModelType, OutcomeResult, Reason};

fn survive<T: Copy + Debug + Display + FromStr + PartialEq>(all: &[T]) {
    for value in all {
        assert_eq!(value.to_string().parse::<T>().ok(), Some(*value));
    }
}

#[test]
fn every_name_is_read_as_it_is_written() {
    survive(&Cause::ALL);
    survive(&Circuit::ALL);
    survive(&CircuitState::ALL);
    survive(&ErrorKind::ALL);
    survive(&Feature::ALL);
    survive(&ModelType::ALL);
    survive(&Operation::ALL);
    survive(&OutcomeResult::ALL);
    survive(&Reason::ALL);
    survive(&Stage::ALL);
    survive(&Status::ALL);
    survive(&Ties::ALL);
}

#[test]
fn an_unknown_name_is_refused_with_those_that_exist() {
    let error = "half_open".parse::<Circuit>().unwrap_err();
    assert_eq!(error.to_string(), r#"unknown circuit "half_open", expected inference, lightweight"#);
    assert_eq!(format!("{:>12}|", Circuit::Inference), "   inference|");
}
