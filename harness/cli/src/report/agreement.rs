//! The result of `graded agree`, said.

use datasets::pairs::PairFile;
use relevance::agreement::{
    FileReport, Predicted, RatersReport, Report as Agreement, Statistic, SystemAgreement,
};
use relevance::resampling::Estimate;
use serde_json::{Value, json};

use super::{Cell, Report, Table};

/// How two sets of judgments order the same systems.
pub struct SystemOrders {
    /// The measure that orders them.
    pub measure: String,
    /// Each system's mean by both sets.
    pub systems: Vec<(String, f64, f64)>,
    /// How alike the orders are.
    pub agreement: SystemAgreement,
}

/// Predicted against human grades.
pub fn two_raters(
    name: &str,
    report: &Agreement,
    pairs: &PairFile,
    predicted: Option<Predicted<'_>>,
) -> anyhow::Result<Report> {
    let json = serde_json::to_value(FileReport { report, file: name, predicted })?;
    let mut tables = tables(name, report);
    if let Some(first) = pairs.unparsed.first() {
        let found = format!("line {}: {}", first.line, first.cell);
        tables[0]
            .notes
            .push(format!("{} predicted cells are no grade, the first on {found}", pairs.unparsed.len()));
    }
    if let Some(predicted) = predicted {
        tables[0].notes.push(format!("scores {}", predicted.scores_digest));
    }
    Ok(Report { tables, json, lines: Vec::new() })
}

/// Several raters with each other.
pub fn many_raters(name: &str, report: &RatersReport, raters: &[String]) -> anyhow::Result<Report> {
    let mut json = serde_json::to_value(report)?;
    json["file"] = name.into();
    json["names"] = raters.into();
    let mut all = measures(&report.measures);
    all.title = Some(format!(
        "{name}: {} raters, {} units, {} ratings, {} queries",
        report.raters, report.units, report.ratings, report.queries
    ));
    let mut every_two = Table::new(["raters", "pairs", "statistic", "value", "95 % interval"]);
    every_two.columns[4] = interval_name(report.bootstrap.level());
    all.columns[2] = interval_name(report.bootstrap.level());
    for pair in &report.rater_pairs {
        for (statistic, estimate) in &pair.measures {
            every_two.push(vec![
                Cell::text(format!("{} - {}", raters[pair.first], raters[pair.second])),
                Cell::Count(pair.pairs),
                Cell::text(statistic.name()),
                Cell::maybe(estimate.value.ok()),
                interval(estimate),
            ]);
        }
    }
    Ok(Report { tables: vec![all, every_two.titled("every two raters")], json, lines: Vec::new() })
}

/// Two sets of judgments, and the orders they give.
pub fn two_judgments(
    name: &str,
    report: &Agreement,
    orders: Option<&SystemOrders>,
) -> anyhow::Result<Report> {
    let mut json = serde_json::to_value(report)?;
    json["file"] = name.into();
    let mut tables = tables(name, report);
    if let Some(orders) = orders {
        json["systems"] = orders.json();
        tables.extend(orders.tables());
    }
    Ok(Report { tables, json, lines: Vec::new() })
}

impl SystemOrders {
    fn estimates(&self) -> [(&'static str, &Estimate); 3] {
        let SystemAgreement { kendall_tau, tau_ap, tau_ap_symmetric } = &self.agreement;
        [("kendall_tau", kendall_tau), ("tau_ap", tau_ap), ("tau_ap_symmetric", tau_ap_symmetric)]
    }

    fn json(&self) -> Value {
        let systems = self
            .systems
            .iter()
            .map(|(name, truth, against)| json!({ "system": name, "truth": truth, "against": against }));
        let estimates = self.estimates();
        let values =
            estimates.iter().map(|(name, estimate)| ((*name).to_owned(), json!(estimate.value.ok())));
        let intervals =
            estimates.iter().map(|(name, estimate)| ((*name).to_owned(), json!(estimate.interval.ok())));
        json!({
            "measure": self.measure,
            "values": systems.collect::<Vec<_>>(),
            "measures": values.collect::<serde_json::Map<_, _>>(),
            "intervals": intervals.collect::<serde_json::Map<_, _>>(),
        })
    }

    fn tables(&self) -> [Table; 2] {
        let mut means =
            Table::new(["system", "by --qrels", "by --against"]).titled(format!("mean {}", self.measure));
        for (name, truth, against) in &self.systems {
            means.push(vec![Cell::text(name), Cell::Value(*truth), Cell::Value(*against)]);
        }
        let mut orders = Table::new(["statistic", "value", "interval"]).titled("order of the systems");
        for (name, estimate) in self.estimates() {
            orders.push(vec![Cell::text(name), Cell::maybe(estimate.value.ok()), interval(estimate)]);
        }
        [means, orders]
    }
}

/// Statistics, confusion, and the rows per grade.
fn tables(name: &str, report: &Agreement) -> Vec<Table> {
    let mut statistics = measures(&report.measures);
    statistics.columns[2] = interval_name(report.bootstrap.level());
    let counts = format!("{} pairs, {} unparsed, {} queries", report.pairs, report.unparsed, report.queries);
    statistics.title = Some(format!("{name}: {counts}"));
    let mut tables = vec![statistics];
    let grades = report.confusion.grades();
    if grades.len() <= 20 {
        tables.push(confusion(report));
        tables.push(per_grade(report));
    }
    tables
}

fn measures(estimates: &[(Statistic, Estimate)]) -> Table {
    let mut table = Table::new(["statistic", "value", "interval"]);
    for (statistic, estimate) in estimates {
        table.push(vec![Cell::text(statistic.name()), Cell::maybe(estimate.value.ok()), interval(estimate)]);
        if let Err(reason) = estimate.value {
            table.notes.push(format!("{statistic} has no value: {reason}"));
        }
    }
    table
}

fn confusion(report: &Agreement) -> Table {
    let grades = report.confusion.grades();
    let mut columns = vec!["human \\ predicted".to_owned()];
    columns.extend(grades.iter().map(ToString::to_string));
    let mut table = Table::new(columns).titled("confusion");
    for (grade, row) in grades.iter().zip(report.confusion.rows()) {
        let mut cells = vec![Cell::text(grade.to_string())];
        cells.extend(row.into_iter().map(Cell::Count));
        table.push(cells);
    }
    table
}

fn per_grade(report: &Agreement) -> Table {
    let mut table =
        Table::new(["grade", "human", "predicted", "precision", "recall", "F1"]).titled("per grade");
    for grade in &report.per_grade {
        let row = &grade.row;
        table.push(vec![
            Cell::text(row.grade.to_string()),
            Cell::Count(row.human),
            Cell::Count(row.predicted),
            Cell::maybe(row.precision.ok()),
            Cell::maybe(row.recall.ok()),
            Cell::maybe(row.f1.ok()),
        ]);
    }
    table
}

fn interval_name(level: f64) -> String {
    format!("{} % interval", level * 100.0)
}

fn interval(estimate: &Estimate) -> Cell {
    estimate
        .interval
        .map_or(Cell::Empty, |interval| Cell::text(format!("{:.4} to {:.4}", interval.lower, interval.upper)))
}
