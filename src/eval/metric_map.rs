//! Named metrics in a fixed order: the result of an evaluation.

/// Metrics by name, in the order of insertion. An undefined metric (an attack without members, say) is NaN; a metric
/// that was not computed is absent.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    // A hundred entries at most: a scan is as fast as a hash map.
    entries: Vec<(String, f64)>,
}

impl Metrics {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a metric at the end. A known metric keeps its position and gets the new value.
    pub fn insert(&mut self, name: impl Into<String>, value: f64) {
        let name = name.into();
        match self.entries.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.entries.push((name, value)),
        }
    }

    pub fn get(&self, name: &str) -> Option<f64> {
        self.entries.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, f64)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), *value))
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<S: Into<String>> Extend<(S, f64)> for Metrics {
    fn extend<I: IntoIterator<Item = (S, f64)>>(&mut self, metrics: I) {
        for (name, value) in metrics {
            self.insert(name, value);
        }
    }
}

impl<S: Into<String>> FromIterator<(S, f64)> for Metrics {
    fn from_iter<I: IntoIterator<Item = (S, f64)>>(metrics: I) -> Self {
        let mut all = Metrics::new();
        all.extend(metrics);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_metric_keeps_its_position() {
        let mut metrics = Metrics::from_iter([("a", 1.0), ("b", 2.0)]);
        metrics.insert("a", 3.0);
        assert_eq!(metrics.iter().collect::<Vec<_>>(), [("a", 3.0), ("b", 2.0)]);
    }
}
