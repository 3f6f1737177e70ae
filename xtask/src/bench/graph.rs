//! The graph of `cargo xtask bench cost`: what h2trace takes of a core, by the load.

use std::fmt::Write as _;

/// What one load cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) calls_per_second: f64,
    /// Of the tracer.
    pub(super) cores: f64,
}

/// The picture, and the plane in it, in user units.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 60.0;

/// Lines across, and marks below.
const STEPS: u32 = 4;

/// Draws them as SVG that reads in light and in dark.
pub(super) fn draw(points: &[Point]) -> String {
    let most_calls = top(points.iter().map(|point| point.calls_per_second));
    let most_cores = top(points.iter().map(|point| point.cores));
    let x = |calls: f64| LEFT + calls / most_calls * (WIDTH - LEFT - RIGHT);
    let y = |cores: f64| HEIGHT - BOTTOM - cores / most_cores * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"Processor time of h2trace by load\">\n\
         <style>text{{font:13px sans-serif;fill:#57606a}} .axis{{stroke:#8c959f;stroke-width:1}} \
         .line{{fill:none;stroke:#0969da;stroke-width:2.5}} .dot{{fill:#0969da}} .unity{{stroke:#8c959f;stroke-dasharray:5 4}}</style>\n\
         <text x=\"{LEFT}\" y=\"22\">h2trace serve, both ends traced: cores it takes, by calls a second (100-byte responses)</text>\n"
    );
    // Writing to a String cannot fail.
    let mut put = |line: std::fmt::Arguments<'_>| {
        svg.write_fmt(line).ok();
        svg.push('\n');
    };
    for step in 0..=STEPS {
        let share = f64::from(step) / f64::from(STEPS);
        let (calls, cores) = (most_calls * share, most_cores * share);
        put(format_args!(
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{1:.1}\" y2=\"{1:.1}\" opacity=\"0.4\"/>",
            WIDTH - RIGHT,
            y(cores)
        ));
        put(format_args!(
            "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{cores:.2}</text>",
            LEFT - 8.0,
            y(cores) + 4.0
        ));
        put(format_args!(
            "<text x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{calls:.0}</text>",
            x(calls),
            HEIGHT - BOTTOM + 22.0
        ));
    }
    put(format_args!(
        "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">calls a second</text>",
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 14.0
    ));
    let line: Vec<String> = points
        .iter()
        .map(|point| format!("{:.1},{:.1}", x(point.calls_per_second), y(point.cores)))
        .collect();
    put(format_args!(
        "<polyline class=\"line\" points=\"{}\"/>",
        line.join(" ")
    ));
    for point in points {
        put(format_args!(
            "<circle class=\"dot\" r=\"4\" cx=\"{:.1}\" cy=\"{:.1}\"/>",
            x(point.calls_per_second),
            y(point.cores)
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

/// The end of an axis: one, two or five times a power of ten, not below any of the values.
fn top(values: impl Iterator<Item = f64>) -> f64 {
    let most = values.fold(f64::MIN_POSITIVE, f64::max);
    let power = 10_f64.powf(most.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|end| *end >= most)
        .unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_a_round_number_above_all() {
        for (most, want) in [(0.31, 0.5), (17_800.0, 20_000.0), (1.0, 1.0), (0.021, 0.05)] {
            assert!(
                (top([0.01 * most, most].into_iter()) - want).abs() < 1e-9,
                "{most}"
            );
        }
    }

    #[test]
    fn every_point_is_in_the_picture() {
        let points = [(1_000.0, 0.1), (9_000.0, 0.45)].map(|(calls_per_second, cores)| Point {
            calls_per_second,
            cores,
        });
        let svg = draw(&points);
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
