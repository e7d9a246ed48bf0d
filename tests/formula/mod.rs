//! Pseudo-random numbers by formula. They are the inputs of the golden fixtures. Any language can compute them, so no
//! file has to hold them.

/// The SplitMix64 finaliser of `z` plus the golden-ratio increment, on wrapping 64-bit integers.
pub fn mix(z: u64) -> u64 {
    let z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The `i`-th number of a stream, in [0, 1) on a grid of 2^-24.
pub fn u(stream: u64, i: u64) -> f64 {
    (mix((stream << 32).wrapping_add(i)) >> 40) as f64 / f64::from(1 << 24)
}

/// The `i`-th number of a stream, stretched to [-1, 1); exact in float64.
pub fn s(stream: u64, i: u64) -> f64 {
    2.0 * u(stream, i) - 1.0
}

// Each test program with this module runs this test. A mistake here would look like a fault of the tested code.
#[test]
fn formula_numbers_equal_the_listed_ones() {
    assert_eq!([0, 1, 2].map(mix), [16294208416658607535, 10451216379200822465, 10905525725756348110]);
    assert_eq!([0, 1].map(|i| u(121, i)), [0.024819791316986084, 0.8691411018371582]);
    assert_eq!(s(1000, 0), 2.0 * 0.8676854968070984 - 1.0);
}
