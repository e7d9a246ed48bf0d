//! `make demo` tells the truth in a small way: on the pinned seed the base model gives its training images away, the
//! retrained one does not, and ReGUn brings the base model close to the retrained one.

mod common;

use common::Workspace;
use serde_json::Value;

#[test]
fn unlearning_visibly_does_its_job() {
    let workspace = Workspace::new();
    let finished = workspace.regun("pipeline experiment=demo hydra.run.dir=run").succeeds();
    for told in ["base", "retrained", "ReGUn", "RMIA AUC", "average gap", "results and logs: run", "cache/models"] {
        assert!(finished.stdout.contains(told), "the table does not say {told}\n{finished}");
    }
    let results = std::fs::read_to_string(workspace.path("run/results.json")).unwrap();
    let results: Value = serde_json::from_str(&results).unwrap();
    let metric = |model: &str, name: &str| results[model][name].as_f64().unwrap();
    let [base, retrained, regun] = ["base", "retrained", "ReGUn"].map(|model| metric(model, "rmia_auc"));
    assert!(metric("base", "acc_test") > 0.95, "{finished}");
    assert!(base >= retrained + 0.1, "{finished}");
    assert!((regun - retrained).abs() <= (base - retrained) / 2.0, "{finished}");
}
