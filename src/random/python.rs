//! CPython's `random.Random`: index sets drawn here equal those of the Python program exactly.
//!
//! The generator is MT19937 (Matsumoto and Nishimura 1998), seeded by a key array. The functions on its 32-bit words
//! (`getrandbits`, `_randbelow`, `random`, `shuffle`, `choices`) follow CPython 3.11's `Lib/random.py` and
//! `Modules/_randommodule.c`. Python has given the same numbers since version 3.2.

use rand_mt::Mt;

/// A generator in the state of `random.Random(seed)`.
#[derive(Debug, Clone)]
pub struct PythonRandom {
    words: Mt,
}

impl PythonRandom {
    /// `random.Random(seed)` for a seed that is not negative.
    pub fn new(seed: u64) -> Self {
        let (low, high) = (seed as u32, (seed >> 32) as u32);
        // CPython's key has as many limbs as the number needs, and one for zero: [5] and [5, 0] are different seeds.
        if high == 0 { Self::from_key(&[low]) } else { Self::from_key(&[low, high]) }
    }

    /// `random.Random` of the integer whose little-endian 32-bit limbs are `key`: at least one limb, at most 624, the
    /// last not zero (unless it is the only one).
    pub fn from_key(key: &[u32]) -> Self {
        PythonRandom { words: Mt::new_with_key(key.iter().copied()) }
    }

    /// `getrandbits(bits)` for up to 64 bits.
    pub fn getrandbits(&mut self, bits: u32) -> u64 {
        match bits {
            0 => 0,
            1..=32 => u64::from(self.words.next_u32() >> (32 - bits)),
            33..=64 => {
                let low = u64::from(self.words.next_u32());
                u64::from(self.words.next_u32() >> (64 - bits)) << 32 | low
            }
            _ => panic!("getrandbits of {bits} bits: at most 64 fit the result"),
        }
    }

    /// An integer in `0..n`, like `_randbelow(n)` (`randrange`, `shuffle`). Panics if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "no integer is below 0");
        let bits = usize::BITS - n.leading_zeros();
        loop {
            let drawn = self.getrandbits(bits) as usize;
            if drawn < n {
                return drawn;
            }
        }
    }

    /// `random()`: a multiple of 2^-53 in [0, 1).
    pub fn random(&mut self) -> f64 {
        let high = f64::from(self.words.next_u32() >> 5);
        let low = f64::from(self.words.next_u32() >> 6);
        (high * f64::from(1 << 26) + low) / (1_u64 << 53) as f64
    }

    /// `shuffle(items)`, in place.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.below(i + 1);
            items.swap(i, j);
        }
    }

    /// `choices(population, k=k)`: k draws with replacement. Panics if the population is empty and k is not 0.
    pub fn choices<T: Copy>(&mut self, population: &[T], k: usize) -> Vec<T> {
        (0..k).map(|_| population[(self.random() * population.len() as f64) as usize]).collect()
    }
}
