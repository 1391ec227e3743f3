//! Curves as SVG: panels side by side, both axes logarithmic.

use std::fmt::Write;
use std::path::Path;

use crate::crew::Result;

/// One curve.
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// One diagram.
pub struct Panel {
    title: &'static str,
    unit: &'static str,
    pub series: Vec<Series>,
}

impl Panel {
    pub fn new(title: &'static str, unit: &'static str) -> Panel {
        Panel { title, unit, series: Vec::new() }
    }
}

const COLOURS: [&str; 6] = ["#0060a8", "#c04000", "#008060", "#8040a0", "#a07000", "#606060"];

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 56.0;
const TOP: f64 = 56.0;

/// Writes a picture of the panels.
pub fn write(file: &Path, title: &str, panels: &[Panel]) -> Result<()> {
    let legend = panels.iter().map(|panel| panel.series.len()).max().unwrap_or_default() as f64 * 16.0;
    let (width, height) = (panels.len() as f64 * (WIDTH + LEFT + 24.0), TOP + HEIGHT + 56.0 + legend);
    let mut svg = String::new();
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">"#
    )?;
    writeln!(svg, r##"<rect width="{width}" height="{height}" fill="#ffffff"/>"##)?;
    writeln!(svg, r#"<text x="{LEFT}" y="22" font-size="15">{title}</text>"#)?;
    for (number, panel) in panels.iter().enumerate() {
        draw(&mut svg, panel, LEFT + number as f64 * (WIDTH + LEFT + 24.0))?;
    }
    writeln!(svg, "</svg>")?;
    Ok(std::fs::write(file, svg)?)
}

fn draw(svg: &mut String, panel: &Panel, left: f64) -> Result<()> {
    let points = || panel.series.iter().flat_map(|series| &series.points);
    let most_x = points().map(|point| point.0).fold(1.0, f64::max);
    // Whole powers of ten.
    let low = points().map(|point| point.1).fold(f64::MAX, f64::min).max(1.0).log10().floor();
    let high = points().map(|point| point.1).fold(10.0, f64::max).log10().ceil().max(low + 1.0);
    let bottom = TOP + HEIGHT;
    let x = |value: f64| left + value.ln() / most_x.ln().max(1.0) * (WIDTH - 12.0);
    let y = |value: f64| bottom - (value.max(1.0).log10() - low) / (high - low) * HEIGHT;
    writeln!(svg, r#"<text x="{left}" y="{}">{}</text>"#, TOP - 12.0, panel.title)?;
    let mut level = low;
    while level <= high {
        let value = 10f64.powf(level);
        let at = y(value);
        writeln!(svg, r##"<path d="M{left} {at:.1}h{WIDTH}" stroke="#d0d0d0"/>"##)?;
        let label = if level >= 3.0 { format!("{} us", value / 1e3) } else { format!("{value} ns") };
        writeln!(svg, r#"<text x="{}" y="{:.1}" text-anchor="end">{label}</text>"#, left - 6.0, at + 4.0)?;
        level += 1.0;
    }
    let Some(longest) = panel.series.iter().max_by_key(|series| series.points.len()) else { return Ok(()) };
    for &(value, _) in &longest.points {
        let at = x(value);
        writeln!(svg, r##"<path d="M{at:.1} {bottom}v5" stroke="#404040"/>"##)?;
        writeln!(svg, r#"<text x="{at:.1}" y="{}" text-anchor="middle">{value}</text>"#, bottom + 18.0)?;
    }
    writeln!(svg, r#"<text x="{}" y="{}" text-anchor="end">{}</text>"#, left + WIDTH, bottom + 34.0, panel.unit)?;
    for (number, series) in panel.series.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let line: Vec<String> =
            series.points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
        writeln!(svg, r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#, line.join(" "))?;
        for point in &series.points {
            writeln!(svg, r#"<circle cx="{:.1}" cy="{:.1}" r="3" fill="{colour}"/>"#, x(point.0), y(point.1))?;
        }
        let at = bottom + 50.0 + number as f64 * 16.0;
        writeln!(svg, r#"<path d="M{left} {:.1}h20" stroke="{colour}" stroke-width="2"/>"#, at - 4.0)?;
        writeln!(svg, r#"<text x="{}" y="{at:.1}">{}</text>"#, left + 26.0, series.name)?;
    }
    Ok(())
}
