//! The names of models in results.

use crate::eval::Metrics;
use crate::report::ModelResult;
use crate::unlearn;

/// The result of a model of `role`, the role in its identity. `unlearn/regun` has the name `regun` and the title of the
/// method, `reference 1` the name `reference_1`.
pub fn of_role(role: &str, metrics: Metrics) -> ModelResult {
    let name = role.strip_prefix("unlearn/").unwrap_or(role).replace(' ', "_");
    let title = match unlearn::info(&name) {
        Ok(method) => method.title.to_owned(),
        Err(_) => role.to_owned(),
    };
    ModelResult { name, title, metrics }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_have_the_names_of_methods_and_roles() {
        let names = |role: &str| {
            let ModelResult { name, title, .. } = of_role(role, Metrics::new());
            (name, title)
        };
        for (role, name, title) in [
            ("unlearn/regun", "regun", "ReGUn"),
            ("unlearn/neggradp", "neggradp", "NegGrad+"),
            ("base", "base", "base"),
            ("reference 12", "reference_12", "reference 12"),
        ] {
            assert_eq!(names(role), (name.to_owned(), title.to_owned()));
        }
    }
}
