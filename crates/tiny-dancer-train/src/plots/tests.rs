use super::*;
use crate::evaluate::tests::evaluation;

fn step(confidence_threshold: f32, n: u32, failures: u32) -> RiskStep {
    RiskStep { confidence_threshold, max_uncertainty: 0.99, n, failures }
}

/// The SVG of the plot of risk.
fn risk_svg(path: &[RiskStep]) -> String {
    let folder = tempfile::tempdir().unwrap();
    plot(&evaluation(), path, RiskBudget { alpha: 0.15, delta: 0.05 }, folder.path()).unwrap();
    std::fs::read_to_string(folder.path().join("risk.svg")).unwrap()
}

#[test]
fn each_chart_is_written_as_a_non_empty_svg_and_png() {
    let folder = tempfile::tempdir().unwrap();
    let budget = RiskBudget { alpha: 0.15, delta: 0.05 };
    let written = plot(&evaluation(), &[step(0.5, 200, 10)], budget, &folder.path().join("new")).unwrap();
    assert_eq!(written.len(), 6);
    for path in written {
        let bytes = std::fs::read(&path).unwrap();
        if path.extension().unwrap() == "png" {
            assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 15_000, "{}", path.display());
        } else {
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.starts_with("<svg") && text.contains("<text"));
        }
    }
}

#[test]
fn the_plot_of_risk_shows_whether_the_promise_is_kept() {
    assert!(risk_svg(&[step(0.5, 200, 10)]).contains("The dot keeps the promise"));
    let broken = risk_svg(&[step(0.5, 200, 90)]);
    assert!(broken.contains("promise at most 15%") && !broken.contains("The dot"));
}

#[test]
fn the_interval_is_that_of_wilson() {
    let (low, high) = wilson(&ReliabilityBin { rows: 10.0, confidence: 0.5, sufficed: 0.5 });
    assert!((low - 0.2366).abs() < 1e-3 && (high - 0.7634).abs() < 1e-3);
}

#[test]
fn thinning_keeps_both_ends() {
    let points: Vec<(f64, f64)> = (0..=1000).map(|i| (f64::from(i) / 1000.0, 0.0)).collect();
    let thin = thinned(&points);
    assert_eq!((thin[0], thin[thin.len() - 1]), (points[0], points[1000]));
    assert!(thin.len() > 150 && thin.len() < 260, "{}", thin.len());
    assert_eq!(thinned(&[]), []);
}
