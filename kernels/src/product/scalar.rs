//! The definition in plain loops.

use super::{Base, Operand, Target};

/// `base + factor * left right`, each sum in ascending order.
pub(super) fn multiply(left: Operand<'_>, right: Operand<'_>, factor: f32, target: Target<'_>) {
    for i in 0..left.rows {
        for j in 0..right.columns {
            let mut sum = 0.0;
            for k in 0..left.columns {
                sum += left.at(i, k) * right.at(k, j);
            }
            let value = &mut target.values[i * target.stride + j];
            let base = match target.base {
                Base::Zero => 0.0,
                Base::Target => *value,
                Base::Row(row) => row[j],
            };
            *value = base + factor * sum;
        }
    }
}

impl Operand<'_> {
    /// Value `(i, j)`.
    pub(super) fn at(&self, i: usize, j: usize) -> f32 {
        self.values[i * self.row_stride + j * self.column_stride]
    }
}
