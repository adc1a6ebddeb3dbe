//! trec_eval's names for measures: `ndcg_cut_10`, `ndcg_cut.5,10`, `map`, `all_trec`, and back.

use super::grammar::{ELEVEN_POINTS, MeasureError, TREC_PERSISTENCE, gain_entry, moderate_number};
use super::{Gain, Measure};
use crate::Grade;

/// trec_eval's default weights of `utility`.
pub(super) const UTILITY_WEIGHTS: [f64; 4] = [1.0, -1.0, 0.0, 0.0];

const CUTOFFS: [f64; 9] = [5.0, 10.0, 15.0, 20.0, 30.0, 100.0, 200.0, 500.0, 1000.0];
const SUCCESS_CUTOFFS: [f64; 3] = [1.0, 5.0, 10.0];
const UNJUDGED_CUTOFFS: [f64; 3] = [5.0, 10.0, 20.0];
const R_MULTIPLES: [f64; 10] = [0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0];

/// Names that stand for several measures, in trec_eval's order of output.
const GROUPS: [(&str, &[&str]); 3] = [("official", &OFFICIAL), ("set", &SET), ("all_trec", &ALL_TREC)];
const OFFICIAL: [&str; 11] = [
    "num_q",
    "num_ret",
    "num_rel",
    "num_rel_ret",
    "map",
    "gm_map",
    "Rprec",
    "bpref",
    "recip_rank",
    "iprec_at_recall",
    "P",
];
const SET: [&str; 10] = [
    "num_q",
    "num_ret",
    "num_rel",
    "num_rel_ret",
    "utility",
    "set_P",
    "set_relative_P",
    "set_recall",
    "set_map",
    "set_F",
];
const ALL_TREC: [&str; 35] = [
    "num_q",
    "num_ret",
    "num_rel",
    "num_rel_ret",
    "map",
    "gm_map",
    "Rprec",
    "bpref",
    "recip_rank",
    "iprec_at_recall",
    "P",
    "recall",
    "infAP",
    "gm_bpref",
    "Rprec_mult",
    "utility",
    "11pt_avg",
    "binG",
    "G",
    "ndcg",
    "ndcg_rel",
    "Rndcg",
    "ndcg_cut",
    "map_cut",
    "relative_P",
    "success",
    "set_P",
    "set_relative_P",
    "set_recall",
    "set_map",
    "set_F",
    "num_nonrel_judged_ret",
    "rbp",
    "rbp_resid",
    "unj",
];

/// Every single name, the longer of two with the same beginning first.
const NAMES: [&str; 37] = [
    "num_nonrel_judged_ret",
    "num_rel_ret",
    "num_ret",
    "num_rel",
    "num_q",
    "gm_map",
    "map_cut",
    "map",
    "Rprec_mult",
    "Rprec",
    "gm_bpref",
    "bpref",
    "recip_rank",
    "iprec_at_recall",
    "relative_P",
    "recall",
    "infAP",
    "infap",
    "utility",
    "11pt_avg",
    "binG",
    "G",
    "ndcg_rel",
    "ndcg_cut",
    "ndcg",
    "Rndcg",
    "success",
    "set_relative_P",
    "set_recall",
    "set_map",
    "set_P",
    "set_F",
    "rbp_resid",
    "rbp",
    "unj",
    "P",
    "relstring",
];

/// The measures `text` stands for; `None` when it is not one of trec_eval's names.
pub(super) fn parse(text: &str, rel: Grade) -> Option<Result<Vec<Measure>, MeasureError>> {
    if let Some((_, members)) = GROUPS.iter().find(|(name, _)| *name == text) {
        let members = members.iter().filter_map(|name| parse(name, rel));
        return Some(members.collect::<Result<Vec<_>, _>>().map(|lists| lists.concat()));
    }
    let (name, parameters) = NAMES.iter().find_map(|name| {
        let rest = text.strip_prefix(name)?;
        let parameters = rest.strip_prefix(['.', '_']);
        (rest.is_empty() || parameters.is_some_and(|p| !p.is_empty())).then_some((*name, parameters))
    })?;
    Some(Reader { text, name, parameters, rel }.measures())
}

struct Reader<'a> {
    text: &'a str,
    name: &'static str,
    parameters: Option<&'a str>,
    rel: Grade,
}

impl Reader<'_> {
    fn measures(&self) -> Result<Vec<Measure>, MeasureError> {
        let rel = self.rel;
        match self.name {
            "P" => self.at_cutoffs(&CUTOFFS, |cutoff| Measure::Precision { cutoff, rel }),
            "recall" => self.at_cutoffs(&CUTOFFS, |cutoff| Measure::Recall { cutoff, rel }),
            "relative_P" => self.at_cutoffs(&CUTOFFS, |cutoff| Measure::RelativePrecision { cutoff, rel }),
            "success" => self.at_cutoffs(&SUCCESS_CUTOFFS, |cutoff| Measure::Success { cutoff, rel }),
            "unj" => self.at_cutoffs(&UNJUDGED_CUTOFFS, |cutoff| Measure::Unjudged { cutoff }),
            "map_cut" => {
                self.at_cutoffs(&CUTOFFS, |cutoff| Measure::AveragePrecision { cutoff: Some(cutoff), rel })
            }
            "ndcg_cut" => {
                self.at_cutoffs(&CUTOFFS, |cutoff| Measure::Ndcg { gain: Gain::Linear, cutoff: Some(cutoff) })
            }
            "iprec_at_recall" => {
                let recalls = self.distinct(&ELEVEN_POINTS, |x| (0.0..=1.0).contains(&x))?;
                Ok(recalls.into_iter().map(|recall| Measure::InterpolatedPrecision { recall, rel }).collect())
            }
            "Rprec_mult" => {
                let multiples = self.distinct(&R_MULTIPLES, |x| x > 0.0 && x <= 1e6)?;
                Ok(multiples
                    .into_iter()
                    .map(|multiple| Measure::RPrecisionMultiple { multiple, rel })
                    .collect())
            }
            _ => Ok(vec![self.single()?]),
        }
    }

    fn single(&self) -> Result<Measure, MeasureError> {
        let rel = self.rel;
        Ok(match self.name {
            "11pt_avg" => {
                let recalls = self.distinct(&ELEVEN_POINTS, |x| (0.0..=1.0).contains(&x))?;
                return Ok(Measure::AverageInterpolatedPrecision { recalls, rel });
            }
            "utility" => return Ok(Measure::Utility { weights: self.weights()?, rel }),
            "ndcg" => return Ok(Measure::Ndcg { gain: self.gain()?, cutoff: None }),
            "ndcg_rel" => return Ok(Measure::NdcgAtRelevant { gain: self.gain()? }),
            "Rndcg" => return Ok(Measure::NdcgAtLevels { gain: self.gain()?, rel }),
            "G" => return Ok(Measure::G { gain: self.gain()? }),
            "rbp" => {
                return Ok(Measure::RankBiasedPrecision { p: self.persistence()?, rel: None, cutoff: None });
            }
            "rbp_resid" => return Ok(Measure::RankBiasedPrecisionResidual { p: self.persistence()? }),
            "set_F" => return Ok(Measure::SetF { beta: self.beta()?, rel }),
            _ if self.parameters.is_some() => return Err(self.expected("a name without parameters")),
            "num_q" => Measure::NumQueries,
            "num_ret" => Measure::NumRetrieved,
            "num_rel" => Measure::NumRelevant { rel },
            "num_rel_ret" => Measure::NumRelevantRetrieved { rel },
            "num_nonrel_judged_ret" => Measure::NumNonrelevantJudgedRetrieved { rel },
            "map" => Measure::AveragePrecision { cutoff: None, rel },
            "gm_map" => Measure::GeometricAveragePrecision { rel },
            "Rprec" => Measure::RPrecision { rel },
            "bpref" => Measure::Bpref { rel },
            "gm_bpref" => Measure::GeometricBpref { rel },
            "recip_rank" => Measure::ReciprocalRank { cutoff: None, rel },
            "infAP" | "infap" => Measure::InferredAp { rel },
            "binG" => Measure::BinaryG { rel },
            "set_P" => Measure::SetPrecision { rel },
            "set_relative_P" => Measure::SetRelativePrecision { rel },
            "set_recall" => Measure::SetRecall { rel },
            "set_map" => Measure::SetAveragePrecision { rel },
            _ => return Err(MeasureError::Text(self.name.to_owned())),
        })
    }

    fn expected(&self, expected: &'static str) -> MeasureError {
        MeasureError::Syntax { text: self.text.to_owned(), expected }
    }

    /// The parameters as numbers in increasing order, each once; the defaults where none are given.
    fn distinct(&self, defaults: &[f64], allowed: impl Fn(f64) -> bool) -> Result<Vec<f64>, MeasureError> {
        let Some(list) = self.parameters else { return Ok(defaults.to_vec()) };
        let numbers: Option<Vec<f64>> = list.split(',').map(moderate_number).collect();
        let mut numbers = numbers.ok_or_else(|| self.expected("numbers separated by commas"))?;
        numbers.sort_unstable_by(f64::total_cmp);
        if numbers.windows(2).any(|pair| pair[0] == pair[1]) || !numbers.iter().all(|&x| allowed(x)) {
            return Err(self.expected("a list of different numbers in the measure's range"));
        }
        Ok(numbers)
    }

    /// One measure per cut-off. trec_eval reads 23.4 as 23, and so do we.
    fn at_cutoffs(
        &self,
        defaults: &[f64],
        measure: impl Fn(usize) -> Measure,
    ) -> Result<Vec<Measure>, MeasureError> {
        let cutoffs = self.distinct(defaults, |x| x >= 1.0)?;
        Ok(cutoffs.into_iter().map(|cutoff| measure(cutoff as usize)).collect())
    }

    fn gain(&self) -> Result<Gain, MeasureError> {
        let Some(list) = self.parameters else { return Ok(Gain::Linear) };
        let entries = list.split(',').map(|entry| gain_entry(entry.split_once('=')?));
        let table: Option<Vec<_>> = entries.collect();
        table.map(Gain::Table).ok_or_else(|| self.expected("grade=gain pairs, as in ndcg.1=3,2=9"))
    }

    fn weights(&self) -> Result<[f64; 4], MeasureError> {
        let Some(list) = self.parameters else { return Ok(UTILITY_WEIGHTS) };
        let weights: Option<Vec<f64>> = list.split(',').map(moderate_number).collect();
        weights
            .and_then(|w| w.try_into().ok())
            .ok_or_else(|| self.expected("four numbers, as in utility.1,-1,0,0"))
    }

    fn persistence(&self) -> Result<f64, MeasureError> {
        let Some(text) = self.parameters else { return Ok(TREC_PERSISTENCE) };
        let p = text.strip_prefix("p=").and_then(moderate_number).filter(|p| (0.0..1.0).contains(p));
        p.ok_or_else(|| self.expected("a persistence from 0 to below 1, as in rbp.p=0.8"))
    }

    fn beta(&self) -> Result<f64, MeasureError> {
        let Some(text) = self.parameters else { return Ok(1.0) };
        let beta = moderate_number(text).filter(|&beta| (0.0..=1e6).contains(&beta));
        beta.ok_or_else(|| self.expected("a weight of recall, as in set_F.0.5"))
    }
}

impl Measure {
    /// The name trec_eval prints for this measure, when it has it. `rel` is not part of it: trec_eval takes one level
    /// for all measures (`-l`).
    pub fn trec_name(&self) -> Option<String> {
        Some(match self {
            Self::Precision { cutoff, .. } => format!("P_{cutoff}"),
            Self::RelativePrecision { cutoff, .. } => format!("relative_P_{cutoff}"),
            Self::Recall { cutoff, .. } => format!("recall_{cutoff}"),
            Self::Success { cutoff, .. } => format!("success_{cutoff}"),
            Self::Unjudged { cutoff } => format!("unj_{cutoff}"),
            Self::AveragePrecision { cutoff: Some(cutoff), .. } => format!("map_cut_{cutoff}"),
            Self::AveragePrecision { cutoff: None, .. } => "map".to_owned(),
            Self::GeometricAveragePrecision { .. } => "gm_map".to_owned(),
            Self::ReciprocalRank { cutoff: None, .. } => "recip_rank".to_owned(),
            Self::RPrecision { .. } => "Rprec".to_owned(),
            Self::RPrecisionMultiple { multiple, .. } => format!("Rprec_mult_{multiple:.2}"),
            Self::Ndcg { gain: Gain::Linear, cutoff: Some(cutoff) } => format!("ndcg_cut_{cutoff}"),
            Self::Ndcg { gain, cutoff: None } => with_gain("ndcg", gain)?,
            Self::NdcgAtRelevant { gain } => with_gain("ndcg_rel", gain)?,
            Self::NdcgAtLevels { gain, .. } => with_gain("Rndcg", gain)?,
            Self::G { gain } => with_gain("G", gain)?,
            Self::Bpref { .. } => "bpref".to_owned(),
            Self::GeometricBpref { .. } => "gm_bpref".to_owned(),
            Self::InferredAp { .. } => "infAP".to_owned(),
            Self::InterpolatedPrecision { recall, .. } => format!("iprec_at_recall_{recall:.2}"),
            Self::AverageInterpolatedPrecision { recalls, .. } => {
                with_list("11pt_avg", recalls, &ELEVEN_POINTS)
            }
            Self::BinaryG { .. } => "binG".to_owned(),
            Self::RankBiasedPrecision { p, rel: None, cutoff: None } => with_persistence("rbp", *p),
            Self::RankBiasedPrecisionResidual { p } => with_persistence("rbp_resid", *p),
            Self::SetPrecision { .. } => "set_P".to_owned(),
            Self::SetRelativePrecision { .. } => "set_relative_P".to_owned(),
            Self::SetRecall { .. } => "set_recall".to_owned(),
            Self::SetF { beta, .. } => with_list("set_F", &[*beta], &[1.0]),
            Self::SetAveragePrecision { .. } => "set_map".to_owned(),
            Self::Utility { weights, .. } => with_list("utility", weights, &UTILITY_WEIGHTS),
            Self::NumQueries => "num_q".to_owned(),
            Self::NumRetrieved => "num_ret".to_owned(),
            Self::NumRelevant { .. } => "num_rel".to_owned(),
            Self::NumRelevantRetrieved { .. } => "num_rel_ret".to_owned(),
            Self::NumNonrelevantJudgedRetrieved { .. } => "num_nonrel_judged_ret".to_owned(),
            Self::ReciprocalRank { .. }
            | Self::Ndcg { .. }
            | Self::ExpectedReciprocalRank { .. }
            | Self::RankBiasedPrecision { .. }
            | Self::Judged { .. }
            | Self::PairAveragePrecision { .. } => return None,
        })
    }
}

fn with_gain(name: &str, gain: &Gain) -> Option<String> {
    match gain {
        Gain::Linear => Some(name.to_owned()),
        Gain::Exponential => None,
        Gain::Table(table) => {
            let entries: Vec<_> = table.iter().map(|(grade, gain)| format!("{grade}={gain}")).collect();
            Some(format!("{name}_{}", entries.join(",")))
        }
    }
}

fn with_list(name: &str, values: &[f64], defaults: &[f64]) -> String {
    if values == defaults {
        return name.to_owned();
    }
    let values: Vec<_> = values.iter().map(f64::to_string).collect();
    format!("{name}_{}", values.join(","))
}

fn with_persistence(name: &str, p: f64) -> String {
    if p == TREC_PERSISTENCE { name.to_owned() } else { format!("{name}_p={p}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(text: &str) -> Vec<String> {
        parse(text, 1).unwrap().unwrap().iter().filter_map(Measure::trec_name).collect()
    }

    #[test]
    fn names_come_back_as_trec_eval_prints_them() {
        for text in [
            "ndcg_cut_10",
            "map",
            "map_cut_10",
            "P_5",
            "recall_100",
            "recip_rank",
            "bpref",
            "infAP",
            "success_1",
            "iprec_at_recall_0.10",
            "gm_map",
            "gm_bpref",
            "Rprec_mult_0.20",
            "utility",
            "11pt_avg",
            "binG",
            "G",
            "ndcg",
            "ndcg_rel",
            "Rndcg",
            "relative_P_5",
            "set_P",
            "set_recall",
            "set_F",
            "set_map",
            "set_relative_P",
            "num_nonrel_judged_ret",
            "num_ret",
            "num_rel",
            "num_rel_ret",
            "num_q",
            "rbp",
            "rbp_resid",
            "unj_5",
            "ndcg_1=3,2=9,4=4.5",
            "utility_2,-1,0,0",
            "set_F_0.5",
            "rbp_p=0.8",
        ] {
            assert_eq!(names(text), [text]);
        }
    }

    #[test]
    fn parameters_are_sorted_and_cut_to_whole_ranks() {
        assert_eq!(names("P.5,7,3"), ["P_3", "P_5", "P_7"]);
        assert_eq!(names("ndcg_cut.10,20,23.4"), ["ndcg_cut_10", "ndcg_cut_20", "ndcg_cut_23"]);
        assert_eq!(names("iprec_at_recall..10,.20"), ["iprec_at_recall_0.10", "iprec_at_recall_0.20"]);
    }

    #[test]
    fn groups_hold_what_trec_eval_prints() {
        assert_eq!(names("all_trec").len(), 98);
        assert_eq!(names("official").len(), 29);
        assert!(parse("nDCG@10", 1).is_none());
    }
}
