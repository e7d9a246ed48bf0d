//! Philox4x32-10: random numbers as a pure function of a key and a counter.
//!
//! Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). Ten rounds of a
//! bijection of 128-bit counters, keyed by 64 bits; it passes all tests of TestU01. Here the key stands for the purpose
//! of the numbers, and the counter for their position: (block, epoch, sample).

use sha2::{Digest, Sha256};

/// Multipliers of the rounds, from the paper.
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
/// Added to the key in each round: the golden ratio and sqrt(3) - 1, as fractions of 2^32.
const KEY_STEPS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// Four random words from one counter.
fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    let wide = |i: usize, word: u32| u64::from(MULTIPLIERS[i]) * u64::from(word);
    for _ in 0..ROUNDS {
        let (first, second) = (wide(0, counter[0]), wide(1, counter[2]));
        counter = [
            (second >> 32) as u32 ^ counter[1] ^ key[0],
            second as u32,
            (first >> 32) as u32 ^ counter[3] ^ key[1],
            first as u32,
        ];
        key = [key[0].wrapping_add(KEY_STEPS[0]), key[1].wrapping_add(KEY_STEPS[1])];
    }
    counter
}

/// All random numbers of one purpose, such as "base/augmentation", under one seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RandomStream {
    key: [u32; 2],
}

impl RandomStream {
    /// The key is the first 8 bytes of SHA-256 over the seed (8 bytes, little-endian) and the purpose.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(purpose).finalize();
        let word = |at: usize| u32::from_le_bytes([digest[at], digest[at + 1], digest[at + 2], digest[at + 3]]);
        RandomStream { key: [word(0), word(4)] }
    }

    /// The draws of one sample in one epoch. Each (epoch, sample) has its own numbers. Epochs count modulo 2^32.
    pub fn at(&self, epoch: u64, sample: u64) -> Draws {
        self.lane(epoch, sample, 0)
    }

    /// Draws of one of 16 independent lanes of the same (epoch, sample), each of 2^28 blocks. Uses in different lanes
    /// do not shift each other's numbers. Lane 0 is [`RandomStream::at`].
    pub fn lane(&self, epoch: u64, sample: u64, lane: u8) -> Draws {
        let counter = [u32::from(lane) << 28, epoch as u32, sample as u32, (sample >> 32) as u32];
        Draws { key: self.key, counter, words: [0; 4], used: 4, spare_normal: None }
    }
}

/// Successive draws of one (epoch, sample).
#[derive(Debug, Clone)]
pub struct Draws {
    key: [u32; 2],
    /// The first word counts the blocks of four words.
    counter: [u32; 4],
    /// The words of the current block, of which the first `used` are drawn.
    words: [u32; 4],
    used: usize,
    /// The second number of the last pair of [`Draws::normal`].
    spare_normal: Option<f64>,
}

impl Draws {
    pub fn next_u32(&mut self) -> u32 {
        if self.used == self.words.len() {
            self.words = philox4x32(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    pub fn next_u64(&mut self) -> u64 {
        let low = u64::from(self.next_u32());
        u64::from(self.next_u32()) << 32 | low
    }

    /// A uniform number in [0, 1), a multiple of 2^-53.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (0.5f64).powi(53)
    }

    /// A uniform number in [low, high).
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// A uniform integer in 0..n, without bias (Lemire 2019, "Fast random integer generation in an interval"). 0 for
    /// n = 0.
    pub fn below(&mut self, n: u64) -> u64 {
        let mut product = u128::from(self.next_u64()) * u128::from(n);
        if (product as u64) < n {
            // Low halves below 2^64 mod n belong to values that would occur once too often.
            let threshold = n.wrapping_neg() % n;
            while (product as u64) < threshold {
                product = u128::from(self.next_u64()) * u128::from(n);
            }
        }
        (product >> 64) as u64
    }

    /// A standard normal number (Box and Muller 1958). Each pair of uniform numbers gives two.
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare_normal.take() {
            return spare;
        }
        // 1 - u is in (0, 1], so its logarithm is finite.
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * self.uniform()).sin_cos();
        self.spare_normal = Some(radius * sine);
        radius * cosine
    }

    /// Shuffles in place. All orders are equally likely (Fisher-Yates, from the back).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of Random123 (kat_vectors, philox4x32 with 10 rounds).
    #[test]
    fn philox_gives_the_published_vectors() {
        let pi = ([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]);
        let cases = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (pi.0, pi.1, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]),
        ];
        for (counter, key, wanted) in cases {
            assert_eq!(philox4x32(counter, key), wanted);
        }
    }

    /// A change here would silently give every user other initial weights and other augmentations.
    #[test]
    fn the_key_is_a_hash_of_seed_and_purpose() {
        let first = |seed, purpose, epoch, sample| RandomStream::new(seed, purpose).at(epoch, sample).next_u32();
        let digest = Sha256::digest([&42u64.to_le_bytes()[..], b"base/init"].concat());
        let key = [0, 4].map(|at| u32::from_le_bytes([digest[at], digest[at + 1], digest[at + 2], digest[at + 3]]));
        assert_eq!(first(42, "base/init", 7, 5 << 32 | 9), philox4x32([0, 7, 9, 5], key)[0]);
    }

    #[test]
    fn seed_purpose_epoch_and_sample_all_change_the_draws() {
        let draw = |seed, purpose, epoch, sample| RandomStream::new(seed, purpose).at(epoch, sample).next_u64();
        let all = [draw(1, "a", 0, 0), draw(2, "a", 0, 0), draw(1, "b", 0, 0), draw(1, "a", 1, 0), draw(1, "a", 0, 1)];
        for i in 0..all.len() {
            assert!(!all[..i].contains(&all[i]));
        }
        assert_eq!(all[0], draw(1, "a", 0, 0));
    }

    #[test]
    fn lanes_give_different_draws() {
        let stream = RandomStream::new(1, "a");
        let mut all: Vec<u64> = (0..16).map(|lane| stream.lane(3, 5, lane).next_u64()).collect();
        assert_eq!(all[0], stream.at(3, 5).next_u64());
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn uniform_and_normal_draws_have_the_right_moments() {
        const N: usize = 200_000;
        let mut draws = RandomStream::new(3, "test").at(0, 0);
        let uniform: Vec<f64> = (0..N).map(|_| draws.uniform()).collect();
        let normal: Vec<f64> = (0..N).map(|_| draws.normal()).collect();
        let moment = |x: &[f64], k: i32| x.iter().map(|v| v.powi(k)).sum::<f64>() / N as f64;
        assert!(uniform.iter().all(|u| (0.0..1.0).contains(u)));
        // Five standard errors of each estimate.
        let close = |got: f64, wanted: f64, deviation: f64| (got - wanted).abs() < 5.0 * deviation / (N as f64).sqrt();
        assert!(close(moment(&uniform, 1), 0.5, (1.0f64 / 12.0).sqrt()));
        assert!(close(moment(&uniform, 2), 1.0 / 3.0, (4.0f64 / 45.0).sqrt()));
        assert!(close(moment(&normal, 1), 0.0, 1.0));
        assert!(close(moment(&normal, 2), 1.0, 2.0f64.sqrt()));
        assert!(close(moment(&normal, 4), 3.0, 96.0f64.sqrt()));
    }

    #[test]
    fn below_is_uniform_and_shuffle_permutes() {
        let mut draws = RandomStream::new(4, "test").at(0, 0);
        assert_eq!(draws.below(0), 0);
        assert_eq!(draws.below(1), 0);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[draws.below(7) as usize] += 1;
        }
        // Chi-squared with 6 degrees of freedom exceeds 30 once in 25,000 times.
        let chi2: f64 = counts.iter().map(|&n| (f64::from(n) - 10_000.0).powi(2) / 10_000.0).sum();
        assert!(chi2 < 30.0, "{counts:?}");

        let mut order: Vec<usize> = (0..1000).collect();
        draws.shuffle(&mut order);
        assert_ne!(order, (0..1000).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..1000).collect::<Vec<_>>());
    }

    /// All 6 orders of three items occur equally often.
    #[test]
    fn shuffle_is_fair() {
        let mut counts = std::collections::BTreeMap::new();
        for sample in 0..60_000 {
            let mut items = [0, 1, 2];
            RandomStream::new(5, "order").at(0, sample).shuffle(&mut items);
            *counts.entry(items).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|&n| (9_600..10_400).contains(&n)), "{counts:?}");
    }
}
