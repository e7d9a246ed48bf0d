//! The choice between training and evaluation transforms.

/// The transforms that a batch goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum View {
    /// The training transforms, with the random ones.
    Train,
    /// The evaluation transforms: the same image each time.
    Eval,
}
