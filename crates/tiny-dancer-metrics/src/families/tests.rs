use super::*;

use CircuitState::{Closed, HalfOpen, Open};

#[test]
fn the_worst_circuit_is_shown_until_it_closes() {
    let circuits = Circuits::default();
    let shown = |from, to| {
        circuits.change(Circuit::Inference, from, to);
        circuits.worst(Circuit::Inference)
    };
    assert_eq!(shown(Closed, Open), Open, "the first opens");
    assert_eq!(shown(Closed, Open), Open, "a second opens");
    assert_eq!(shown(Open, HalfOpen), Open, "one of them probes");
    assert_eq!(shown(HalfOpen, Closed), Open, "it closes");
    assert_eq!(shown(Open, HalfOpen), HalfOpen, "the other probes");
    assert_eq!(shown(HalfOpen, Closed), Closed, "it closes");
    assert_eq!(circuits.worst(Circuit::Lightweight), Closed, "no change was reported");
}

#[test]
fn transitions_that_are_reported_in_the_wrong_order_give_the_right_state() {
    let circuits = Circuits::default();
    circuits.change(Circuit::Inference, HalfOpen, Closed);
    circuits.change(Circuit::Inference, Open, HalfOpen);
    circuits.change(Circuit::Inference, Closed, Open);
    assert_eq!(circuits.worst(Circuit::Inference), Closed);
    circuits.change(Circuit::Inference, Closed, Open);
    assert_eq!(circuits.worst(Circuit::Inference), Open);
}

#[test]
fn subtracted_circuits_are_shown_no_longer() {
    let (all, part) = (Circuits::default(), Circuits::default());
    all.change(Circuit::Lightweight, Closed, HalfOpen);
    for circuits in [&all, &part] {
        circuits.change(Circuit::Lightweight, Closed, Open);
    }
    assert_eq!(all.worst(Circuit::Lightweight), Open);
    all.subtract(&part);
    assert_eq!(all.worst(Circuit::Lightweight), HalfOpen);
}
