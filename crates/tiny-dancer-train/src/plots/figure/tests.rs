use super::*;

fn figure() -> Figure {
    let line = |label: &str, colour| Line {
        label: label.to_owned(),
        points: vec![(0.0, 0.5), (1000.0, 0.6), (2000.0, 0.65)],
        colour,
        dashed: colour == 1,
        dots: (colour == 0).then(|| vec!["first".to_owned(), String::new(), String::new()]),
    };
    let panel = |percent| Panel {
        x: "requests".to_owned(),
        y: "APGR".to_owned(),
        percent,
        shows: (0.0, 1.0),
        lines: vec![line("learning", 0), line("frozen", 1)],
    };
    Figure {
        title: "Title".to_owned(),
        explanation: vec!["Why.".to_owned()],
        panels: vec![panel(false), panel(true)],
    }
}

#[test]
fn a_figure_is_written_as_svg_and_png_and_its_texts_are_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let [svg, png] = figure().write("learning", &folder.path().join("new")).unwrap();
    let text = std::fs::read_to_string(svg).unwrap();
    for expected in ["Title", "Why.", "requests", "learning", "frozen", "first", "1,000", "50%", "0.50"] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    assert!(std::fs::read(png).unwrap().starts_with(b"\x89PNG"));
}

#[test]
fn a_figure_without_points_is_drawn() {
    let mut figure = figure();
    for line in figure.panels.iter_mut().flat_map(|panel| &mut panel.lines) {
        line.points.clear();
    }
    figure.write("empty", tempfile::tempdir().unwrap().path()).unwrap();
}

#[test]
fn thousands_have_a_comma() {
    assert_eq!([0.0, 250.0, 1000.0, 12_034.0, 0.25].map(number), ["0", "250", "1,000", "12,034", "0.25"]);
}
