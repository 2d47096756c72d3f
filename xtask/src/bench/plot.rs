//! Plots as SVG, to stand in a page.

use plotters::prelude::*;

use crate::util::{Context, Failure};

/// A line through points.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// Both axes logarithmic.
pub(super) fn lines(title: &str, axes: (&str, &str), all: &[Line]) -> Result<String, Failure> {
    let range = |pick: fn(&(f64, f64)) -> f64| {
        let every = || all.iter().flat_map(|line| &line.points).map(pick).filter(|value| *value > 0.0);
        let (least, most) = (every().fold(f64::INFINITY, f64::min), every().fold(0.0, f64::max));
        (least / 1.5, most * 1.5)
    };
    let (x, y) = (range(|point| point.0), range(|point| point.1));
    if !(x.0.is_finite() && y.0.is_finite()) {
        return Ok(String::new());
    }
    let mut svg = String::new();
    draw(&mut svg, title, axes, all, x, y).context(|| format!("cannot draw {title}"))?;
    Ok(svg)
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

fn draw(
    svg: &mut String,
    title: &str,
    axes: (&str, &str),
    all: &[Line],
    x: (f64, f64),
    y: (f64, f64),
) -> Drawn {
    let root = SVGBackend::with_string(svg, (640, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d((x.0..x.1).log_scale(), (y.0..y.1).log_scale())?;
    chart.configure_mesh().x_desc(axes.0).y_desc(axes.1).light_line_style(WHITE).draw()?;
    for (at, line) in all.iter().enumerate() {
        let color = Palette99::pick(at).to_rgba();
        let points = || line.points.iter().copied().filter(|(x, y)| *x > 0.0 && *y > 0.0);
        chart
            .draw_series(LineSeries::new(points(), color.stroke_width(2)).point_size(3))?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.3)).draw()?;
    root.present()?;
    Ok(())
}
