//! Plots of an evaluation, as SVG and PNG, with explanations in them.
//!
//! Text uses a font in the program, so the system needs no fonts.

use crate::curve::ReliabilityBin;
use crate::evaluate::{Estimate, Evaluation, Metric};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use std::error::Error;
use std::fs::create_dir_all;
use std::path::{Path, PathBuf};
use tiny_dancer_core::RiskBudget;
use tiny_dancer_core::promise::{RiskStep, resolve};

pub mod figure;

/// Width and height in pixels.
const SIZE: (u32, u32) = (1200, 800);
const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(51, 51, 51);
/// Okabe and Ito's colours, which colour-blind people can distinguish.
const BLUE: RGBColor = RGBColor(0, 114, 178);
const ORANGE: RGBColor = RGBColor(230, 159, 0);
const GREEN: RGBColor = RGBColor(0, 158, 115);
const RED: RGBColor = RGBColor(213, 94, 0);
const PURPLE: RGBColor = RGBColor(204, 121, 167);
const GREY: RGBColor = RGBColor(140, 140, 140);

/// Why plotting failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlotError {
    /// The plot could not be drawn or written.
    #[error("cannot draw {}: {source}", path.display())]
    Draw {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The font in the program cannot be read.
    #[error("the font cannot be read")]
    Font,
    /// The folder cannot be made.
    #[error("cannot make {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Draws `cost-quality`, `reliability` and `risk` as `.svg` and `.png` in a folder. Returns the files' paths. `path`
/// is the model's path of thresholds, `budget` the promise to show.
///
/// # Errors
/// The folder or a file in it can't be written.
pub fn plot(
    evaluation: &Evaluation,
    path: &[RiskStep],
    budget: RiskBudget,
    folder: &Path,
) -> Result<Vec<PathBuf>, PlotError> {
    let charts = [
        ("cost-quality", Chart::CostQuality(evaluation)),
        ("reliability", Chart::Reliability(evaluation)),
        ("risk", Chart::Risk(evaluation, path, budget)),
    ];
    let mut written = vec![];
    for (name, chart) in charts {
        written.extend(write(&chart, name, SIZE, folder)?);
    }
    Ok(written)
}

/// Draws one picture as `.svg` and `.png` in a folder, which is made if it is absent. Returns the files' paths.
fn write(
    picture: &impl Draw,
    name: &str,
    size: (u32, u32),
    folder: &Path,
) -> Result<[PathBuf; 2], PlotError> {
    register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT)
        .map_err(|_| PlotError::Font)?;
    create_dir_all(folder).map_err(|source| PlotError::Folder { path: folder.to_owned(), source })?;
    let svg = folder.join(name).with_extension("svg");
    let drawn = picture.draw(&SVGBackend::new(&svg, size).into_drawing_area());
    drawn.map_err(|source| PlotError::Draw { path: svg.clone(), source })?;
    let png = folder.join(name).with_extension("png");
    let drawn = picture.draw(&BitMapBackend::new(&png, size).into_drawing_area());
    drawn.map_err(|source| PlotError::Draw { path: png.clone(), source })?;
    Ok([svg, png])
}

/// A picture for any backend.
trait Draw {
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Drawn
    where
        B::ErrorType: 'static;
}

enum Chart<'a> {
    CostQuality(&'a Evaluation),
    Reliability(&'a Evaluation),
    Risk(&'a Evaluation, &'a [RiskStep], RiskBudget),
}

type Drawn = Result<(), Box<dyn Error + Send + Sync>>;

impl Draw for Chart<'_> {
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Drawn
    where
        B::ErrorType: 'static,
    {
        area.fill(&WHITE)?;
        match *self {
            Self::CostQuality(evaluation) => cost_quality(evaluation, area)?,
            Self::Reliability(evaluation) => reliability(evaluation, area)?,
            Self::Risk(evaluation, path, budget) => risk(evaluation, path, budget, area)?,
        }
        area.present()?;
        Ok(())
    }
}

/// Writes a title and lines of explanation. Returns the area below them.
fn with_heading<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    title: &str,
    lines: &[String],
) -> Result<DrawingArea<B, Shift>, DrawingAreaErrorKind<B::ErrorType>> {
    area.draw(&Text::new(title.to_owned(), (30, 22), (FONT, 32).into_font().color(&BLACK)))?;
    for (i, line) in lines.iter().enumerate() {
        let at = (30, 64 + 26 * i as i32);
        area.draw(&Text::new(line.clone(), at, (FONT, 20).into_font().color(&INK)))?;
    }
    Ok(area.split_vertically(72 + 26 * lines.len() as u32).1)
}

fn percent(share: f64) -> String {
    format!("{:.0}%", 100.0 * share)
}

/// The points at least a few pixels apart, with both ends.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    const DISTANCE: f64 = 0.004;
    let mut kept: Vec<(f64, f64)> = vec![];
    for &point in points {
        if kept.last().is_none_or(|last| point.0 - last.0 >= DISTANCE) {
            kept.push(point);
        }
    }
    if let Some(&end) = points.last().filter(|&end| kept.last() != Some(end)) {
        kept.push(end);
    }
    kept
}

fn cost_quality<B: DrawingBackend>(evaluation: &Evaluation, area: &DrawingArea<B, Shift>) -> Drawn
where
    B::ErrorType: 'static,
{
    let shown = [
        ("model", BLUE, 4),
        ("nearest-100", ORANGE, 2),
        ("logistic", GREEN, 2),
        ("random", GREY, 2),
        ("oracle", PURPLE, 2),
    ];
    let curves: Vec<_> = shown
        .iter()
        .filter_map(|&(name, colour, width)| {
            let routed = evaluation.routers.iter().find(|routed| routed.name == name)?;
            Some((routed, evaluation.curve(routed), ShapeStyle::from(&colour).stroke_width(width)))
        })
        .collect();
    let scores = || curves.iter().flat_map(|(_, curve, _)| curve.points.iter().map(|point| point.1));
    let (low, high) = (scores().fold(1.0, f64::min), scores().fold(0.0, f64::max));
    let margin = 0.06 * (high - low);
    let below = with_heading(
        area,
        "Mean score by share of calls of the powerful model",
        &[
            format!("Mean score over {} rows, if the share of requests on the horizontal axis goes to the powerful model and the", evaluation.outcomes.len()),
            "rest to the lightweight one. Each router sends its least confident requests to the powerful model. Higher is better.".to_owned(),
        ],
    )?;
    let mut chart = ChartBuilder::on(&below)
        .margin(24)
        .x_label_area_size(64)
        .y_label_area_size(84)
        .build_cartesian_2d(0.0..1.0, low - margin..high + margin)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("share of requests that go to the powerful model")
        .y_desc("mean score")
        .axis_desc_style((FONT, 22))
        .label_style((FONT, 20))
        .x_label_formatter(&|&share| percent(share))
        .y_label_formatter(&|&share| percent(share))
        .draw()?;
    for (routed, curve, style) in curves {
        let style: ShapeStyle = style;
        let points = thinned(&curve.points).into_iter().map(|(share, score)| (1.0 - share, score));
        let apgr = routed.metrics[Metric::Apgr as usize];
        let label = match apgr {
            Some(Estimate { value, low, high }) => {
                format!("{}: APGR {value:.3} [{low:.3}, {high:.3}]", routed.name)
            }
            None => routed.name.clone(),
        };
        chart
            .draw_series(LineSeries::new(points, style))?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 30, y)], style));
    }
    legend(&mut chart, SeriesLabelPosition::LowerRight)
}

fn reliability<B: DrawingBackend>(evaluation: &Evaluation, area: &DrawingArea<B, Shift>) -> Drawn
where
    B::ErrorType: 'static,
{
    let bins = evaluation.reliability();
    let rows = evaluation.outcomes.len();
    let ece = crate::curve::ece(&bins);
    let below = with_heading(
        area,
        "Confidence against outcome",
        &[
            format!(
                "{rows} rows in {} bins by confidence. On the diagonal, the lightweight model suffices for a share p of the",
                bins.len()
            ),
            format!("requests with confidence p. Expected calibration error {ece:.3}."),
        ],
    )?;
    let mut chart = ChartBuilder::on(&below)
        .margin(24)
        .x_label_area_size(64)
        .y_label_area_size(84)
        .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("the model's confidence that the lightweight model suffices")
        .y_desc("share of rows where it suffices")
        .axis_desc_style((FONT, 22))
        .label_style((FONT, 20))
        .x_label_formatter(&|&share| percent(share))
        .y_label_formatter(&|&share| percent(share))
        .draw()?;
    let width = 1.0 / bins.len() as f64;
    let filled = || bins.iter().enumerate().filter(|(_, bin)| bin.rows > 0.0);
    let bars = filled().map(|(i, bin)| {
        let (left, share) = (i as f64 * width, bin.rows / rows as f64);
        Rectangle::new([(left + 0.1 * width, 0.0), (left + 0.9 * width, share)], GREY.mix(0.35).filled())
    });
    chart
        .draw_series(bars)?
        .label("share of all rows in the bin")
        .legend(|(x, y)| Rectangle::new([(x, y - 6), (x + 30, y + 6)], GREY.mix(0.35).filled()));
    let diagonal = DashedLineSeries::new([(0.0, 0.0), (1.0, 1.0)], 8, 6, INK.stroke_width(1));
    chart
        .draw_series(diagonal)?
        .label("perfectly calibrated")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 30, y)], INK.stroke_width(1)));
    let whiskers = filled().map(|(_, bin)| {
        let (low, high) = wilson(bin);
        PathElement::new([(bin.confidence, low), (bin.confidence, high)], BLUE.stroke_width(2))
    });
    chart.draw_series(whiskers)?;
    chart
        .draw_series(filled().map(|(_, bin)| Circle::new((bin.confidence, bin.sufficed), 7, BLUE.filled())))?
        .label("the model, with 95% intervals")
        .legend(|(x, y)| Circle::new((x + 15, y), 7, BLUE.filled()));
    legend(&mut chart, SeriesLabelPosition::UpperLeft)
}

/// Wilson's 95% interval of a bin's share.
fn wilson(bin: &ReliabilityBin) -> (f64, f64) {
    const Z: f64 = 1.96;
    let (n, p) = (bin.rows, bin.sufficed);
    let centre = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    (centre - half, centre + half)
}

fn risk<B: DrawingBackend>(
    evaluation: &Evaluation,
    path: &[RiskStep],
    budget: RiskBudget,
    area: &DrawingArea<B, Shift>,
) -> Drawn
where
    B::ErrorType: 'static,
{
    let RiskBudget { alpha, delta } = budget;
    // The rates over the first few rows are too noisy to draw.
    let mut measured = thinned(&evaluation.failures());
    measured.retain(|point| point.0 >= 0.03);
    let steps: Vec<(RiskStep, f64)> = path.iter().map(|step| (*step, evaluation.sent_by(step))).collect();
    let bound = || steps.iter().map(|(step, share)| (*share, step.failure_bound(delta)));
    let kept = resolve(path, budget).ok();
    let promise = match kept {
        Some(step) => format!(
            "The dot keeps the promise of at most {} with confidence {}: {} of the rows here go to the lightweight model.",
            percent(alpha),
            percent(1.0 - delta),
            percent(evaluation.sent_by(&step))
        ),
        None => format!(
            "This model can't promise at most {} with confidence {}: no bound is below the line.",
            percent(alpha),
            percent(1.0 - delta)
        ),
    };
    let below = with_heading(
        area,
        "Risk by share of calls of the lightweight model",
        &[
            format!(
                "The share of the requests sent to the lightweight model that it fails, by the share that is sent, over {} rows.",
                evaluation.outcomes.len()
            ),
            promise,
        ],
    )?;
    let points = || measured.iter().copied().chain(bound());
    let top = points().map(|point| point.1).fold(alpha, f64::max) * 1.1;
    let mut chart = ChartBuilder::on(&below)
        .margin(24)
        .x_label_area_size(64)
        .y_label_area_size(84)
        .build_cartesian_2d(0.0..1.0, 0.0..top)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("share of requests that go to the lightweight model")
        .y_desc("share of them that it fails")
        .axis_desc_style((FONT, 22))
        .label_style((FONT, 20))
        .x_label_formatter(&|&share| percent(share))
        .y_label_formatter(&|&share| percent(share))
        .draw()?;
    chart
        .draw_series(LineSeries::new(measured.iter().copied(), BLUE.stroke_width(3)))?
        .label("measured on these rows")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 30, y)], BLUE.stroke_width(3)));
    if !steps.is_empty() {
        chart
            .draw_series(LineSeries::new(bound(), ORANGE.stroke_width(3)).point_size(4))?
            .label(format!("bound from the certifying rows, confidence {}", percent(1.0 - delta)))
            .legend(|(x, y)| PathElement::new([(x, y), (x + 30, y)], ORANGE.stroke_width(3)));
    }
    chart
        .draw_series(DashedLineSeries::new([(0.0, alpha), (1.0, alpha)], 10, 6, RED.stroke_width(2)))?
        .label(format!("promised: at most {}", percent(alpha)))
        .legend(|(x, y)| PathElement::new([(x, y), (x + 30, y)], RED.stroke_width(2)));
    if let Some(step) = kept {
        let at = (evaluation.sent_by(&step), step.failure_bound(delta));
        chart
            .draw_series([Circle::new(at, 9, RED.filled())])?
            .label(format!("boldest step that keeps it: confidence {:.3}", step.confidence_threshold))
            .legend(|(x, y)| Circle::new((x + 15, y), 9, RED.filled()));
    }
    legend(&mut chart, SeriesLabelPosition::LowerRight)
}

/// Draws the legend of a chart's series.
fn legend<'a, B: DrawingBackend + 'a>(
    chart: &mut ChartContext<
        'a,
        B,
        Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
    >,
    position: SeriesLabelPosition,
) -> Drawn
where
    B::ErrorType: 'static,
{
    chart
        .configure_series_labels()
        .position(position)
        .margin(20)
        .legend_area_size(42)
        .background_style(WHITE.mix(0.9))
        .border_style(GREY)
        .label_font((FONT, 20))
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests;
