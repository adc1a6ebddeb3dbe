//! Dropout whose mask is a function of seed, step, place and text, and of nothing else: a text that is encoded twice in a
//! step, or in another chunk, loses the same values, and a resumed run draws what the uninterrupted one drew.

/// Values fall away with probability `rate`; those that stay are scaled by `1 / (1 - rate)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Made of seed and step.
    pub(super) key: u64,
    /// So many of 2^32 values fall away.
    pub(super) threshold: u32,
    /// `1 / (1 - rate)`.
    pub(super) scale: f32,
}

/// Where in the network a mask lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// After the embeddings' norm.
    Embeddings,
    /// Attention weights of a layer.
    Attention(usize),
    /// After the attention's output map of a layer.
    AttentionOutput(usize),
    /// After the feed-forward's output map of a layer.
    Output(usize),
    /// Before a labeler's head.
    Head,
}

impl Site {
    /// What the hash of a mask reads, here and in `transformer.cu`.
    pub(super) fn number(self) -> u64 {
        match self {
            Site::Embeddings => 0,
            Site::Head => 1,
            Site::Attention(layer) => 4 * layer as u64 + 5,
            Site::AttentionOutput(layer) => 4 * layer as u64 + 6,
            Site::Output(layer) => 4 * layer as u64 + 7,
        }
    }
}

impl Dropout {
    /// The masks of one step; `None` for a rate of 0. `rate` lies in 0..1.
    pub fn new(rate: f32, seed: u64, step: u64) -> Option<Self> {
        let threshold = (f64::from(rate) * 4_294_967_296.0) as u32;
        (threshold > 0).then(|| Self { key: mix(seed ^ mix(step)), threshold, scale: 1.0 / (1.0 - rate) })
    }

    /// Masks a row: `text` and `row` name it within its site.
    pub fn apply(&self, site: Site, text: u64, row: u64, values: &mut [f32]) {
        let mut state = mix(self.key ^ mix(site.number() ^ mix(text ^ mix(row))));
        for value in values {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let drawn = (finish(state) >> 32) as u32;
            *value = if drawn < self.threshold { 0.0 } else { *value * self.scale };
        }
    }
}

fn mix(value: u64) -> u64 {
    finish(value.wrapping_add(0x9E37_79B9_7F4A_7C15))
}

/// The finisher of SplitMix64 (Steele, Lea and Flood 2014).
fn finish(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_rate_is_met_and_the_mean_kept() {
        let dropout = Dropout::new(0.1, 7, 3).unwrap();
        let mut values = vec![1.0f32; 100_000];
        dropout.apply(Site::Output(2), 5, 1, &mut values);
        let dropped = values.iter().filter(|value| **value == 0.0).count();
        assert!((9_500..10_500).contains(&dropped), "{dropped}");
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
    }

    #[test]
    fn a_mask_depends_on_all_that_names_it() {
        let mask = |seed, step, site, text, row| {
            let mut values = vec![1.0f32; 64];
            Dropout::new(0.5, seed, step).unwrap().apply(site, text, row, &mut values);
            values
        };
        let one = mask(1, 1, Site::Attention(0), 1, 1);
        assert_eq!(one, mask(1, 1, Site::Attention(0), 1, 1));
        assert_ne!(one, mask(2, 1, Site::Attention(0), 1, 1));
        assert_ne!(one, mask(1, 2, Site::Attention(0), 1, 1));
        assert_ne!(one, mask(1, 1, Site::Attention(1), 1, 1));
        assert_ne!(one, mask(1, 1, Site::Attention(0), 2, 1));
        assert_ne!(one, mask(1, 1, Site::Attention(0), 1, 2));
        assert_eq!(Dropout::new(0.0, 1, 1), None);
    }
}
