//! The written arm: a passage for each grade of a query, verified.

use relevance::Grade;
use scorer::Pair;
use serde::Serialize;

use super::Written;
use crate::Result;
use crate::draws::Draws;
use crate::generator::{Example, Generator, Register, Request, Task, without_markup};
use crate::judge::{Judge, Verdict};
use crate::normal_form;

/// Longer answers are no passages.
const MOST_CHARACTERS: usize = 4000;

/// How a passage was to be written: drawn from the grid by seed, query, grade and number, and by nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Style {
    /// Sentences.
    pub sentences: u32,
    /// Register.
    pub register: Register,
}

impl Style {
    /// The style of a passage.
    pub fn drawn(grid: &Written, seed: u64, query_id: &str, grade: Grade, number: usize) -> Self {
        let digest = blake3::hash(passage_id(query_id, grade, number).as_bytes());
        let stream = u64::from_le_bytes(digest.as_bytes()[..8].try_into().unwrap_or_default());
        let mut draws = Draws::new(seed, stream);
        let sentences = draws.pick(&grid.sentences).copied().unwrap_or(1);
        Self { sentences, register: draws.pick(&grid.registers).copied().unwrap_or_default() }
    }
}

/// A passage that was written, and what is known of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WrittenPassage {
    /// Its id.
    pub id: String,
    /// Its text.
    #[serde(skip)]
    pub text: String,
    /// The grade it was written for, and has.
    pub grade: Grade,
    /// How it was to be written.
    pub style: Style,
    /// Which answer it is, from 1.
    pub attempt: usize,
    /// The grade the judge gave, where it could.
    pub judged: Option<Grade>,
    /// The judge's score.
    pub score: Option<f64>,
}

/// What became of the answers for one grade.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WrittenCounts {
    /// The grade asked for.
    pub grade: Grade,
    /// Passages wanted.
    pub wanted: u64,
    /// Answers that came.
    pub answers: u64,
    /// Answers that are no passage: empty, or too long.
    pub unreadable: u64,
    /// Answers that repeat a passage of the same list.
    pub repeated: u64,
    /// Answers by the grade the judge gave them, from 0 to 3: agreement of target and predicted grade.
    pub judged: [u64; 4],
    /// Answers the judge could not grade.
    pub unjudged: u64,
    /// Passages kept.
    pub kept: u64,
}

impl WrittenCounts {
    /// Adds another query's.
    pub fn add(&mut self, other: &Self) {
        self.wanted += other.wanted;
        self.answers += other.answers;
        self.unreadable += other.unreadable;
        self.repeated += other.repeated;
        self.unjudged += other.unjudged;
        self.kept += other.kept;
        for (own, other) in self.judged.iter_mut().zip(other.judged) {
            *own += other;
        }
    }
}

/// The id of the `number`th passage written for a query and a grade, from 0.
pub fn passage_id(query_id: &str, grade: Grade, number: usize) -> String {
    format!("{query_id}_l_{grade}_d_{number}")
}

/// An answer as a passage: without markup, on one line; `None` for none, and for a whole essay.
pub fn read_passage(answer: &str) -> Option<String> {
    let plain = without_markup(answer);
    let passage = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    let length = passage.chars().count();
    (length > 0 && length <= MOST_CHARACTERS).then_some(passage)
}

/// What is asked for: query, its id, and the example shown.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The query's id.
    pub id: &'a str,
    /// The query.
    pub query: &'a str,
    /// The judged passages of another query.
    pub examples: &'a [Example],
}

/// Writes a query's list: its passages in the order of `grades`, and the counts of each grade.
///
/// # Errors
/// When the generator or the judge fails.
pub fn write_list(
    asked: Asked<'_>,
    grades: &[Grade],
    rules: &Written,
    generator: &dyn Generator,
    judge: &dyn Judge,
    seed: u64,
) -> Result<(Vec<WrittenPassage>, Vec<WrittenCounts>)> {
    let mut passages: Vec<WrittenPassage> = Vec::new();
    let mut all = Vec::new();
    for &grade in grades {
        let mut counts = WrittenCounts { grade, ..WrittenCounts::default() };
        for number in 0..rules.per_grade {
            counts.wanted += 1;
            let style = Style::drawn(rules, seed, asked.id, grade, number);
            let answers = generator.generate(&request(&asked, grade, number, style, rules, seed))?;
            let readable = readable(&answers, &passages, &mut counts);
            let found = verified(asked.query, grade, readable, rules.verify, judge, &mut counts)?;
            if let Some((attempt, text, verdict)) = found {
                counts.kept += 1;
                let id = passage_id(asked.id, grade, number);
                let (judged, score) = (verdict.grade(), verdict.score());
                passages.push(WrittenPassage { id, text, grade, style, attempt, judged, score });
            }
        }
        all.push(counts);
    }
    Ok((passages, all))
}

fn request(
    asked: &Asked<'_>,
    grade: Grade,
    number: usize,
    style: Style,
    rules: &Written,
    seed: u64,
) -> Request {
    let task = Task::Passage {
        query: asked.query.to_owned(),
        grade,
        sentences: style.sentences,
        register: style.register,
        examples: asked.examples.to_vec(),
    };
    // Passages of one grade differ by their number alone.
    let seed = seed.wrapping_add((number as u64) << 32);
    Request { task, samples: rules.attempts, temperature: rules.temperature, seed }
}

/// The answers that are new passages, each with its place from 1.
fn readable(
    answers: &[String],
    known: &[WrittenPassage],
    counts: &mut WrittenCounts,
) -> Vec<(usize, String)> {
    let mut seen: Vec<String> = known.iter().map(|passage| normal_form(&passage.text)).collect();
    let mut readable = Vec::new();
    counts.answers += answers.len() as u64;
    for (at, answer) in answers.iter().enumerate() {
        let Some(passage) = read_passage(answer) else {
            counts.unreadable += 1;
            continue;
        };
        let form = normal_form(&passage);
        match seen.contains(&form) {
            true => counts.repeated += 1,
            false => {
                seen.push(form);
                readable.push((at + 1, passage));
            }
        }
    }
    readable
}

/// The first answer that the judge gives the grade it was written for; with `verify` off, the first.
fn verified(
    query: &str,
    grade: Grade,
    readable: Vec<(usize, String)>,
    verify: bool,
    judge: &dyn Judge,
    counts: &mut WrittenCounts,
) -> Result<Option<(usize, String, Verdict)>> {
    let pairs: Vec<Pair<'_>> = readable.iter().map(|(_, document)| Pair { query, document }).collect();
    let verdicts = judge.judge(&pairs)?;
    let mut found = None;
    for ((attempt, text), verdict) in readable.into_iter().zip(verdicts) {
        match verdict.grade().and_then(|grade| usize::try_from(grade).ok()).filter(|grade| *grade < 4) {
            Some(judged) => counts.judged[judged] += 1,
            None => counts.unjudged += 1,
        }
        if found.is_none() && (!verify || verdict.grade() == Some(grade)) {
            found = Some((attempt, text, verdict));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::RecordedJudge;

    /// Answers with the same texts whatever is asked.
    struct Says(&'static [&'static str]);

    impl Generator for Says {
        fn model(&self) -> &str {
            "says"
        }
        fn revision(&self) -> &str {
            ""
        }
        fn generate(&self, request: &Request) -> Result<Vec<String>> {
            Ok(self.0.iter().take(request.samples as usize).map(|&text| text.to_owned()).collect())
        }
    }

    fn judge() -> RecordedJudge {
        let graded = [("q", "three", 3), ("q", "two", 2), ("q", "zero", 0)];
        RecordedJudge::new(relevance::Scale::ssra(), graded)
    }

    const ASKED: Asked<'_> = Asked { id: "7", query: "q", examples: &[] };

    #[test]
    fn hand_computed() {
        // Of six answers one is empty, one repeats; `strange` is in no record. For 3: `three`, third answer. For 2: `two`;
        // `three` counts as repeated then. Nothing is a 1. For 0: `zero`.
        let says = Says(&["<br>", "zero", "three", "zero ", "two", "strange"]);
        let rules = Written { attempts: 6, ..Written::default() };
        let (passages, counts) = write_list(ASKED, &[3, 2, 1, 0], &rules, &says, &judge(), 1).unwrap();
        let said: Vec<(&str, Grade, usize)> =
            passages.iter().map(|passage| (passage.id.as_str(), passage.grade, passage.attempt)).collect();
        assert_eq!(said, [("7_l_3_d_0", 3, 3), ("7_l_2_d_0", 2, 5), ("7_l_0_d_0", 0, 2)]);
        assert_eq!(passages[0].score, Some(1.0));
        let three = WrittenCounts {
            grade: 3,
            wanted: 1,
            answers: 6,
            unreadable: 1,
            repeated: 1,
            judged: [1, 0, 1, 1],
            unjudged: 1,
            kept: 1,
        };
        assert_eq!(counts[0], three);
        assert_eq!((counts[1].repeated, counts[1].judged, counts[1].kept), (2, [1, 0, 1, 0], 1));
        assert_eq!((counts[2].repeated, counts[2].judged, counts[2].kept), (3, [1, 0, 0, 0], 0));
        assert_eq!((counts[3].repeated, counts[3].kept), (3, 1));
    }

    #[test]
    fn unverified_passages_have_the_grade_they_were_written_for() {
        let rules = Written { attempts: 2, verify: false, ..Written::default() };
        let says = Says(&["zero", "three"]);
        let (passages, _) = write_list(ASKED, &[3, 0], &rules, &says, &judge(), 1).unwrap();
        let said: Vec<_> = passages.iter().map(|passage| (passage.grade, passage.judged)).collect();
        assert_eq!(said, [(3, Some(0)), (0, Some(3))]);
    }

    #[test]
    fn the_grid_is_drawn_by_seed_query_grade_and_number() {
        let grid = Written::default();
        let draw = |seed, query, grade, number| Style::drawn(&grid, seed, query, grade, number);
        assert_eq!(draw(1, "a", 3, 0), draw(1, "a", 3, 0));
        let all: Vec<Style> = (0..200).map(|number| draw(1, "a", 3, number)).collect();
        for sentences in &grid.sentences {
            for register in &grid.registers {
                let style = Style { sentences: *sentences, register: *register };
                let share = all.iter().filter(|drawn| **drawn == style).count();
                assert!((8..40).contains(&share), "{style:?}: {share} of 200");
            }
        }
        assert!((0..20).any(|number| draw(1, "a", 3, number) != draw(2, "a", 3, number)));
        assert!((0..20).any(|number| draw(1, "a", 3, number) != draw(1, "b", 3, number)));
    }

    #[test]
    fn an_answer_is_a_passage_without_markup_or_nothing() {
        assert_eq!(read_passage(" <p>One\n two</p> ").as_deref(), Some("One two"));
        assert_eq!(read_passage(" \n"), None);
        assert_eq!(read_passage(&"long ".repeat(900)), None);
    }
}
