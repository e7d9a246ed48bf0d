//! Buckets: pieces of the flat gradient buffers, each the unit of one all-reduce.

use super::param::Param;
use crate::config::schema::BucketOrder;

/// A piece of a buffer that one all-reduce sums over the ranks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Index of its buffer.
    pub group: usize,
    /// Index of its first element in that buffer.
    pub offset: i64,
    /// Number of elements.
    pub len: i64,
    /// Number of parameters inside. The bucket is ready when all of them have their gradient.
    pub num_params: usize,
}

/// Sizes and order of the buckets. The all-reduce of small buckets starts early; large buckets have less overhead.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BucketSizes {
    /// Smallest size in bytes at which a bucket is closed.
    pub bytes: usize,
    /// Smallest size in bytes of the first bucket that the backward pass completes. A small first bucket starts the
    /// first all-reduce early.
    pub first_bytes: usize,
    pub order: BucketOrder,
}

/// Closes every bucket at this size in bytes. Buckets are in the order in which the backward pass completes them.
impl From<usize> for BucketSizes {
    fn from(bytes: usize) -> Self {
        BucketSizes { bytes, first_bytes: bytes, order: BucketOrder::Ready }
    }
}

/// Divides the buffers into buckets and sets the bucket of each parameter. `buffers` has the weight decay and length of
/// each buffer.
///
/// The first bucket is at the back of the buffers, because the backward pass reaches the last layers first.
pub fn assign_buckets(
    params: &mut [Param],
    buffers: &[(f64, i64)],
    element_bytes: usize,
    sizes: BucketSizes,
) -> Vec<Bucket> {
    let mut buckets: Vec<Bucket> = Vec::new();
    let mut open: Vec<Option<usize>> = vec![None; buffers.len()];
    let mut ends: Vec<i64> = buffers.iter().map(|(_, len)| *len).collect();
    // The first parameter of each bucket in layout order. Its gradient comes last.
    let mut first: Vec<usize> = Vec::new();
    for (i, param) in params.iter_mut().enumerate().rev() {
        let group = param.group;
        let bucket = *open[group].get_or_insert_with(|| {
            buckets.push(Bucket { group, offset: ends[group], len: 0, num_params: 0 });
            first.push(i);
            buckets.len() - 1
        });
        param.bucket = bucket;
        first[bucket] = i;
        let Bucket { offset, len, num_params, .. } = &mut buckets[bucket];
        *len += *offset - param.offset;
        *offset = param.offset;
        *num_params += 1;
        ends[group] = param.offset;
        let closing_bytes = if bucket == 0 { sizes.first_bytes } else { sizes.bytes };
        if *len as usize * element_bytes >= closing_bytes {
            open[group] = None;
        }
    }
    let mut order: Vec<usize> = (0..buckets.len()).collect();
    match sizes.order {
        BucketOrder::Ready => order.sort_by_key(|&bucket| std::cmp::Reverse(first[bucket])),
        BucketOrder::Layout => order.sort_by_key(|&bucket| first[bucket]),
    }
    let mut position = vec![0; order.len()];
    for (new, &old) in order.iter().enumerate() {
        position[old] = new;
    }
    for param in params {
        param.bucket = position[param.bucket];
    }
    order.into_iter().map(|bucket| buckets[bucket].clone()).collect()
}
