use super::*;

#[test]
fn each_cause_is_printed_once() {
    let error = anyhow::anyhow!("not a number").context("line 3: not a number").context("the file");
    assert_eq!(causes(&error), "the file: line 3: not a number");
}
