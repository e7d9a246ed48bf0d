//! The parts of a data set.

/// A part of the data, named by its purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// Training images to keep.
    Retain,
    /// Training images to forget.
    Forget,
    /// Retain and forget together: the training set of the base model.
    Train,
    /// As many retain samples as there are forget samples.
    RetainSubset,
    /// Disjoint from all training data: the reference images of ReGUn.
    HeldOut,
    /// Validation images, cut from the training set.
    Val,
    /// The test set.
    Test,
}

impl Part {
    /// The name in logs, messages and random keys.
    pub fn name(self) -> &'static str {
        match self {
            Part::Retain => "retain",
            Part::Forget => "forget",
            Part::Train => "train",
            Part::RetainSubset => "retain_subset",
            Part::HeldOut => "heldout",
            Part::Val => "val",
            Part::Test => "test",
        }
    }
}
