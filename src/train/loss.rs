//! Loss sums. They are sums, not means: every rank adds its own samples and divides once by the count over all ranks.
//!
//! Letters: N samples of the batch, K classes.

use tch::{Kind, Tensor};

/// Sum over the batch of the cross entropy of `logits` [N, K] against `labels` int64 [N], with label smoothing in
/// [0, 1). In nats.
pub fn cross_entropy_sum(logits: &Tensor, labels: &Tensor, smoothing: f64) -> Tensor {
    logits.cross_entropy_loss::<Tensor>(labels, None, tch::Reduction::Sum, -100, smoothing)
}

/// Sum over the batch of KL(target to softmax(logits / temperature)). `target` holds probabilities, [N, K], or [K] for
/// one distribution of the whole batch. In nats.
pub fn kl_sum(target: &Tensor, logits: &Tensor, temperature: f64) -> Tensor {
    let log_q = (logits / temperature).log_softmax(-1, loss_kind(logits.kind()));
    // xlogy is 0 where the target is 0.
    (target.xlogy(target) - target * log_q).sum(None)
}

/// The dtype of losses: float64 for float64 logits, otherwise float32.
fn loss_kind(logits: Kind) -> Kind {
    if logits == Kind::Double { Kind::Double } else { Kind::Float }
}
