//! How measures are written: `Name(parameter=value,...)@cutoff` as in ir_measures, or as trec_eval spells them.

use std::fmt;
use std::str::FromStr;

use super::{Gain, Measure, trec_names};
use crate::Grade;

/// The measures there are, one example each, in the words an error message shows.
pub const CATALOGUE: &str = "nDCG@10 nDCG(gain=exp)@10 nDCG P(rel=2)@10 R@100 AP AP(rel=2)@100 RR@10 Rprec Bpref infAP \
ERR(max_rel=3)@20 RBP(p=0.8) Judged@10 Success@5 HitRate@5 F1 SetP SetR SetF(beta=2) SetAP SetRelP IPrec@0.1 AvgIPrec \
PairAP(rel=2) GMAP GMBpref RelP@10 RprecMult@0.5 nDCGRel RnDCG G BinG RBPResid Unjudged@10 Utility NumQ NumRet NumRel \
NumRelRet NumNonRelJudgedRet; trec_eval's names too: ndcg_cut_10 ndcg_cut.5,10 map P_5 recall_100 recip_rank \
iprec_at_recall_0.10 success_1 official all_trec";

/// The recall levels of the eleven-point average.
pub(super) const ELEVEN_POINTS: [f64; 11] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
/// The persistence of `RBP` unless given, as in ir_measures.
const PERSISTENCE: f64 = 0.8;
/// The persistence of trec_eval's `rbp_resid`.
pub(super) const TREC_PERSISTENCE: f64 = 0.9;
/// The highest grade of `ERR` unless given, as in TREC's gdeval.
const ERR_MAX_REL: Grade = 4;

/// Why a text is not a measure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// No measure has this name.
    #[error("unknown measure {0:?}; there are: {CATALOGUE}")]
    Unknown(String),
    /// The text is not of the form `Name(parameter=value,...)@cutoff`.
    #[error("cannot read {text:?} as a measure: {expected} expected (for example nDCG@10 or AP(rel=2))")]
    Syntax {
        /// What was written.
        text: String,
        /// What should stand there.
        expected: &'static str,
    },
    /// A parameter the measure does not have.
    #[error("{measure} has no parameter {parameter:?}")]
    UnknownParameter {
        /// The measure's name.
        measure: String,
        /// The parameter that was written.
        parameter: String,
    },
    /// A parameter, or the part after `@`, has a value it cannot have.
    #[error("{measure}: {parameter} is {value:?}, expected {expected}")]
    Value {
        /// The measure's name.
        measure: String,
        /// The parameter, or `@`.
        parameter: String,
        /// What was written.
        value: String,
        /// What can stand there.
        expected: &'static str,
    },
    /// The measure needs a cut-off and has none.
    #[error("{0} needs a cut-off, as in {0}@10")]
    NoCutoff(String),
    /// The text names several measures where one is expected.
    #[error("{text:?} stands for {count} measures; one is expected here")]
    Several {
        /// What was written.
        text: String,
        /// How many measures it stands for.
        count: usize,
    },
    /// The list holds no measure.
    #[error("no measure given; there are: {CATALOGUE}")]
    Empty,
    /// A trec_eval output that is text, not a number.
    #[error("{0} is text, not a number: it is an option of the evaluation, not a measure")]
    Text(String),
}

/// Reads a list of measures separated by spaces or commas. trec_eval names may stand for several each
/// (`ndcg_cut.5,10`, `P`, `all_trec`).
pub fn parse_measures(list: &str) -> Result<Vec<Measure>, MeasureError> {
    parse_measures_at(list, 1)
}

/// [`parse_measures`], with `rel` as the lowest relevant grade of the measures that do not name theirs: trec_eval's
/// `-l`. It then stands in the measures' own names.
pub fn parse_measures_at(list: &str, rel: Grade) -> Result<Vec<Measure>, MeasureError> {
    let mut measures = Vec::new();
    for item in items(list) {
        measures.extend(parse(item, rel)?);
    }
    if measures.is_empty() { Err(MeasureError::Empty) } else { Ok(measures) }
}

impl FromStr for Measure {
    type Err = MeasureError;

    fn from_str(text: &str) -> Result<Self, MeasureError> {
        let mut measures = parse(text.trim(), 1)?;
        match (measures.len(), measures.pop()) {
            (1, Some(measure)) => Ok(measure),
            (count, _) => Err(MeasureError::Several { text: text.to_owned(), count }),
        }
    }
}

fn parse(text: &str, rel: Grade) -> Result<Vec<Measure>, MeasureError> {
    match trec_names::parse(text, rel) {
        Some(measures) => measures,
        None => Ok(vec![Call::parse(text, rel)?.measure()?]),
    }
}

/// Splits a list at spaces and commas outside brackets. A comma before a number goes on with the parameters of a
/// trec_eval name (`ndcg_cut.5,10`).
fn items(list: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let (mut from, mut depth) = (0, 0_usize);
    for (at, character) in list.char_indices() {
        match character {
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        let ends = match character {
            ',' => depth == 0 && !continues(&list[from..at], &list[at + 1..]),
            _ => depth == 0 && character.is_whitespace(),
        };
        if ends {
            items.push(&list[from..at]);
            from = at + character.len_utf8();
        }
    }
    items.push(&list[from..]);
    items.retain(|item| !item.is_empty());
    items
}

fn continues(item: &str, rest: &str) -> bool {
    let number = rest.strip_prefix('-').unwrap_or(rest);
    item.contains('.')
        && !item.contains(['@', '('])
        && number.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && !rest.starts_with("11pt_avg")
}

/// A measure as written, its parameters not yet understood. Parameters are taken out one by one; what remains at the
/// end is unknown.
struct Call<'a> {
    name: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    at: Option<&'a str>,
    rel: Grade,
}

impl<'a> Call<'a> {
    fn parse(text: &'a str, rel: Grade) -> Result<Self, MeasureError> {
        let syntax = |expected| MeasureError::Syntax { text: text.to_owned(), expected };
        let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
        let (name, mut rest) = text.split_at(end);
        if name.is_empty() {
            return Err(syntax("a name"));
        }
        let mut parameters = Vec::new();
        if let Some(inside) = rest.strip_prefix('(') {
            let close = inside.rfind(')').ok_or_else(|| syntax("a closing bracket"))?;
            for parameter in split_outside_brackets(&inside[..close]) {
                let (key, value) = parameter.split_once('=').ok_or_else(|| syntax("parameter=value"))?;
                parameters.push((key.trim(), value.trim().trim_matches(['\'', '"'])));
            }
            rest = &inside[close + 1..];
        }
        let at = match rest.strip_prefix('@') {
            Some(at) if !at.is_empty() => Some(at),
            None if rest.is_empty() => None,
            _ => return Err(syntax("@ and a number")),
        };
        Ok(Self { name, parameters, at, rel })
    }

    /// The measure meant. Names are compared without regard to case.
    fn measure(mut self) -> Result<Measure, MeasureError> {
        let measure = match self.name.to_ascii_lowercase().as_str() {
            "p" | "precision" => Measure::Precision { rel: self.rel()?, cutoff: self.needed_cutoff()? },
            "relp" => Measure::RelativePrecision { rel: self.rel()?, cutoff: self.needed_cutoff()? },
            "r" | "recall" => Measure::Recall { rel: self.rel()?, cutoff: self.needed_cutoff()? },
            "success" | "hitrate" => Measure::Success { rel: self.rel()?, cutoff: self.needed_cutoff()? },
            "ap" | "map" => Measure::AveragePrecision { rel: self.rel()?, cutoff: self.cutoff()? },
            "gmap" => Measure::GeometricAveragePrecision { rel: self.rel()? },
            "rr" | "mrr" => Measure::ReciprocalRank { rel: self.rel()?, cutoff: self.cutoff()? },
            "rprec" => Measure::RPrecision { rel: self.rel()? },
            "rprecmult" => {
                let multiple = self.at_number("a number above 0, up to 1000000", |x| x > 0.0 && x <= 1e6)?;
                Measure::RPrecisionMultiple { rel: self.rel()?, multiple }
            }
            "ndcg" => Measure::Ndcg { gain: self.gain()?, cutoff: self.cutoff()? },
            "ndcgrel" => Measure::NdcgAtRelevant { gain: self.gain()? },
            "rndcg" => Measure::NdcgAtLevels { gain: self.gain()?, rel: self.rel()? },
            "bpref" => Measure::Bpref { rel: self.rel()? },
            "gmbpref" => Measure::GeometricBpref { rel: self.rel()? },
            "infap" => Measure::InferredAp { rel: self.rel()? },
            "iprec" => {
                let recall = self.at_number("a recall from 0 to 1", |x| (0.0..=1.0).contains(&x))?;
                Measure::InterpolatedPrecision { rel: self.rel()?, recall }
            }
            "avgiprec" => {
                Measure::AverageInterpolatedPrecision { rel: self.rel()?, recalls: self.recalls()? }
            }
            "bing" => Measure::BinaryG { rel: self.rel()? },
            "g" => Measure::G { gain: self.gain()? },
            "err" => {
                let max_rel = self.grade("max_rel", |grade| grade > 0)?.unwrap_or(ERR_MAX_REL);
                Measure::ExpectedReciprocalRank { max_rel, cutoff: self.cutoff()? }
            }
            "rbp" => Measure::RankBiasedPrecision {
                p: self.persistence(PERSISTENCE)?,
                rel: self.grade("rel", |_| true)?,
                cutoff: self.cutoff()?,
            },
            "rbpresid" => Measure::RankBiasedPrecisionResidual { p: self.persistence(TREC_PERSISTENCE)? },
            "judged" => Measure::Judged { cutoff: self.cutoff()? },
            "unjudged" => Measure::Unjudged { cutoff: self.needed_cutoff()? },
            "setp" => match self.flag("relative")? {
                false => Measure::SetPrecision { rel: self.rel()? },
                true => Measure::SetRelativePrecision { rel: self.rel()? },
            },
            "setrelp" => Measure::SetRelativePrecision { rel: self.rel()? },
            "setr" => Measure::SetRecall { rel: self.rel()? },
            "setf" | "f1" => {
                let beta = self.number("beta", "a number from 0 to 1000000", |x| (0.0..=1e6).contains(&x))?;
                Measure::SetF { rel: self.rel()?, beta: beta.unwrap_or(1.0) }
            }
            "setap" => Measure::SetAveragePrecision { rel: self.rel()? },
            "utility" => Measure::Utility { rel: self.rel()?, weights: self.weights()? },
            "numq" => Measure::NumQueries,
            "numret" => match self.grade("rel", |_| true)? {
                None => Measure::NumRetrieved,
                Some(rel) => Measure::NumRelevantRetrieved { rel },
            },
            "numrel" => Measure::NumRelevant { rel: self.rel()? },
            "numrelret" => Measure::NumRelevantRetrieved { rel: self.rel()? },
            "numnonreljudgedret" => Measure::NumNonrelevantJudgedRetrieved { rel: self.rel()? },
            "pairap" => Measure::PairAveragePrecision { rel: self.rel()? },
            _ => return Err(MeasureError::Unknown(self.name.to_owned())),
        };
        self.finish()?;
        Ok(measure)
    }

    fn take(&mut self, key: &str) -> Option<&'a str> {
        let at = self.parameters.iter().position(|&(name, _)| name == key)?;
        Some(self.parameters.remove(at).1)
    }

    /// Refuses what nobody asked for. `judged_only` is ir_measures'; here it is an option of the whole evaluation.
    fn finish(mut self) -> Result<(), MeasureError> {
        if self.flag("judged_only")? {
            return Err(self.value(
                "judged_only",
                "True",
                "False: keeping judged documents only is an option of the evaluation",
            ));
        }
        if let Some(at) = self.at {
            return Err(self.value("@", at, "nothing: this measure has no cut-off"));
        }
        match self.parameters.first() {
            None => Ok(()),
            Some(&(parameter, _)) => Err(MeasureError::UnknownParameter {
                measure: self.name.to_owned(),
                parameter: parameter.to_owned(),
            }),
        }
    }

    fn value(&self, parameter: &str, value: &str, expected: &'static str) -> MeasureError {
        MeasureError::Value {
            measure: self.name.to_owned(),
            parameter: parameter.to_owned(),
            value: value.to_owned(),
            expected,
        }
    }

    fn grade(&mut self, key: &str, allowed: impl Fn(Grade) -> bool) -> Result<Option<Grade>, MeasureError> {
        let Some(text) = self.take(key) else { return Ok(None) };
        match text.parse() {
            Ok(grade) if allowed(grade) => Ok(Some(grade)),
            _ => Err(self.value(key, text, "a grade (a whole number)")),
        }
    }

    fn rel(&mut self) -> Result<Grade, MeasureError> {
        Ok(self.grade("rel", |_| true)?.unwrap_or(self.rel))
    }

    fn cutoff(&mut self) -> Result<Option<usize>, MeasureError> {
        let Some(text) = self.at.take().or_else(|| self.take("cutoff")) else { return Ok(None) };
        match text.parse::<u32>() {
            Ok(cutoff) if cutoff > 0 => Ok(Some(cutoff as usize)),
            _ => Err(self.value("@", text, "a rank from 1 on")),
        }
    }

    fn needed_cutoff(&mut self) -> Result<usize, MeasureError> {
        self.cutoff()?.ok_or_else(|| MeasureError::NoCutoff(self.name.to_owned()))
    }

    fn at_number(
        &mut self,
        expected: &'static str,
        allowed: impl Fn(f64) -> bool,
    ) -> Result<f64, MeasureError> {
        let text = self.at.take().or_else(|| self.take("recall")).unwrap_or("");
        let number = text.parse().ok().filter(|&number| allowed(number));
        number.ok_or_else(|| self.value("@", text, expected))
    }

    fn number(
        &mut self,
        key: &str,
        expected: &'static str,
        allowed: impl Fn(f64) -> bool,
    ) -> Result<Option<f64>, MeasureError> {
        let Some(text) = self.take(key) else { return Ok(None) };
        let number = text.parse().ok().filter(|&number| allowed(number));
        number.map(Some).ok_or_else(|| self.value(key, text, expected))
    }

    fn persistence(&mut self, default: f64) -> Result<f64, MeasureError> {
        let p = self.number("p", "a number from 0 to below 1", |p| (0.0..1.0).contains(&p))?;
        Ok(p.unwrap_or(default))
    }

    fn flag(&mut self, key: &str) -> Result<bool, MeasureError> {
        match self.take(key) {
            None | Some("False" | "false") => Ok(false),
            Some("True" | "true") => Ok(true),
            Some(text) => Err(self.value(key, text, "True or False")),
        }
    }

    fn gain(&mut self) -> Result<Gain, MeasureError> {
        if let Some(text) = self.take("gains") {
            let expected = "{grade:gain,...}, with gains of 0 or of a size from 1e-9 to 1e9";
            return table(text).map(Gain::Table).ok_or_else(|| self.value("gains", text, expected));
        }
        let (key, text) = match self.take("gain") {
            Some(text) => ("gain", Some(text)),
            None => ("dcg", self.take("dcg")),
        };
        match text {
            None | Some("linear" | "log2") => Ok(Gain::Linear),
            Some("exp" | "exponential" | "exp-log2") => Ok(Gain::Exponential),
            Some(text) => Err(self.value(key, text, "linear or exp")),
        }
    }

    fn recalls(&mut self) -> Result<Vec<f64>, MeasureError> {
        let Some(text) = self.take("recalls") else { return Ok(ELEVEN_POINTS.to_vec()) };
        let recalls = numbers(text, ';').filter(|recalls| recalls.iter().all(|x| (0.0..=1.0).contains(x)));
        recalls.ok_or_else(|| self.value("recalls", text, "recalls from 0 to 1, as in [0.2;0.5;0.8]"))
    }

    fn weights(&mut self) -> Result<[f64; 4], MeasureError> {
        let Some(text) = self.take("weights") else { return Ok(trec_names::UTILITY_WEIGHTS) };
        let weights = numbers(text, ';').and_then(|weights| weights.try_into().ok());
        weights.ok_or_else(|| self.value("weights", text, "four numbers, as in [1;-1;0;0]"))
    }
}

/// Splits at commas outside brackets; nothing gives no parts.
fn split_outside_brackets(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let parts = text.split(|character| {
        match character {
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0
    });
    parts.map(str::trim).filter(|part| !part.is_empty()).collect()
}

/// `{1:3,2:9}` as a table of gains; `None` when it is not one.
fn table(text: &str) -> Option<Vec<(Grade, f64)>> {
    let inside = text.strip_prefix('{')?.strip_suffix('}')?;
    inside.split(',').map(|entry| gain_entry(entry.split_once(':')?)).collect()
}

/// One entry of a table of gains, when grade and gain are ones a table can hold.
pub(super) fn gain_entry((grade, gain): (&str, &str)) -> Option<(Grade, f64)> {
    let grade = grade.trim().parse().ok().filter(|&grade: &Grade| grade >= 0)?;
    let gain: f64 = gain.trim().parse().ok()?;
    (gain == 0.0 || (1e-9..=1e9).contains(&gain.abs())).then_some((grade, gain))
}

/// Numbers in square brackets; `None` when one is not a number of moderate size.
fn numbers(text: &str, separator: char) -> Option<Vec<f64>> {
    let inside = text.strip_prefix('[')?.strip_suffix(']')?;
    inside.split([separator, ',']).map(moderate_number).collect()
}

/// A number that sums of products stay finite with.
pub(super) fn moderate_number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.abs() <= 1e9)
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, parameters) = self.parts();
        f.write_str(name)?;
        if !parameters.is_empty() {
            write!(f, "({})", parameters.join(","))?;
        }
        match self {
            Self::InterpolatedPrecision { recall: at, .. }
            | Self::RPrecisionMultiple { multiple: at, .. } => {
                write!(f, "@{at}")
            }
            _ => self.cutoff().map_or(Ok(()), |cutoff| write!(f, "@{cutoff}")),
        }
    }
}

impl Measure {
    /// Name, and parameters that differ from their defaults.
    fn parts(&self) -> (&'static str, Vec<String>) {
        let at = |rel: &Grade| if *rel == 1 { vec![] } else { vec![format!("rel={rel}")] };
        match self {
            Self::Precision { rel, .. } => ("P", at(rel)),
            Self::RelativePrecision { rel, .. } => ("RelP", at(rel)),
            Self::Recall { rel, .. } => ("R", at(rel)),
            Self::Success { rel, .. } => ("Success", at(rel)),
            Self::AveragePrecision { rel, .. } => ("AP", at(rel)),
            Self::GeometricAveragePrecision { rel } => ("GMAP", at(rel)),
            Self::ReciprocalRank { rel, .. } => ("RR", at(rel)),
            Self::RPrecision { rel } => ("Rprec", at(rel)),
            Self::RPrecisionMultiple { rel, .. } => ("RprecMult", at(rel)),
            Self::Ndcg { gain, .. } => ("nDCG", gain.parts()),
            Self::NdcgAtRelevant { gain } => ("nDCGRel", gain.parts()),
            Self::NdcgAtLevels { gain, rel } => ("RnDCG", [gain.parts(), at(rel)].concat()),
            Self::Bpref { rel } => ("Bpref", at(rel)),
            Self::GeometricBpref { rel } => ("GMBpref", at(rel)),
            Self::InferredAp { rel } => ("infAP", at(rel)),
            Self::InterpolatedPrecision { rel, .. } => ("IPrec", at(rel)),
            Self::AverageInterpolatedPrecision { recalls, rel } => {
                let given =
                    if recalls[..] == ELEVEN_POINTS { vec![] } else { vec![list("recalls", recalls)] };
                ("AvgIPrec", [given, at(rel)].concat())
            }
            Self::BinaryG { rel } => ("BinG", at(rel)),
            Self::G { gain } => ("G", gain.parts()),
            Self::ExpectedReciprocalRank { max_rel, .. } => {
                ("ERR", if *max_rel == ERR_MAX_REL { vec![] } else { vec![format!("max_rel={max_rel}")] })
            }
            Self::RankBiasedPrecision { p, rel, .. } => {
                let rel = rel.map(|rel| format!("rel={rel}"));
                ("RBP", unless_default("p", *p, PERSISTENCE).into_iter().chain(rel).collect())
            }
            Self::RankBiasedPrecisionResidual { p } => {
                ("RBPResid", unless_default("p", *p, TREC_PERSISTENCE))
            }
            Self::Judged { .. } => ("Judged", vec![]),
            Self::Unjudged { .. } => ("Unjudged", vec![]),
            Self::SetPrecision { rel } => ("SetP", at(rel)),
            Self::SetRelativePrecision { rel } => ("SetRelP", at(rel)),
            Self::SetRecall { rel } => ("SetR", at(rel)),
            Self::SetF { beta, rel } => ("SetF", [unless_default("beta", *beta, 1.0), at(rel)].concat()),
            Self::SetAveragePrecision { rel } => ("SetAP", at(rel)),
            Self::Utility { weights, rel } => {
                let usual = *weights == trec_names::UTILITY_WEIGHTS;
                ("Utility", [if usual { vec![] } else { vec![list("weights", weights)] }, at(rel)].concat())
            }
            Self::NumQueries => ("NumQ", vec![]),
            Self::NumRetrieved => ("NumRet", vec![]),
            Self::NumRelevant { rel } => ("NumRel", at(rel)),
            Self::NumRelevantRetrieved { rel } => ("NumRelRet", at(rel)),
            Self::NumNonrelevantJudgedRetrieved { rel } => ("NumNonRelJudgedRet", at(rel)),
            Self::PairAveragePrecision { rel } => ("PairAP", at(rel)),
        }
    }
}

impl Gain {
    fn parts(&self) -> Vec<String> {
        match self {
            Self::Linear => vec![],
            Self::Exponential => vec!["gain=exp".to_owned()],
            Self::Table(table) => {
                let entries: Vec<_> = table.iter().map(|(grade, gain)| format!("{grade}:{gain}")).collect();
                vec![format!("gains={{{}}}", entries.join(","))]
            }
        }
    }
}

fn unless_default(key: &str, value: f64, default: f64) -> Vec<String> {
    if value == default { vec![] } else { vec![format!("{key}={value}")] }
}

/// Separated by semicolons, so that a list of measures can be split at its commas by simple means too.
fn list(key: &str, values: &[f64]) -> String {
    let values: Vec<_> = values.iter().map(f64::to_string).collect();
    format!("{key}=[{}]", values.join(";"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn printed(text: &str) -> String {
        text.parse::<Measure>().unwrap().to_string()
    }

    #[test]
    fn measures_print_as_they_are_written() {
        for text in [
            "nDCG@10",
            "nDCG",
            "nDCG(gain=exp)@10",
            "nDCG(gains={1:3,2:9.5})",
            "P(rel=2)@10",
            "AP",
            "AP(rel=2)",
            "AP(rel=2)@100",
            "RR@10",
            "R@100",
            "Rprec",
            "Bpref",
            "infAP",
            "ERR@20",
            "ERR(max_rel=3)@20",
            "RBP",
            "RBP(p=0.5,rel=1)@20",
            "Judged@10",
            "Success@1",
            "SetF",
            "SetF(beta=0.5)",
            "SetP",
            "SetR",
            "SetAP",
            "SetRelP(rel=2)",
            "IPrec@0.1",
            "AvgIPrec(recalls=[0.25;0.5])",
            "PairAP(rel=2)",
            "GMAP",
            "GMBpref",
            "RelP@10",
            "RprecMult@0.5",
            "nDCGRel",
            "RnDCG",
            "G",
            "BinG",
            "RBPResid",
            "Unjudged@10",
            "Utility(weights=[2;-1;0;0])",
            "NumQ",
            "NumRet",
            "NumRel(rel=2)",
            "NumRelRet",
            "NumNonRelJudgedRet",
        ] {
            assert_eq!(printed(text), text);
        }
    }

    #[test]
    fn other_spellings_come_to_the_same() {
        for (written, prints) in [
            ("nDCG(dcg='exp-log2')@10", "nDCG(gain=exp)@10"),
            ("nDCG(dcg='log2',judged_only=False)@10", "nDCG@10"),
            ("NDCG@10", "nDCG@10"),
            ("MRR@10", "RR@10"),
            ("P(rel=1)@10", "P@10"),
            ("HitRate@5", "Success@5"),
            ("F1", "SetF"),
            ("MAP(rel=3)", "AP(rel=3)"),
            ("Recall@5", "R@5"),
            ("SetP(relative=True)", "SetRelP"),
            ("NumRet(rel=2)", "NumRelRet(rel=2)"),
            ("RBP(p=0.8)", "RBP"),
        ] {
            assert_eq!(printed(written), prints, "{written}");
        }
    }

    #[test]
    fn every_example_of_the_catalogue_is_one() {
        assert!(parse_measures(&CATALOGUE.replace("; trec_eval's names too:", "")).unwrap().len() > 120);
    }

    #[test]
    fn lists_split_at_spaces_and_commas_but_not_inside_parameters() {
        let names = |list| parse_measures(list).unwrap().iter().map(Measure::to_string).collect::<Vec<_>>();
        assert_eq!(names("nDCG@10 AP(rel=2),R@100"), ["nDCG@10", "AP(rel=2)", "R@100"]);
        assert_eq!(names("ndcg_cut.5,10,RR@10"), ["nDCG@5", "nDCG@10", "RR@10"]);
        assert_eq!(names(" nDCG(gains={1:3,2:9})@5 ,\n P_5"), ["nDCG(gains={1:3,2:9})@5", "P@5"]);
        assert_eq!(names("utility.2,-1,0,0 map"), ["Utility(weights=[2;-1;0;0])", "AP"]);
    }

    #[test]
    fn a_level_given_for_all_stands_in_the_names() {
        let names: Vec<_> = parse_measures_at("P_5 map nDCG@10 AP(rel=3)", 2)
            .unwrap()
            .iter()
            .map(Measure::to_string)
            .collect();
        assert_eq!(names, ["P(rel=2)@5", "AP(rel=2)", "nDCG@10", "AP(rel=3)"]);
    }

    #[test]
    fn what_is_not_a_measure_is_refused_by_name() {
        for (text, part) in [
            ("nDGC@10", "unknown measure \"nDGC\"; there are: nDCG@10"),
            ("Success", "needs a cut-off, as in Success@10"),
            ("P@0", "a rank from 1 on"),
            ("P@-3", "a rank from 1 on"),
            ("P@99999999999999999999", "a rank from 1 on"),
            ("AP(rel=x)", "rel is \"x\", expected a grade"),
            ("AP(depth=3)", "no parameter \"depth\""),
            ("AP(rel=2", "a closing bracket expected"),
            ("AP(2)", "parameter=value expected"),
            ("RBP(p=1)", "from 0 to below 1"),
            ("RBP(p=NaN)", "from 0 to below 1"),
            ("nDCG(gain=cubic)@10", "linear or exp"),
            ("nDCG(gains={-1:3})", "{grade:gain,...}"),
            ("nDCG(gains={1:inf})", "{grade:gain,...}"),
            ("IPrec@1.5", "a recall from 0 to 1"),
            ("IPrec", "a recall from 0 to 1"),
            ("Bpref@10", "no cut-off"),
            ("AP(judged_only=True)", "option of the evaluation"),
            ("ndcg_cut.0", "expected"),
            ("ndcg_cut.5,5", "expected"),
            ("relstring", "is text"),
            ("@10", "a name expected"),
            ("nDCG@", "@ and a number expected"),
            ("", "no measure given"),
            (" , ", "no measure given"),
        ] {
            let message = parse_measures(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
        assert!("P".parse::<Measure>().unwrap_err().to_string().contains("stands for 9 measures"));
    }
}
