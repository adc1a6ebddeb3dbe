//! A training recipe whose scorer is a labeler: `[scorer] kind = "cross-encoder"`. The file is that of every training
//! recipe; what only lists of documents have (`[batch]`, `[mining]`, measures of rankings) is refused.

use scorer::labeler::HeadKind;
use trainer::batch::BatchPlan;
use trainer::losses::labeler::LabelerLoss;
use trainer::{ModelOptions, TrainingOptions};

use super::training::{CutsChoice, TrainingFile, table};
use crate::exit::Usage;

/// Pairs of a batch where the recipe does not say.
const DEFAULT_PAIRS: usize = 32;

/// A complete recipe of a labeler.
#[derive(Clone, Debug)]
pub struct LabelerRecipe {
    /// The file with everything filled in.
    pub file: TrainingFile,
    /// The loss.
    pub loss: LabelerLoss,
    /// How the model is opened.
    pub model: ModelOptions,
    /// Where its cuts come from.
    pub cuts: CutsChoice,
    /// Pairs of a batch.
    pub pairs: usize,
    /// The seed.
    pub seed: u64,
}

impl TrainingFile {
    /// Completes the recipe of a labeler. `seed` is the command line's.
    ///
    /// # Errors
    /// When a name is unknown, a number out of range, or a key is one of encoders only; says which key.
    pub fn complete_labeler(mut self, seed: u64) -> anyhow::Result<LabelerRecipe> {
        let seed = *self.training.seed.get_or_insert(seed);
        let loss: LabelerLoss = table("loss", self.loss.clone())?;
        loss.check().map_err(|error| Usage::error(format!("loss: {error}")))?;
        self.loss = toml::Table::try_from(&loss)?;
        let evaluation = &self.evaluation;
        let of_lists = [
            ("mining", self.mining.is_some()),
            ("guide", self.guide.is_some()),
            ("batch", toml::to_string(&self.batch)? != toml::to_string(&BatchPlan::default())?),
            ("evaluation.measures", evaluation.measures.is_some()),
            ("evaluation.judged_candidates", evaluation.judged_candidates.is_some()),
            ("evaluation.depth", evaluation.depth.is_some()),
            ("data.drop_silent", self.data.drop_silent),
        ];
        if let Some((key, _)) = of_lists.into_iter().find(|(_, set)| *set) {
            return Err(Usage::error(format!(
                "{key}: a labeler learns single pairs, not lists; leave it out"
            )));
        }
        let is_distilled = matches!(loss, LabelerLoss::Distillation(_));
        let sources = [
            ("data.raters", !self.data.raters.is_empty(), "several raters' votes"),
            ("data.teacher_file", self.data.teacher_file.is_some(), "a teacher's probabilities"),
        ];
        let named: Vec<_> = sources.into_iter().filter(|(_, is_named, _)| *is_named).collect();
        match (is_distilled, named.as_slice()) {
            (false, []) | (true, [_]) => {}
            (false, [(key, _, what), ..]) => {
                return Err(Usage::error(format!("{key}: only the loss distillation learns from {what}")));
            }
            (true, []) => {
                return Err(Usage::error(
                    "data.raters, data.teacher_file: distillation learns from the votes of raters or from a teacher's \
                     probabilities; name one of them",
                ));
            }
            (true, _) => {
                return Err(Usage::error(
                    "data.raters, data.teacher_file: distillation learns from one of them, found both",
                ));
            }
        }
        self.check_data_and_length()?;
        let cuts = *self.scorer.cuts.get_or_insert_default();
        let pairs = *self.training.pairs.get_or_insert(DEFAULT_PAIRS);
        if pairs == 0 {
            return Err(Usage::error("training.pairs: expected at least 1, found 0"));
        }
        let rate = *self.training.head_learning_rate.get_or_insert(self.training.learning_rate);
        if !(rate > 0.0 && rate.is_finite()) {
            let said = format!("training.head_learning_rate: expected a number above 0, found {rate}");
            return Err(Usage::error(said));
        }
        let model = self.model_options(seed)?;
        let recipe = LabelerRecipe { file: self, loss, model, cuts, pairs, seed };
        // What does not depend on the data is refused before the data is read.
        recipe.options(1).check()?;
        Ok(recipe)
    }
}

impl LabelerRecipe {
    /// How the run goes, when an epoch has `batches` batches.
    pub fn options(&self, batches: u64) -> TrainingOptions {
        self.file.options(self.seed, batches)
    }

    /// What the head's outputs mean under this loss.
    pub fn head(&self) -> HeadKind {
        match self.loss {
            LabelerLoss::Coral(_) => HeadKind::Coral,
            LabelerLoss::Corn(_) => HeadKind::Corn,
            LabelerLoss::CrossEntropy(_) | LabelerLoss::Distillation(_) | LabelerLoss::Mse(_) => {
                HeadKind::Softmax
            }
        }
    }

    /// How many times the learning rate the head is trained with.
    pub fn head_rate(&self) -> f64 {
        let training = &self.file.training;
        training.head_learning_rate.map_or(1.0, |rate| rate / training.learning_rate)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SMALL: &str = "[data]\ndataset = \"sample\"\n[scorer]\nkind = \"cross-encoder\"\nencoder = \"embedded\"\n\
        [loss]\nname = \"cross_entropy\"\n";

    fn complete(text: &str) -> anyhow::Result<LabelerRecipe> {
        super::super::written::parse::<TrainingFile>(text)?.complete_labeler(42)
    }

    #[test]
    fn the_completed_form_completes_to_itself() {
        let recipe = complete(SMALL).unwrap();
        let again = complete(&recipe.file.to_toml().unwrap()).unwrap();
        assert_eq!(recipe.file.to_toml().unwrap(), again.file.to_toml().unwrap());
        assert_eq!(recipe.file.digest().unwrap(), again.file.digest().unwrap());
    }

    #[test]
    fn what_cannot_be_run_is_refused_by_key() {
        let refused = |text: &str| format!("{:#}", complete(text).unwrap_err());
        assert!(refused(&format!("{SMALL}[mining]\nsystem = \"bm25\"")).contains("mining"));
        assert!(refused(&format!("{SMALL}[batch]\nqueries = 3")).contains("batch"));
        assert!(refused(&format!("{SMALL}[training]\npairs = 0")).contains("training.pairs"));
        assert!(
            refused(&format!("{SMALL}[training]\nhead_learning_rate = -1.0")).contains("head_learning_rate")
        );
        assert!(refused(&SMALL.replace("cross_entropy", "infonce")).contains("infonce"));
        assert!(refused(&SMALL.replace("cross_entropy", "distillation")).contains("raters"));
        let votes = SMALL.replace("\n[scorer]", "\nraters = [\"a\"]\n[scorer]");
        assert!(refused(&votes).contains("data.raters"));
        assert!(complete(&votes.replace("cross_entropy", "distillation")).is_ok());
        let told = SMALL.replace("\n[scorer]", "\nteacher_file = \"labels.csv\"\n[scorer]");
        assert!(refused(&told).contains("data.teacher_file"));
        assert!(complete(&told.replace("cross_entropy", "distillation")).is_ok());
        let both = votes.replace("raters", "teacher_file = \"labels.csv\"\nraters");
        assert!(refused(&both.replace("cross_entropy", "distillation")).contains("found both"));
        assert!(refused(&format!("{SMALL}[guide]\nencoder = \"embedded\"")).contains("guide"));
        let as_encoder =
            super::super::written::parse::<TrainingFile>(SMALL).unwrap().complete(42).unwrap_err();
        assert!(as_encoder.to_string().contains("labeler"));
    }
}
