//! `simulate` on a few hundred synthetic rows.

use crate::{Folder, run, stderr, stdout};
use serde_json::Value;
use std::process::Command;

/// A simulation in windows of 50 requests.
fn simulate(folder: &Folder) -> Command {
    let mut command = folder.command("simulate");
    command.args(["--requests", "250", "--streams", "2", "--window", "50"]);
    command
}

#[test]
fn simulate_prints_learning_curves_and_what_shadowing_costs() {
    let folder = Folder::new();
    let output = run(&mut simulate(&folder));
    let text = stdout(&output);
    for expected in [
        "random",
        "by-subject",
        "knows everything",
        "frozen",
        "APGR behind",
        "shadowing",
        "nothing can be learnt",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    assert!(!text.contains("by-file") && !text.contains("pair-after-pair"), "{text}");
    // 4 shadow rates, 2 rates of exploring.
    assert_eq!(text.lines().filter(|line| line.starts_with("easy-to-hard  ")).count(), 8 + 1, "{text}");
    assert_eq!(output.stderr, b"");
}

#[test]
fn one_seed_gives_the_same_simulation_on_any_number_of_threads() {
    let folder = Folder::new();
    let one = stdout(&run(simulate(&folder).arg("--json").env("RAYON_NUM_THREADS", "1")));
    assert_eq!(one, stdout(&run(simulate(&folder).arg("--json").env("RAYON_NUM_THREADS", "2"))));
    assert_ne!(one, stdout(&run(simulate(&folder).args(["--json", "--seed", "77"]))));
    let json: Value = serde_json::from_str(&one).expect("it is JSON");
    let at = &json["orders"][0]["checkpoints"];
    assert_eq!((&at[0]["after"], &at[4]["after"]), (&0.into(), &200.into()));
    assert!(at[4]["knows_everything"]["apgr"].as_f64().is_some_and(|apgr| apgr > 0.5), "{at}");
    assert_eq!(json["orders"][0]["shadowing"][0]["shadowed"], 0);
}

#[test]
fn simulate_draws_a_figure_of_each_order_and_one_of_costs() {
    let folder = Folder::new();
    stdout(&run(simulate(&folder).args(["--order", "by-subject", "--plots"]).arg(folder.path("plots"))));
    let files = std::fs::read_dir(folder.path("plots")).expect("the folder was made");
    let mut names: Vec<_> = files.map(|file| file.expect("it can be listed").file_name()).collect();
    names.sort();
    let expected = ["learning-by-subject.png", "learning-by-subject.svg", "shadowing.png", "shadowing.svg"];
    assert_eq!(names, expected);
}

#[test]
fn bad_arguments_of_a_simulation_are_refused_with_their_values() {
    let folder = Folder::new();
    let refused = |args: &[&str]| stderr(&run(simulate(&folder).args(args)));
    for (args, expected) in [
        (&["--shadow-rate", "1.5"][..], "shadow-rate is 1.5, expected 0 to 1"),
        (&["--price-ratio", "0"], "price-ratio is 0, expected a finite number, more than 0"),
        (&["--order", "by-file"], "order by-file needs several files"),
        (&["--pair", "small,large"], "row-0 has the scores of no pair of models"),
        (&["--pair", "small"], "the pair is \"small\", expected LIGHTWEIGHT,POWERFUL"),
        (&["--split", "none"], "there are no rows"),
    ] {
        let text = refused(args);
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
    let mut short = folder.command("simulate");
    let text = stderr(&run(short.args(["--requests", "199", "--window", "100"])));
    assert!(text.contains("a stream has 199 requests, expected twice the window of 100 at least"), "{text}");
    let mut twice = folder.command("simulate");
    let text = stderr(&run(twice.arg("--embeddings").arg(folder.path("embeddings.safetensors"))));
    assert!(text.contains("1 files of rows, but 2 of embeddings"), "{text}");
}

/// Streams under a budget.
fn spend(folder: &Folder, requests: &str) -> Command {
    let mut command = folder.command("simulate");
    command.args(["--budget", "--requests", requests, "--streams", "1", "--order", "random"]);
    command.args(["--order", "by-subject", "--shadow-rate", "0.5"]);
    command
}

#[test]
fn a_budget_is_never_overdrawn_where_each_answer_is_judged() {
    let folder = Folder::of(800);
    let output = run(spend(&folder, "800").arg("--json"));
    let json: Value = serde_json::from_str(&stdout(&output)).expect("it is JSON");
    let cells = json["cells"].as_array().expect("a list of cells");
    // 4 rates, 2 bursts, 4 kinds of verdicts, 2 orders and the enemy; the rows do not suffice for longer streams.
    assert_eq!(cells.len(), 4 * 2 * 4 * 3);
    let budget = |cell: &Value| -> Vec<u64> {
        let counts = cell["tallies"][0].as_array().expect("the budget's counts");
        counts.iter().map(|count| count.as_u64().expect("a count")).collect()
    };
    let certain: Vec<&Value> = cells.iter().filter(|cell| cell["judged"] == "1").collect();
    for cell in &certain {
        let [lightweight, worse, judged, overdrawn] = budget(cell)[..] else { panic!("{cell}") };
        assert_eq!((overdrawn, judged), (0, lightweight), "{cell}");
        // Another policy would overdraw here: the enemy makes all that is sent worse.
        if cell["traffic"] == "enemy" {
            assert!(worse == lightweight && worse > 0, "{cell}");
        }
    }
    assert_eq!(certain.len(), cells.len() / 4);
    assert!(certain.iter().any(|cell| cell["traffic"] == "random" && budget(cell)[0] > 0));
    let frozen = |cell: &Value| cell["tallies"][1][3].as_u64().expect("a count");
    assert!(cells.iter().filter(|cell| cell["traffic"] == "enemy").any(|cell| frozen(cell) > 0));
}

#[test]
fn one_seed_gives_the_same_spending_on_any_number_of_threads_and_a_picture() {
    let folder = Folder::new();
    let mut one = spend(&folder, "200");
    one.env("RAYON_NUM_THREADS", "1").arg("--plots").arg(folder.path("plots"));
    let one = stdout(&run(&mut one));
    assert_eq!(one, stdout(&run(spend(&folder, "200").env("RAYON_NUM_THREADS", "2"))));
    assert!(one.contains("| 1 | quality budget |") && one.contains("goals"), "{one}");
    assert!(folder.path("plots/budget.svg").exists() && folder.path("plots/budget.png").exists());
}

#[test]
fn bad_arguments_of_a_simulation_under_a_budget_are_refused() {
    let folder = Folder::new();
    for (args, expected) in [
        (&["--requests", "0"][..], "requests is 0, expected 1 or more"),
        (&["--shadow-rate", "1.5"], "shadow-rate is 1.5, expected 0 to 1"),
        (&["--judgement-price=-1"], "judgement-price is -1, expected a finite number"),
        (&["--judge", "0.5"], "cannot be used with '--judge"),
        (&["--window", "5"], "cannot be used with '--window"),
    ] {
        let mut command = folder.command("simulate");
        let text = stderr(&run(command.arg("--budget").args(args)));
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
}
