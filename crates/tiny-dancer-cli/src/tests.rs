use super::*;

#[test]
fn causes_are_said_once_each() {
    let error = anyhow::anyhow!("not a number").context("line 3: not a number").context("the file");
    assert_eq!(causes(&error), "the file: line 3: not a number");
}
