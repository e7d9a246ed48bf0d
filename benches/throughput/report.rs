//! The result: a table for people, JSON for programs.

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

/// One comparison. A ratio above 1 means that ours is better; NaN is what could not be measured, `null` in JSON.
#[derive(Debug, Serialize)]
pub struct Row {
    pub name: String,
    pub ours: f64,
    /// How much of what the device can do at most ours does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_of_peak: Option<f64>,
    pub baseline: f64,
    pub baseline_name: String,
    pub unit: String,
    pub ratio: f64,
}

impl Row {
    /// Rates: more is better, ratio = ours / baseline.
    pub fn faster(name: &str, ours: f64, baseline: f64, baseline_name: &str, unit: &str) -> Self {
        let (name, baseline_name, unit) = (name.to_owned(), baseline_name.to_owned(), unit.to_owned());
        Row { name, ours, share_of_peak: None, baseline, baseline_name, unit, ratio: ours / baseline }
    }

    /// Costs: less is better, ratio = baseline / ours.
    pub fn cheaper(name: &str, ours: f64, baseline: f64, baseline_name: &str, unit: &str) -> Self {
        Row { ratio: baseline / ours, ..Self::faster(name, ours, baseline, baseline_name, unit) }
    }
}

/// The middle value, the mean of the two middle ones where their number is even; NaN for none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

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

/// Writes the list of rows, making the folder where it is missing.
pub fn write_json(rows: &[Row], path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, serde_json::to_string_pretty(rows)? + "\n")
}
