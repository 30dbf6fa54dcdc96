//! Figures: panels of lines, side by side, with a title and an explanation.

use super::{
    BLUE, Draw, Drawn, FONT, GREEN, GREY, INK, ORANGE, PURPLE, PlotError, RED, percent, with_heading,
};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::{Path, PathBuf};

/// Width and height of a figure in pixels.
const SIZE: (u32, u32) = (1400, 760);
/// The height of the legend in pixels.
const LEGEND: u32 = 40;
/// The colours of lines, in their order; the eighth line has the first colour again.
const COLOURS: [RGBColor; 7] = [BLUE, ORANGE, GREEN, RED, PURPLE, INK, GREY];

/// One line of a panel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// Its name in the legend; an empty one is not in the legend.
    pub label: String,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
    /// The number of its colour, from 0.
    pub colour: usize,
    /// Whether it is dashed.
    pub dashed: bool,
    /// A dot for each point, with these texts beside the first of them.
    pub dots: Option<Vec<String>>,
}

/// One chart of a figure.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Panel {
    /// The description of the horizontal axis.
    pub x: String,
    /// The description of the vertical axis.
    pub y: String,
    /// Whether the vertical axis shows percentages.
    pub percent: bool,
    /// A part of the vertical axis that is always shown.
    pub shows: (f64, f64),
    /// The lines, drawn in this order.
    pub lines: Vec<Line>,
}

/// Panels under one title.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figure {
    /// The title.
    pub title: String,
    /// Lines of explanation below it.
    pub explanation: Vec<String>,
    /// The charts, from left to right. The legend has the lines of the first.
    pub panels: Vec<Panel>,
}

impl Figure {
    /// Draws `name.svg` and `name.png` in a folder, which is made if it is absent. Returns the files' paths.
    ///
    /// # Errors
    /// The folder or a file in it can't be written.
    pub fn write(&self, name: &str, folder: &Path) -> Result<[PathBuf; 2], PlotError> {
        super::write(self, name, SIZE, folder)
    }
}

impl Draw for Figure {
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Drawn
    where
        B::ErrorType: 'static,
    {
        area.fill(&WHITE)?;
        let below = with_heading(area, &self.title, &self.explanation)?;
        let (legend, below) = below.split_vertically(LEGEND);
        let lines = self.panels.first().map(|panel| panel.lines.as_slice()).unwrap_or_default();
        draw_legend(lines, &legend)?;
        for (panel, area) in self.panels.iter().zip(&below.split_evenly((1, self.panels.len().max(1)))) {
            panel.draw(area)?;
        }
        area.present()?;
        Ok(())
    }
}

/// Draws the names of the lines from left to right, each after a piece of its line.
fn draw_legend<B: DrawingBackend>(lines: &[Line], area: &DrawingArea<B, Shift>) -> Drawn
where
    B::ErrorType: 'static,
{
    const HEIGHT: i32 = LEGEND as i32 / 2;
    let mut left = 30;
    for line in lines.iter().filter(|line| !line.label.is_empty()) {
        let style = line.style();
        let gap = if line.dashed { 8 } else { 0 };
        area.draw(&PathElement::new([(left, HEIGHT), (left + 18 - gap / 2, HEIGHT)], style))?;
        area.draw(&PathElement::new([(left + 18 + gap / 2, HEIGHT), (left + 36, HEIGHT)], style))?;
        let font = (FONT, 20).into_font();
        let (width, _) = area.estimate_text_size(&line.label, &font.clone().into())?;
        area.draw(&Text::new(line.label.clone(), (left + 46, HEIGHT - 5), font.color(&INK)))?;
        left += 46 + width as i32 + 40;
    }
    Ok(())
}

impl Line {
    fn style(&self) -> ShapeStyle {
        COLOURS[self.colour % COLOURS.len()].stroke_width(3)
    }
}

/// The smallest range that holds all values; `start` where there are none.
fn range(values: impl Iterator<Item = f64>, start: (f64, f64)) -> (f64, f64) {
    values.fold(start, |(low, high), value| (low.min(value), high.max(value)))
}

impl Panel {
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Drawn
    where
        B::ErrorType: 'static,
    {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let (left, right) = range(points().map(|point| point.0), (0.0, f64::MIN_POSITIVE));
        let (low, high) = range(points().map(|point| point.1), self.shows);
        // A share is never below 0.
        let below = if low == 0.0 { 0.0 } else { low - 0.05 * (high - low) };
        let above = high + 0.05 * (high - low).max(f64::MIN_POSITIVE);
        let mut chart = ChartBuilder::on(area)
            .margin(20)
            .x_label_area_size(62)
            .y_label_area_size(80)
            .build_cartesian_2d(left..right * 1.02, below..above)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc(&self.x)
            .y_desc(&self.y)
            .x_labels(7)
            .axis_desc_style((FONT, 21))
            .label_style((FONT, 19))
            .x_label_formatter(&|&x| number(x))
            .y_label_formatter(&|&y| match self.percent {
                true => percent(y),
                false if high >= 10.0 => number(y),
                false => format!("{y:.2}"),
            })
            .draw()?;
        for line in &self.lines {
            let points = || line.points.iter().copied();
            if line.dashed {
                chart.draw_series(DashedLineSeries::new(points(), 9, 6, line.style()))?;
            } else {
                chart.draw_series(LineSeries::new(points(), line.style()))?;
            }
            let colour = line.style().color;
            for (at, text) in points().zip(line.dots.iter().flatten()) {
                // Below the line, and inside of the panel for the last points.
                let beside = if at.0 > 0.9 * right { (-14, 12) } else { (10, 4) };
                let beside = Text::new(text.clone(), beside, (FONT, 18).into_font().color(&colour));
                let dot = EmptyElement::at(at) + Circle::new((0, 0), 5, colour.filled()) + beside;
                chart.draw_series([dot])?;
            }
        }
        Ok(())
    }
}

/// A number of an axis, with a comma between thousands.
fn number(x: f64) -> String {
    if x.fract() != 0.0 {
        return format!("{x:.2}");
    }
    let (thousands, rest) = ((x / 1000.0).trunc(), x % 1000.0);
    if thousands == 0.0 { format!("{rest}") } else { format!("{thousands},{rest:03}") }
}

#[cfg(test)]
mod tests;
