//! The table of unlearning methods.

use super::{amun, finetune, l1sparse, lur, neggrad, neggradp, regun, salun, scrub, ssd};
use crate::config::schema::{OptimName, UnlearnConfig};
use crate::error::{Error, Result, did_you_mean};
use crate::train::{Method, Phase};

/// Reads the settings of a method and makes the method.
type Build = fn(&UnlearnConfig) -> Result<Box<dyn Method>>;

/// One unlearning method.
pub struct MethodInfo {
    /// Its choice in the configuration group `unlearn`.
    pub name: &'static str,
    /// Its name in tables of results.
    pub title: &'static str,
    /// Authors, year and arXiv number.
    pub paper: &'static str,
    build: Build,
}

/// All unlearning methods, in the order of tables.
pub const REGISTRY: &[MethodInfo] = &[
    MethodInfo {
        name: "regun",
        title: "ReGUn",
        paper: "Mirlach, Vogt, Laguna 2026, arXiv 2603.11210",
        build: regun::method::build,
    },
    MethodInfo {
        name: "finetune",
        title: "Finetune",
        paper: "Golatkar et al. 2020, arXiv 1911.04933",
        build: finetune::build,
    },
    MethodInfo {
        name: "neggrad",
        title: "NegGrad",
        paper: "Golatkar et al. 2020, arXiv 1911.04933",
        build: neggrad::build,
    },
    MethodInfo {
        name: "neggradp",
        title: "NegGrad+",
        paper: "Kurmanji et al. 2023, arXiv 2302.09880",
        build: neggradp::build,
    },
    MethodInfo {
        name: "l1sparse",
        title: "l1-sparse",
        paper: "Jia et al. 2023, arXiv 2304.04934",
        build: l1sparse::build,
    },
    MethodInfo { name: "scrub", title: "SCRUB", paper: "Kurmanji et al. 2023, arXiv 2302.09880", build: scrub::build },
    MethodInfo { name: "salun", title: "SalUn", paper: "Fan et al. 2024, arXiv 2310.12508", build: salun::build },
    MethodInfo { name: "ssd", title: "SSD", paper: "Foster et al. 2024, arXiv 2308.07707", build: ssd::build },
    MethodInfo {
        name: "amun",
        title: "AMUN",
        paper: "Ebrahimpour-Boroojeny et al. 2025, arXiv 2503.00917",
        build: amun::method::build,
    },
    MethodInfo { name: "lur", title: "LUR", paper: "Patel and Qiu 2025, arXiv 2503.06339", build: lur::method::build },
];

/// The registry's entry for the method `name`.
///
/// # Errors
/// `Usage` for an unknown name; the hint suggests a known one.
pub fn info(name: &str) -> Result<&'static MethodInfo> {
    REGISTRY.iter().find(|method| method.name == name).ok_or_else(|| {
        Error::usage(format!("unlearn.name={name}: no such method"))
            .hint(did_you_mean(name, REGISTRY.iter().map(|method| method.name)))
    })
}

/// Makes the configured method. Reads and checks its settings.
///
/// # Errors
/// `Usage` for an unknown method, for a setting outside its range, and for a phase of training without an optimizer.
pub fn build(config: &UnlearnConfig) -> Result<Box<dyn Method>> {
    let method = (info(&config.name)?.build)(config)?;
    match method.phases().iter().find(|phase| phase.optim.name == OptimName::None) {
        Some(Phase { name: "unlearn", .. }) => {
            Err(config.method.reject("optim.name", "sgd or adamw: this method trains"))
        }
        Some(Phase { name, .. }) => Err(config.method.reject(&format!("{name}.optim.name"), "sgd or adamw")),
        None => Ok(method),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_method_cites_its_paper() {
        for (i, method) in REGISTRY.iter().enumerate() {
            assert!(REGISTRY[..i].iter().all(|other| other.name != method.name), "{} twice", method.name);
            assert!(method.paper.contains("arXiv"), "{}: {}", method.name, method.paper);
        }
    }
}
