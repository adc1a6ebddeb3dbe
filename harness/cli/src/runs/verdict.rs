//! One verdict, said in every way a continuous integration reads: tables, JSON, JUnit XML, GitHub's annotations and step
//! summary, github-action-benchmark's entries, and the exit status. All of them are made from the same checks.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Value, json};

use super::compare::RunComparison;
use super::record::Unit;
use crate::exit;
use crate::report::{Cell, Report, Table};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing found.
    Pass,
    /// The data cannot tell.
    Warning,
    /// The gate says no.
    Failure,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warning => "warning",
            Self::Failure => "FAIL",
        }
    }
}

/// The numbers of a check, as far as it has them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// Before.
    pub baseline: Option<f64>,
    /// After.
    pub candidate: Option<f64>,
    /// After less before.
    pub difference: Option<f64>,
    /// Its interval.
    pub interval: Option<[f64; 2]>,
    /// One-sided, of the randomization test, Holm-adjusted.
    pub p: Option<f64>,
    /// Queries that gained, stayed, fell.
    pub outcomes: Option<[usize; 3]>,
}

/// One thing looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// Where.
    pub dataset: String,
    /// Of what: a system, `labels`, a benchmark.
    pub subject: String,
    /// By what: a measure, `queries`, `coverage`, `bits`, a unit.
    pub what: String,
    /// What was found.
    pub level: Level,
    /// In words; empty where nothing was found.
    pub message: String,
    /// In numbers.
    #[serde(flatten)]
    pub figures: Figures,
}

impl Check {
    /// A check that has found nothing yet.
    pub fn new(dataset: &str, subject: &str, what: &str) -> Self {
        Self {
            dataset: dataset.to_owned(),
            subject: subject.to_owned(),
            what: what.to_owned(),
            level: Level::Pass,
            message: String::new(),
            figures: Figures::default(),
        }
    }

    /// With its numbers.
    pub fn with(self, figures: Figures) -> Self {
        Self { figures, ..self }
    }

    /// It failed, and why.
    pub fn fail(self, message: impl Into<String>) -> Self {
        Self { level: Level::Failure, message: message.into(), ..self }
    }

    /// It cannot be decided, and why.
    pub fn warn(self, message: impl Into<String>) -> Self {
        Self { level: Level::Warning, message: message.into(), ..self }
    }

    /// Values of measures have four decimals; times and counts are of any size.
    fn cell(&self, value: Option<f64>) -> Cell {
        let is_speed = [Unit::Seconds, Unit::Instructions].iter().any(|unit| unit.to_string() == self.what);
        value.map_or(Cell::Empty, if is_speed { Cell::Quantity } else { Cell::Value })
    }

    fn name(&self) -> String {
        format!("{}: {}: {}", self.dataset, self.subject, self.what)
    }
}

/// What the gate says.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The worst of the checks.
    pub outcome: Level,
    /// Everything that was looked at.
    pub checks: Vec<Check>,
    /// What it was decided from.
    pub comparisons: Vec<RunComparison>,
}

impl Verdict {
    /// From its checks.
    pub fn of(checks: Vec<Check>, comparisons: Vec<RunComparison>) -> Self {
        let outcome = checks.iter().map(|check| check.level).max().unwrap_or(Level::Pass);
        Self { outcome, checks, comparisons }
    }

    /// Both together.
    pub fn and(mut self, other: Self) -> Self {
        self.checks.extend(other.checks);
        self.comparisons.extend(other.comparisons);
        Self::of(self.checks, self.comparisons)
    }

    /// The exit status.
    pub fn exit(&self) -> exit::Verdict {
        if self.outcome == Level::Failure { exit::Verdict::No } else { exit::Verdict::Yes }
    }

    fn count(&self, level: Level) -> usize {
        self.checks.iter().filter(|check| check.level == level).count()
    }

    /// `gate: FAIL (2 failures, 1 warning, 9 passed)`.
    pub fn headline(&self) -> String {
        let counts = [(Level::Failure, "failed"), (Level::Warning, "unclear"), (Level::Pass, "passed")];
        let counts = counts.map(|(level, word)| (self.count(level), word));
        let said = counts.iter().filter(|(number, _)| *number > 0);
        let said = said.map(|(number, word)| format!("{number} {word}")).collect::<Vec<_>>().join(", ");
        let word = if self.outcome == Level::Warning { "pass, with warnings" } else { self.outcome.word() };
        format!("gate: {word} ({said})")
    }

    /// For stdout, in the format asked for.
    ///
    /// # Errors
    /// None that can happen: a verdict is plain data.
    pub fn report(&self) -> anyhow::Result<Report> {
        let mut tables = vec![self.table()];
        tables.extend(self.comparisons.iter().flat_map(worst_tables));
        Ok(Report { tables, json: serde_json::to_value(self)?, lines: Vec::new() })
    }

    fn table(&self) -> Table {
        let columns = [
            "state",
            "dataset",
            "of",
            "check",
            "baseline",
            "candidate",
            "difference",
            "interval",
            "p",
            "win/tie/loss",
            "why",
        ];
        let mut table = Table::new(columns).titled(self.headline());
        for check in &self.checks {
            let figures = &check.figures;
            let interval = figures.interval.map(|[lower, upper]| format!("{lower:+.4} to {upper:+.4}"));
            let outcomes = figures.outcomes.map(|[wins, ties, losses]| format!("{wins}/{ties}/{losses}"));
            table.push(vec![
                Cell::text(check.level.word()),
                Cell::text(&check.dataset),
                Cell::text(&check.subject),
                Cell::text(&check.what),
                check.cell(figures.baseline),
                check.cell(figures.candidate),
                check.cell(figures.difference),
                Cell::text(interval.unwrap_or_default()),
                figures.p.map_or(Cell::Empty, Cell::Probability),
                Cell::text(outcomes.unwrap_or_default()),
                Cell::text(&check.message),
            ]);
        }
        table.notes = self.notes();
        table
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for run in &self.comparisons {
            let side = |side: &super::compare::Side| format!("{} of {}", side.id, side.recorded_at);
            notes.push(format!(
                "{}: {} against {}",
                run.candidate.dataset,
                side(&run.candidate),
                side(&run.baseline)
            ));
            notes.extend(run.differences.iter().map(|what| format!("compared by force: {what}")));
        }
        if self.checks.iter().any(|check| check.figures.p.is_some()) {
            notes.push(
                "p: one-sided randomization test of a drop, Holm's correction over all rows; interval: paired bootstrap, 95 %"
                    .to_owned(),
            );
        }
        if let Some(labels) = self.comparisons.iter().find_map(|run| run.labels.as_ref()) {
            let level = labels.level * 100.0;
            notes.push(format!(
                "intervals of labels: {level:.1} %, so that all statistics together keep the gate's level"
            ));
        }
        notes
    }

    /// JUnit XML: a suite a subject, a case a check. Warnings pass, their words under `system-out`.
    pub fn junit(&self) -> String {
        let mut suites: Vec<(String, Vec<&Check>)> = Vec::new();
        for check in &self.checks {
            let name = format!("{}: {}", check.dataset, check.subject);
            match suites.iter_mut().find(|(known, _)| *known == name) {
                Some((_, checks)) => checks.push(check),
                None => suites.push((name, vec![check])),
            }
        }
        let failures =
            |checks: &[&Check]| checks.iter().filter(|check| check.level == Level::Failure).count();
        let mut xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
        let (all, failed) = (self.checks.len(), self.count(Level::Failure));
        let _ =
            writeln!(xml, "<testsuites name=\"graded\" tests=\"{all}\" failures=\"{failed}\" errors=\"0\">");
        for (name, checks) in &suites {
            let (name, tests, failed) = (escape(name), checks.len(), failures(checks));
            let _ = writeln!(
                xml,
                "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failed}\" errors=\"0\">"
            );
            for check in checks {
                let (what, message) = (escape(&check.what), escape(&check.message));
                let inner = match check.level {
                    Level::Pass => String::new(),
                    Level::Warning => format!("<system-out>{message}</system-out>"),
                    Level::Failure => format!("<failure message=\"{message}\"/>"),
                };
                let _ =
                    writeln!(xml, "    <testcase classname=\"{name}\" name=\"{what}\">{inner}</testcase>");
            }
            xml.push_str("  </testsuite>\n");
        }
        xml.push_str("</testsuites>\n");
        xml
    }

    /// GitHub's workflow commands: a line a finding.
    pub fn annotations(&self) -> String {
        let mut lines = String::new();
        for check in self.checks.iter().filter(|check| check.level != Level::Pass) {
            let word = if check.level == Level::Failure { "error" } else { "warning" };
            let title = check.name().replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
            let title = title.replace(':', "%3A").replace(',', "%2C");
            let message = check.message.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
            let _ = writeln!(lines, "::{word} title={title}::{message}");
        }
        lines
    }

    /// github-action-benchmark's `customBiggerIsBetter`: the measures of which more is better.
    pub fn bigger_is_better(&self) -> Value {
        let measures = self.comparisons.iter().flat_map(|run| {
            let dataset = &run.candidate.dataset;
            let of_system = run.systems.iter().flat_map(move |system| {
                let entry = |one: &super::compare::MeasureComparison| {
                    let range = one.interval.map(|[lower, upper]| format!("± {:.4}", (upper - lower) / 2.0));
                    json!({
                        "name": format!("{dataset}: {}: {}", system.system, one.measure),
                        "unit": one.measure,
                        "value": one.candidate,
                        "range": range,
                        "extra": format!("baseline {}, difference {:+.4}, {} queries", one.baseline, one.difference, one.queries),
                    })
                };
                system.measures.iter().map(entry).collect::<Vec<_>>()
            });
            let labels = run.labels.iter().flat_map(|labels| &labels.measures);
            let of_labels = labels.filter(|one| !one.less_is_better && one.candidate.is_some()).map(move |one| {
                json!({
                    "name": format!("{dataset}: labels: {}", one.measure),
                    "unit": one.measure,
                    "value": one.candidate,
                    "extra": one.baseline.map(|baseline| format!("baseline {baseline}")),
                })
            });
            of_system.chain(of_labels).collect::<Vec<_>>()
        });
        // The tool reads absent fields, not null ones.
        let entries = measures.map(|mut entry| {
            if let Some(fields) = entry.as_object_mut() {
                fields.retain(|_, value| !value.is_null());
            }
            entry
        });
        Value::Array(entries.collect())
    }
}

/// The queries that fell most, with what stood first before and after.
pub fn worst_tables(run: &RunComparison) -> Vec<Table> {
    let mut tables = Vec::new();
    for system in run.systems.iter().filter(|system| !system.worst_queries.is_empty()) {
        let measure = &system.worst_queries[0].measure;
        let mut table =
            Table::new(["query", "baseline", "candidate", "first documents before", "first documents after"])
                .titled(format!(
                    "{}: {}: queries that fell most by {measure}",
                    run.candidate.dataset, system.system
                ));
        for change in &system.worst_queries {
            table.push(vec![
                Cell::text(&change.query),
                Cell::Value(change.baseline),
                Cell::Value(change.candidate),
                Cell::text(documents(&change.before)),
                Cell::text(documents(&change.after)),
            ]);
        }
        table.notes = vec!["documents with their grades, - where nobody judged them".to_owned()];
        tables.push(table);
    }
    tables
}

/// `d7 (3), d2 (-), d9 (0)`.
pub fn documents(documents: &[(String, Option<i32>)]) -> String {
    let grade = |grade: &Option<i32>| grade.map_or_else(|| "-".to_owned(), |grade| grade.to_string());
    let said = documents.iter().take(3).map(|(document, judged)| format!("{document} ({})", grade(judged)));
    said.collect::<Vec<_>>().join(", ")
}

/// Text in XML and HTML: the five reserved characters, and no control characters, which XML cannot hold.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(' '),
            c if c.is_control() || c == '\u{fffe}' || c == '\u{ffff}' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict() -> Verdict {
        let checks = vec![
            Check::new("my <set>", "bm25", "nDCG@10").fail("fell by 5 %, \"badly\"\nand more"),
            Check::new("my <set>", "bm25", "AP").warn("a < b"),
            Check::new("my <set>", "rrf", "AP"),
        ];
        Verdict::of(checks, Vec::new())
    }

    #[test]
    fn every_way_of_saying_it_says_the_same() {
        let verdict = verdict();
        assert_eq!((verdict.outcome, verdict.exit()), (Level::Failure, exit::Verdict::No));
        assert_eq!(verdict.headline(), "gate: FAIL (1 failed, 1 unclear, 1 passed)");
        let xml = verdict.junit();
        assert!(xml.contains("tests=\"3\" failures=\"1\"") && xml.contains("my &lt;set&gt;: bm25"), "{xml}");
        assert!(xml.contains("<system-out>a &lt; b</system-out>"), "{xml}");
        let lines = verdict.annotations();
        assert_eq!(
            lines.lines().next(),
            Some("::error title=my <set>%3A bm25%3A nDCG@10::fell by 5 %25, \"badly\"%0Aand more")
        );
        assert_eq!(lines.lines().count(), 2);
    }

    #[test]
    fn nothing_wrong_is_a_pass() {
        let verdict = Verdict::of(vec![Check::new("d", "s", "AP")], Vec::new());
        assert_eq!(
            (verdict.exit(), verdict.headline().as_str()),
            (exit::Verdict::Yes, "gate: pass (1 passed)")
        );
        assert_eq!(verdict.annotations(), "");
    }

    #[test]
    fn what_xml_cannot_hold_does_not_reach_it() {
        assert_eq!(escape("a\u{0}b\u{1b}<\n'"), "a\u{fffd}b\u{fffd}&lt; &#39;");
    }
}
