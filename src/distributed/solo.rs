//! The transport of a single process: collectives leave tensors as they are.

use tch::Tensor;

use super::transport::Transport;
use crate::error::Result;

/// The only rank of a run.
pub struct Solo;

impl Transport for Solo {
    fn name(&self) -> &'static str {
        "solo"
    }

    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn local_rank(&self) -> usize {
        0
    }

    fn local_size(&self) -> usize {
        1
    }

    fn is_asynchronous(&self) -> bool {
        true
    }

    fn all_reduce(&self, _: &mut Tensor) -> Result<()> {
        Ok(())
    }

    fn reduce(&self, _: &mut Tensor) -> Result<()> {
        Ok(())
    }

    fn broadcast(&self, _: &mut Tensor) -> Result<()> {
        Ok(())
    }

    fn all_gather_rows(&self, rows: &Tensor) -> Result<Tensor> {
        Ok(rows.shallow_clone())
    }

    fn gather_rows(&self, rows: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(rows.shallow_clone()))
    }

    fn all_gather_bytes(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ok(vec![bytes.to_vec()])
    }

    fn barrier(&self) -> Result<()> {
        Ok(())
    }
}
