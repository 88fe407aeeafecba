//! Bars with their intervals, as SVG: for the documentation.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use super::statistics::Interval;

const WIDTH: f64 = 720.0;
const NAMES_WIDTH: f64 = 150.0;
/// Room for the number behind a bar.
const NUMBERS_WIDTH: f64 = 90.0;
const BAR_HEIGHT: f64 = 16.0;
const ROW_HEIGHT: f64 = 22.0;
const TOP: f64 = 34.0;

/// A row of a chart.
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) value: Interval,
    /// Whether it is what the chart is about.
    pub(crate) is_ours: bool,
}

/// Where plots go: `docs/plots` with `SAVE=1`, else `target/plots`, so that a run for its own sake changes nothing that is committed.
pub(crate) fn folder(root: &Path) -> PathBuf {
    let is_kept = env::var("SAVE").is_ok_and(|value| value == "1");
    root.join(if is_kept { "docs/plots" } else { "target/plots" })
}

/// Writes a chart of horizontal bars with 95 % intervals; on a logarithmic scale, lengths tell orders of magnitude.
pub(crate) fn write_bars(folder: &Path, file: &str, title: &str, is_logarithmic: bool, bars: &[Bar]) {
    fs::create_dir_all(folder).expect("the folder for plots");
    let path = folder.join(file);
    fs::write(&path, bars_svg(title, is_logarithmic, bars)).expect("a plot");
    eprintln!("plotted {}", path.display());
}

fn bars_svg(title: &str, is_logarithmic: bool, bars: &[Bar]) -> String {
    let highest = bars.iter().map(|bar| bar.value.high).fold(0.0, f64::max);
    let lowest = bars.iter().map(|bar| bar.value.low).fold(f64::INFINITY, f64::min);
    // The shortest bar of a logarithmic chart is still to be seen.
    let base = lowest / 2.0;
    let room = WIDTH - NAMES_WIDTH - NUMBERS_WIDTH;
    let length = |value: f64| {
        let share =
            if is_logarithmic { (value / base).ln() / (highest / base).ln() } else { value / highest };
        share * room
    };
    #[allow(clippy::cast_precision_loss, reason = "a dozen rows")]
    let height = bars.len() as f64 * ROW_HEIGHT + TOP + 8.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"8\" y=\"20\" font-size=\"14\" fill=\"#222222\">{title}</text>\n"
    );
    let mut y = TOP;
    for Bar { name, value, is_ours } in bars {
        let (color, text_y) = (if *is_ours { "#1f6f8b" } else { "#b8b8b8" }, y + BAR_HEIGHT - 4.0);
        let (low, high) = (NAMES_WIDTH + length(value.low), NAMES_WIDTH + length(value.high));
        let middle = y + BAR_HEIGHT / 2.0;
        let _ = write!(
            svg,
            "<text x=\"{:.0}\" y=\"{text_y:.0}\" text-anchor=\"end\" fill=\"#222222\">{name}</text>\n\
             <rect x=\"{NAMES_WIDTH}\" y=\"{y:.0}\" width=\"{:.1}\" height=\"{BAR_HEIGHT}\" fill=\"{color}\"/>\n\
             <path d=\"M{low:.1} {middle:.0}H{high:.1}\" stroke=\"#222222\" stroke-width=\"1.5\"/>\n\
             <text x=\"{:.1}\" y=\"{text_y:.0}\" fill=\"#222222\">{}</text>\n",
            NAMES_WIDTH - 6.0,
            length(value.median),
            high.max(NAMES_WIDTH + length(value.median)) + 6.0,
            short(value.median),
        );
        y += ROW_HEIGHT;
    }
    svg.push_str("</svg>\n");
    svg
}

/// A number with about three digits.
fn short(value: f64) -> String {
    match value {
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
