use super::*;

fn report() -> Report {
    Report { root: PathBuf::from("/somewhere"), steps: Vec::new() }
}

#[test]
fn the_table_is_aligned_and_the_closing_line_counts() {
    let mut report = report();
    report.check("a", "does nothing", || Ok(()));
    report.check("a longer one", "fails", || bail!("too bad\nand more"));
    report.skip("another", "no time");
    for step in &mut report.steps {
        step.took = Duration::from_secs(90);
    }
    assert_eq!(
        report.table(),
        "a             passed      90.0 s\n\
         a longer one  FAILED      90.0 s  too bad\n\
         another       SKIPPED     90.0 s  no time\n\
         \n1 passed, 1 failed, 1 skipped\n"
    );
}

#[test]
fn a_command_that_exits_with_one_or_does_not_exist_is_a_failure() {
    let mut report = report();
    report.root = std::env::temp_dir();
    report.command("false", &mut Command::new("false"));
    report.command("nothing", &mut Command::new("no-program-of-this-name"));
    assert!(report.table().ends_with("\n0 passed, 2 failed\n"));
    assert_eq!(report.finish(), ExitCode::FAILURE);
}

#[test]
fn a_command_is_shown_as_typed_in_the_root() {
    let mut command = Command::new("/somewhere/target/tool");
    command.args(["check", "two words"]).env("NAME", "a b");
    assert_eq!(shown(&command, Path::new("/somewhere")), "NAME='a b' target/tool check 'two words'");
}
