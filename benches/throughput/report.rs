//! The results as a table on the terminal and as a JSON file.

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

/// One comparison. A ratio above 1 means that regun is better. NaN (`null` in JSON) stands for a value that was not
/// measured.
#[derive(Debug, Serialize)]
pub struct Row {
    pub name: String,
    /// The value of regun.
    pub ours: f64,
    /// Fraction of the device's peak speed that regun reaches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_of_peak: Option<f64>,
    pub baseline: f64,
    pub baseline_name: String,
    pub unit: String,
    pub ratio: f64,
}

impl Row {
    /// A row of rates: more is better, ratio = ours / baseline.
    pub fn faster(name: &str, ours: f64, baseline: f64, baseline_name: &str, unit: &str) -> Self {
        let (name, baseline_name, unit) = (name.to_owned(), baseline_name.to_owned(), unit.to_owned());
        Row { name, ours, share_of_peak: None, baseline, baseline_name, unit, ratio: ours / baseline }
    }

    /// A row of costs: less is better, ratio = baseline / ours.
    pub fn cheaper(name: &str, ours: f64, baseline: f64, baseline_name: &str, unit: &str) -> Self {
        Row { ratio: baseline / ours, ..Self::faster(name, ours, baseline, baseline_name, unit) }
    }
}

/// The median of `values`. NaN if there are none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

/// The rows as aligned text.
pub fn table(rows: &[Row]) -> String {
    let width = |text: fn(&Row) -> &str| rows.iter().map(|row| text(row).len()).max().unwrap_or(0);
    let (name, baseline) = (width(|row| &row.name), width(|row| &row.baseline_name));
    rows.iter().fold(String::new(), |mut text, row| {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:name$}  regun {:>9} {unit}  {:baseline$} {:>9} {unit}  ratio {}",
            row.name,
            number(row.ours, 1),
            row.baseline_name,
            number(row.baseline, 1),
            number(row.ratio, 3),
            unit = row.unit,
        );
        text
    })
}

fn number(value: f64, digits: usize) -> String {
    if value.is_nan() { "-".into() } else { format!("{value:.digits$}") }
}

/// Writes the rows as a JSON list. Creates the folder if it is missing.
pub fn write_json(rows: &[Row], path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, serde_json::to_string_pretty(rows)? + "\n")
}
