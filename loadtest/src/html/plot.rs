//! Plots as inline SVG: no script, and colours that the page's style gives.

use std::fmt::Write;

use super::axis::Axis;
use super::escape;

/// Size of a plot, in units that its width on the page stretches.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
/// What is around the data: names of values on the left and below.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 44.0;

/// A plot.
pub(super) struct Plot {
    pub(super) title: &'static str,
    /// A sentence on how to read it.
    pub(super) note: &'static str,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) layers: Vec<Layer>,
    pub(super) spots: Vec<Spot>,
}

/// Something that is drawn, the later above the earlier.
pub(super) struct Layer {
    pub(super) name: String,
    /// Its colour and dashes in the style.
    pub(super) class: &'static str,
    pub(super) shape: Shape,
}

pub(super) enum Shape {
    /// Through these points; none is a gap.
    Line(Vec<Option<(f64, f64)>>),
    /// Columns side by side: where each begins and ends, from which value to which.
    Columns(Vec<Column>),
    /// A value that is to be seen all along.
    Level(f64),
}

#[derive(Clone, Copy)]
pub(super) struct Column {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// A stretch of the x axis that says more when a pointer rests on it.
pub(super) struct Spot {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) title: String,
}

impl Plot {
    /// The plot with title, legend and note.
    pub(super) fn figure(&self) -> String {
        let mut out = format!(
            "<figure>\n<figcaption><h3>{}</h3><p>{}</p></figcaption>\n",
            escape(self.title),
            escape(self.note)
        );
        out.push_str("<ul class=\"legend\">");
        // What is drawn last lies on top, and is named first.
        for layer in self.layers.iter().rev() {
            let kind = if matches!(layer.shape, Shape::Columns(_)) { "block" } else { "stroke" };
            let _ = write!(
                out,
                "<li><svg viewBox=\"0 0 24 12\" aria-hidden=\"true\">{}</svg>{}</li>",
                if kind == "block" {
                    format!("<rect class=\"area {}\" width=\"24\" height=\"12\" rx=\"3\"/>", layer.class)
                } else {
                    format!("<path class=\"line {}\" d=\"M0 6H24\"/>", layer.class)
                },
                escape(&layer.name)
            );
        }
        out.push_str("</ul>\n");
        self.draw(&mut out);
        out.push_str("</figure>\n");
        out
    }

    fn draw(&self, out: &mut String) {
        let names: Vec<_> = self.layers.iter().map(|layer| layer.name.as_str()).collect();
        let _ = writeln!(
            out,
            "<div class=\"plot\"><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}: {}\">",
            escape(self.title),
            escape(&names.join(", "))
        );
        self.draw_axes(out);
        for layer in &self.layers {
            let class = layer.class;
            match &layer.shape {
                Shape::Line(points) => {
                    let _ = writeln!(out, "<path class=\"line {class}\" d=\"{}\"/>", self.line(points));
                    // A point between two gaps makes no line.
                    for (x, y) in lonely(points) {
                        let _ = writeln!(
                            out,
                            "<circle class=\"dot {class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2\"/>",
                            self.x(x),
                            self.y(y)
                        );
                    }
                }
                Shape::Columns(columns) => {
                    let _ = writeln!(out, "<path class=\"area {class}\" d=\"{}\"/>", self.columns(columns));
                }
                Shape::Level(value) => {
                    let y = self.y(*value);
                    let _ = writeln!(
                        out,
                        "<path class=\"line {class}\" d=\"M{LEFT} {y:.1}H{}\"/>",
                        WIDTH - RIGHT
                    );
                }
            }
        }
        for Spot { from, to, title } in &self.spots {
            let (from, to) = (self.x(*from), self.x(*to));
            let _ = writeln!(
                out,
                "<rect class=\"spot\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{}\"><title>{}</title></rect>",
                (to - from).max(0.1),
                HEIGHT - TOP - BOTTOM,
                escape(title)
            );
        }
        out.push_str("</svg></div>\n");
    }

    fn draw_axes(&self, out: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (at, name) in &self.y.ticks {
            let y = self.y(*at);
            let _ = writeln!(
                out,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/><text class=\"y\" x=\"{}\" y=\"{:.1}\">{}</text>",
                LEFT - 8.0,
                y + 4.0,
                escape(name)
            );
        }
        for (at, name) in &self.x.ticks {
            let x = self.x(*at);
            let _ = writeln!(
                out,
                "<path class=\"tick\" d=\"M{x:.1} {bottom}v5\"/><text class=\"x\" x=\"{x:.1}\" y=\"{}\">{}</text>",
                bottom + 18.0,
                escape(name)
            );
        }
        let _ = writeln!(
            out,
            "<path class=\"axis\" d=\"M{LEFT} {bottom}H{right}\"/><text class=\"label\" x=\"0\" y=\"12\">{}</text>\
             <text class=\"label end\" x=\"{right}\" y=\"{}\">{}</text>",
            escape(self.y.label),
            HEIGHT - 6.0,
            escape(self.x.label)
        );
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        TOP + (1.0 - self.y.place(value)) * (HEIGHT - TOP - BOTTOM)
    }

    fn line(&self, points: &[Option<(f64, f64)>]) -> String {
        let mut path = String::new();
        let mut is_down = false;
        for point in points {
            if let Some((x, y)) = point {
                let command = if is_down { 'L' } else { 'M' };
                let _ = write!(path, "{command}{:.1} {:.1}", self.x(*x), self.y(*y));
            }
            is_down = point.is_some();
        }
        path
    }

    fn columns(&self, columns: &[Column]) -> String {
        let mut path = String::new();
        for Column { from, to, low, high } in columns.iter().filter(|column| column.high > column.low) {
            let [from, to] = [from, to].map(|x| self.x(*x));
            let [low, high] = [low, high].map(|y| self.y(*y));
            let _ = write!(path, "M{from:.1} {low:.1}V{high:.1}H{to:.1}V{low:.1}Z");
        }
        path
    }
}

fn lonely(points: &[Option<(f64, f64)>]) -> impl Iterator<Item = (f64, f64)> {
    let is_gap =
        |index: Option<usize>| index.and_then(|index| points.get(index).copied().flatten()).is_none();
    let alone = move |index: usize| is_gap(index.checked_sub(1)) && is_gap(Some(index + 1));
    points.iter().enumerate().filter(move |(index, _)| alone(*index)).filter_map(|(_, point)| *point)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(shape: Shape) -> String {
        Plot {
            title: "a < b",
            note: "",
            x: Axis::time(10.0),
            y: Axis::linear(100.0, 4.0, "%", |at| format!("{at:.0}")),
            layers: vec![Layer { name: "one & two".to_owned(), class: "p50", shape }],
            spots: vec![Spot { from: 0.0, to: 1.0, title: "here".to_owned() }],
        }
        .figure()
    }

    #[test]
    fn a_gap_cuts_a_line_and_a_point_between_gaps_is_a_dot() {
        let points =
            [Some((0.0, 0.0)), Some((5.0, 50.0)), None, Some((7.5, 100.0)), None, Some((10.0, 100.0))];
        let svg = plot(Shape::Line(points.into()));
        assert!(svg.contains("d=\"M64.0 256.0L344.0 140.0M484.0 24.0M624.0 24.0\""), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 2, "{svg}");
        assert!(
            svg.contains("a &lt; b") && svg.contains("one &amp; two") && svg.contains("<title>here</title>")
        );
    }

    #[test]
    fn columns_stand_where_they_begin_and_end() {
        let columns = [(0.0, 5.0, 0.0, 50.0), (5.0, 10.0, 20.0, 20.0)];
        let columns = columns.map(|(from, to, low, high)| Column { from, to, low, high });
        let svg = plot(Shape::Columns(columns.into()));
        assert!(svg.contains("d=\"M64.0 256.0V140.0H344.0V256.0Z\""), "an empty one is not drawn: {svg}");
    }
}
