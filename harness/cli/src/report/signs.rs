//! Signs of failure in a comparison of two systems.

/// Smaller changes of a mean are said to be none.
const SMALLEST: f64 = 0.001;

/// The sign that one system ranks better by nDCG and worse by average precision: what it gains, it gains among documents
/// that were relevant anyway, while relevant ones sink below others. `changes` are measures as they print, with after less
/// before. SSRA's tables show it: SyCL's passages raise nDCG@10 by .0014 and .0036, and AP falls by .0217 and .0162
/// (arXiv 2509.16717); AP there is over pooled pairs, `PairAP` here.
///
/// Named are the largest gain and the deepest fall; nothing where either is below a thousandth.
pub fn ndcg_up_while_ap_falls<'m>(changes: impl IntoIterator<Item = (&'m str, f64)>) -> Option<String> {
    let mut gain: Option<(&str, f64)> = None;
    let mut fall: Option<(&str, f64)> = None;
    for (measure, difference) in changes {
        let family = measure.split(['(', '@']).next().unwrap_or_default();
        match family {
            "nDCG" if difference >= SMALLEST && gain.is_none_or(|(_, most)| difference > most) => {
                gain = Some((measure, difference));
            }
            "AP" | "PairAP" if difference <= -SMALLEST && fall.is_none_or(|(_, most)| difference < most) => {
                fall = Some((measure, difference));
            }
            _ => {}
        }
    }
    let ((up, gain), (down, fall)) = (gain?, fall?);
    Some(format!(
        "{up} rises ({gain:+.4}) while {down} falls ({fall:+.4}): the order of the best improves, and relevant documents sink"
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn both_must_move_and_apart() {
        let sign = |changes: &[(&'static str, f64)]| ndcg_up_while_ap_falls(changes.iter().copied());
        // SSRA's table, 0.6B: base against SyCL's passages.
        let said = sign(&[("nDCG@10", 0.7150 - 0.7136), ("PairAP", 0.6733 - 0.6950)]).unwrap();
        assert!(said.contains("nDCG@10 rises (+0.0014) while PairAP falls (-0.0217)"), "{said}");
        let several =
            [("nDCG@5", 0.002), ("nDCG(gain=exp)@10", 0.01), ("AP(rel=1)", 0.3), ("AP(rel=3)", -0.02)];
        let said = sign(&several).unwrap();
        assert!(said.contains("nDCG(gain=exp)@10") && said.contains("AP(rel=3)"), "{said}");
        for none in [
            &[("nDCG@10", 0.1), ("AP", 0.1)][..],
            &[("nDCG@10", -0.1), ("AP", -0.1)],
            &[("nDCG@10", -0.1), ("AP", 0.1)],
            &[("nDCG@10", 0.1), ("AP", -0.0009)],
            &[("nDCG@10", 0.0009), ("AP", -0.1)],
            &[("nDCGRel", 0.1), ("AP", -0.1)],
            &[("nDCG@10", f64::NAN), ("AP", -0.1)],
            &[("nDCG@10", 0.1)],
        ] {
            assert_eq!(sign(none), None, "{none:?}");
        }
    }
}
