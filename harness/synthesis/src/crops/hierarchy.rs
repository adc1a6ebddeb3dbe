//! CroPS' hierarchy of labels (arXiv 2511.15443, Table 1): where a document was found says how relevant it is.

use relevance::Grade;
use serde::{Deserialize, Serialize};

/// Where a pair of query and document comes from, best label first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Opened after the same user reworded the query, and relevant to the query as first worded (query-level).
    Reformulation,
    /// Opened in the ranking stage.
    Clicked,
    /// Recommended to users who issued the query (system-level).
    Recommendation,
    /// Written by a model (world knowledge).
    Written,
    /// Shown, not opened.
    Exposed,
    /// Ranked, not shown.
    Ranked,
    /// Filtered between pre-ranking and ranking.
    Filtered,
}

impl Source {
    /// Every source, best label first; of equal labels, the surer one first.
    pub const ALL: [Self; 7] = [
        Self::Reformulation,
        Self::Clicked,
        Self::Recommendation,
        Self::Written,
        Self::Exposed,
        Self::Ranked,
        Self::Filtered,
    ];

    /// The name in records and recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reformulation => "reformulation",
            Self::Clicked => "clicked",
            Self::Recommendation => "recommendation",
            Self::Written => "written",
            Self::Exposed => "exposed",
            Self::Ranked => "ranked",
            Self::Filtered => "filtered",
        }
    }

    /// Whether the discriminator judges the pair: what no ranking stage of the query itself has vouched for.
    pub fn is_judged(self) -> bool {
        matches!(self, Self::Reformulation | Self::Recommendation)
    }

    /// As a byte of a spilled record; [`Source::from_code`] reads it back.
    pub fn code(self) -> u8 {
        b'a' + self as u8
    }

    /// The source of a code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code.checked_sub(b'a')?)).copied()
    }
}

/// How labels are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Labels {
    /// The label of query-level positives: 5, or 4 for the paper's ablation.
    pub query_level: Grade,
    /// 1 for a label of at least 4 and 0 for any other, for the paper's binary ablation.
    pub binary: bool,
}

impl Default for Labels {
    fn default() -> Self {
        Self { query_level: 5, binary: false }
    }
}

impl Labels {
    /// The label on the scale from 0 to 5, before a binary ablation folds it.
    pub fn level(&self, source: Source) -> Grade {
        match source {
            Source::Reformulation => self.query_level,
            Source::Clicked | Source::Recommendation | Source::Written => 4,
            Source::Exposed => 3,
            Source::Ranked => 2,
            Source::Filtered => 1,
        }
    }

    /// The label that is written for a level.
    pub fn written(&self, level: Grade) -> Grade {
        if self.binary { Grade::from(level >= 4) } else { level }
    }
}

/// A set of sources: one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sources(u8);

impl Sources {
    /// Adds a source.
    pub fn insert(&mut self, source: Source) {
        self.0 |= 1 << source as u8;
    }

    /// Takes a source out.
    pub fn remove(&mut self, source: Source) {
        self.0 &= !(1 << source as u8);
    }

    /// Whether a source is in it.
    pub fn contains(self, source: Source) -> bool {
        self.0 & 1 << source as u8 > 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The sources, in the order of [`Source::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Source> {
        Source::ALL.into_iter().filter(move |&source| self.contains(source))
    }

    /// The source that decides the label, the label, and whether sources of other labels were overruled: conflicts go to
    /// the highest label, of equal labels to the first in the order of [`Source::ALL`]. `None` for no source.
    pub fn resolve(self, labels: &Labels) -> Option<(Source, Grade, bool)> {
        let best = self.iter().max_by(|&a, &b| labels.level(a).cmp(&labels.level(b)).then(b.cmp(&a)))?;
        let label = labels.level(best);
        Some((best, label, self.iter().any(|source| labels.level(source) != label)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(sources: &[Source]) -> Sources {
        let mut all = Sources::default();
        sources.iter().for_each(|&source| all.insert(source));
        all
    }

    #[test]
    fn the_table_of_the_paper() {
        let labels = Labels::default();
        let levels = Source::ALL.map(|source| labels.level(source));
        assert_eq!(levels, [5, 4, 4, 4, 3, 2, 1]);
        assert!(Source::ALL.iter().all(|&source| Source::from_code(source.code()) == Some(source)));
        assert!(Source::from_code(b'z').is_none() && Source::from_code(0).is_none());
    }

    #[test]
    fn conflicts_go_to_the_highest_label() {
        let labels = Labels::default();
        use Source::*;
        assert_eq!(set(&[Exposed, Reformulation]).resolve(&labels), Some((Reformulation, 5, true)));
        assert_eq!(set(&[Recommendation, Clicked]).resolve(&labels), Some((Clicked, 4, false)));
        assert_eq!(set(&[Filtered]).resolve(&labels), Some((Filtered, 1, false)));
        assert_eq!(Sources::default().resolve(&labels), None);
        let four = Labels { query_level: 4, binary: true };
        assert_eq!(set(&[Reformulation, Clicked]).resolve(&four), Some((Reformulation, 4, false)));
        assert_eq!((four.written(4), four.written(3)), (1, 0));
    }
}
