//! The summary table of results: models side by side in plain ASCII, for a terminal, a log file or an e-mail.

use super::results::ModelResult;

/// Rows of percentages: label, and name of the metric (a fraction).
const ACCURACIES: [(&str, &str); 4] = [
    ("accuracy retain (%)", "acc_retain"),
    ("accuracy forget (%)", "acc_forget"),
    ("accuracy val (%)", "acc_eval"),
    ("accuracy test (%)", "acc_test"),
];

/// Largest number of models with a column each. With more, the lines would be too long for a terminal, and each model
/// has a row.
const MAX_MODEL_COLUMNS: usize = 5;

/// Accuracies, RMIA AUC with its standard error, average gap to the retrained model, and seconds: one row each, one
/// column per model. With many models rows and columns are exchanged. `-` means not measured, `nan` not defined. Ends
/// with a newline.
pub fn summary(models: &[ModelResult]) -> String {
    let row = |label: &str, cell: &dyn Fn(&ModelResult) -> Option<String>| {
        let cells = models.iter().map(|model| cell(model).unwrap_or_else(|| "-".into()));
        std::iter::once(label.to_owned()).chain(cells).collect::<Vec<_>>()
    };
    let percent = |label: &str, key: &str| {
        row(label, &|model| model.metrics.get(key).map(|fraction| decimals(100.0 * fraction, 2)))
    };
    let mut rows = vec![row("model", &|model| Some(model.title.clone()))];
    rows.extend(ACCURACIES.map(|(label, key)| percent(label, key)));
    rows.push(row("RMIA AUC +- std. error", &|model| {
        let auc = model.metrics.get("rmia_auc")?;
        let error = model.metrics.get("rmia_auc_se").filter(|error| error.is_finite());
        Some(decimals(auc, 3) + &error.map(|error| format!(" +- {error:.3}")).unwrap_or_default())
    }));
    rows.push(percent("average gap (%)", "average_gap"));
    rows.push(row("seconds", &|model| model.seconds().map(|seconds| decimals(seconds, 1))));
    align(&if models.len() > MAX_MODEL_COLUMNS { transposed(&rows) } else { rows })
}

/// Exchanges rows and columns.
fn transposed(rows: &[Vec<String>]) -> Vec<Vec<String>> {
    (0..rows.first().map_or(0, Vec::len)).map(|i| rows.iter().map(|row| row[i].clone()).collect()).collect()
}

/// NaN is spelled as in the JSON results.
fn decimals(value: f64, places: usize) -> String {
    if value.is_nan() { "nan".into() } else { format!("{value:.places$}") }
}

/// Pads the columns to equal widths, with a rule under the first row. The first column is left-aligned, the others
/// right-aligned.
fn align(rows: &[Vec<String>]) -> String {
    let num_columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |i: usize| rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..num_columns).map(width).collect();

    let mut text = String::new();
    for (i, row) in rows.iter().enumerate() {
        let pad = |(i, (cell, width)): (usize, (&String, &usize))| match i {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        };
        let line = row.iter().zip(&widths).enumerate().map(pad).collect::<Vec<_>>().join("  ");
        text += &format!("{}\n", line.trim_end());
        if i == 0 {
            text += &widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>().join("  ");
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::Metrics;

    fn model(title: &str, metrics: impl IntoIterator<Item = (&'static str, f64)>) -> ModelResult {
        ModelResult { name: title.to_lowercase(), title: title.into(), metrics: Metrics::from_iter(metrics) }
    }

    #[test]
    fn models_side_by_side() {
        let base = [
            ("acc_retain", 1.0),
            ("acc_forget", 0.99956),
            ("acc_eval", 0.9341),
            ("acc_test", 0.93),
            ("rmia_auc", 0.71249),
            ("rmia_auc_se", 0.01151),
            ("average_gap", 0.0789),
            ("seconds_train", 1234.56),
        ];
        let retrained = [("acc_test", 0.9287), ("rmia_auc", f64::NAN), ("rmia_auc_se", f64::NAN)];
        let regun = [("acc_forget", 0.93), ("rmia_auc", 0.498), ("seconds_unlearn", 7.0), ("seconds_eval", 3.0)];
        let expected = "\
model                             base  retrained  ReGUn
----------------------  --------------  ---------  -----
accuracy retain (%)             100.00          -      -
accuracy forget (%)              99.96          -  93.00
accuracy val (%)                 93.41          -      -
accuracy test (%)                93.00      92.87      -
RMIA AUC +- std. error  0.712 +- 0.012        nan  0.498
average gap (%)                   7.89          -      -
seconds                         1234.6          -    7.0
";
        assert_eq!(summary(&[model("base", base), model("retrained", retrained), model("ReGUn", regun)]), expected);
    }

    #[test]
    fn with_many_models_each_is_a_row() {
        let models: Vec<ModelResult> =
            (0..6).map(|i| model(&format!("model {i}"), [("acc_test", 0.1 * i as f64)])).collect();
        let text = summary(&models);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("model ") && lines[0].contains("accuracy test (%)"), "{text}");
        assert!(lines[4].starts_with("model 2") && lines[4].contains("20.00"), "{text}");
        assert_eq!(lines.len(), 2 + 6);
    }

    #[test]
    fn without_models_only_the_labels_remain() {
        assert_eq!(summary(&[]).lines().count(), 9);
    }
}
