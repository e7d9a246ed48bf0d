//! The sizes of Swin Transformers.

/// Number of stages.
pub const STAGES: usize = 4;

/// Width, depth and drop probability of a Swin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SwinVariant {
    /// Channels of the first stage. Each later stage has twice as many.
    pub channels: i64,
    /// Number of blocks in each stage.
    pub depths: [usize; STAGES],
    /// Attention heads of the first stage. Each later stage has twice as many.
    pub heads: i64,
    /// Probability that training drops a residual branch of the last block. It grows linearly from 0 at the first
    /// block.
    pub drop: f64,
}

impl SwinVariant {
    pub const TINY: Self = SwinVariant { channels: 96, depths: [2, 2, 6, 2], heads: 3, drop: 0.2 };
    pub const SMALL: Self = SwinVariant { channels: 96, depths: [2, 2, 18, 2], heads: 3, drop: 0.3 };
    pub const BASE: Self = SwinVariant { channels: 128, depths: [2, 2, 18, 2], heads: 4, drop: 0.5 };

    /// Drop probability of each residual branch. A block has two branches with the same probability, attention and MLP,
    /// which are dropped independently.
    pub fn branch_drops(&self) -> Vec<f64> {
        let blocks: usize = self.depths.iter().sum();
        let of_block = |block: usize| self.drop * block as f64 / (blocks - 1).max(1) as f64;
        (0..blocks).flat_map(|block| [of_block(block); 2]).collect()
    }
}
