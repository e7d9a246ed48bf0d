//! Tensors of several parameters as one vector, and back.

use tch::Tensor;

use crate::error::Result;

/// All elements of `tensors`, one tensor after the other, [P]. A new tensor without a graph.
pub fn concatenate(tensors: &[Tensor]) -> Result<Tensor> {
    let flat = tensors.iter().map(|t| Ok(t.f_detach()?.f_reshape([-1])?)).collect::<Result<Vec<_>>>()?;
    Ok(Tensor::f_cat(&flat, 0)?)
}

/// Views of the vector `joined` [P] in these shapes, one after the other. The inverse of [`concatenate`].
pub fn views_of<'s>(joined: &Tensor, shapes: impl IntoIterator<Item = &'s [i64]>) -> Result<Vec<Tensor>> {
    let mut start = 0;
    let view = |shape: &[i64]| {
        let length = shape.iter().product();
        start += length;
        Ok(joined.f_narrow(0, start - length, length)?.f_view(shape)?)
    };
    shapes.into_iter().map(view).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_of_a_concatenation_are_the_tensors() {
        let tensors =
            [Tensor::from_slice(&[1.0, 2.0, 3.0, 4.0]).view([2, 2]), Tensor::from(5.0), Tensor::from_slice(&[6.0])];
        let joined = concatenate(&tensors).unwrap();
        assert_eq!(joined.size(), [5 + 1]);
        let shapes: Vec<Vec<i64>> = tensors.iter().map(Tensor::size).collect();
        assert_eq!(views_of(&joined, shapes.iter().map(Vec::as_slice)).unwrap(), tensors);
    }
}
