//! The report page: one HTML file that asks nothing of the network and runs no script. Charts are SVG drawn here; every
//! text that comes from a record is escaped; colours follow the reader's light or dark setting.

use std::fmt::Write;

use super::compare::{LabelComparison, MeasureComparison, RunComparison, SystemComparison, TimingComparison};
use super::record::{Measured, Record, short};
use super::verdict::{documents, escape};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c1f24; --paper: #ffffff; --faint: #8a9099; --line: #d9dde3;
  --good: #1a7f4b; --bad: #b3261e; --1: #2563a8; --2: #b3541e; --3: #1a7f4b; --4: #7a3ea8; --5: #8a6d1a; --6: #a82555; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --paper: #15181c; --faint: #8a9099; --line: #363c44;
  --good: #5fc98f; --bad: #f2857d; --1: #7fb2ee; --2: #f0a070; --3: #6fd09c; --4: #c79af0; --5: #d8bd62; --6: #f08fb4; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
  max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; }
table { border-collapse: collapse; margin: .8rem 0; font-variant-numeric: tabular-nums; display: block; overflow-x: auto; }
th, td { padding: .2rem .7rem .2rem 0; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number, th.number { text-align: right; } .good { color: var(--good); } .bad { color: var(--bad); }
.faint { color: var(--faint); } .charts { display: flex; flex-wrap: wrap; gap: 1.5rem; } figure { margin: 0; max-width: 480px; }
figcaption { font-size: .85rem; } svg text { fill: var(--faint); font: 11px system-ui, sans-serif; }
svg .axis { stroke: var(--line); fill: none; } svg .mark { fill: var(--1); fill-opacity: .55; }
";

/// The frame around a page's body, which must be escaped already.
pub fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{body}</body>\n</html>\n"
    )
}

/// A page of comparisons.
pub fn of_comparisons(comparisons: &[RunComparison]) -> String {
    let body = comparisons.iter().map(comparison).collect::<String>();
    page("graded: comparison", &body)
}

fn comparison(run: &RunComparison) -> String {
    let mut html = String::new();
    let side = |side: &super::compare::Side| {
        let commit =
            side.commit.as_deref().map_or_else(String::new, |commit| format!(", commit {}", short(commit)));
        escape(&format!("{} of {}{commit}", side.id, side.recorded_at))
    };
    let (dataset, candidate, baseline) =
        (escape(&run.candidate.dataset), side(&run.candidate), side(&run.baseline));
    let _ = writeln!(html, "<h2>{dataset}</h2>\n<p>{candidate}<br>against {baseline}</p>");
    for what in &run.differences {
        let _ = writeln!(html, "<p class=\"bad\">Compared by force: {}</p>", escape(what));
    }
    run.systems.iter().for_each(|one| html.push_str(&system(one)));
    run.labels.iter().for_each(|labels| html.push_str(&label_drift(labels)));
    if !run.timings.is_empty() {
        html.push_str(&timings(&run.timings));
    }
    html
}

fn system(one: &SystemComparison) -> String {
    let mut html = format!("<h3>{}</h3>\n", escape(&one.system));
    let rows = one.measures.iter().map(|measure| {
        let interval = measure.interval.map_or_else(String::new, |[lower, upper]| format!("{lower:+.4} to {upper:+.4}"));
        let p = measure.holm_p.map_or_else(String::new, |p| format!("{p:.4}"));
        let change = signed(measure.difference, false);
        format!(
            "<tr><td>{}</td>{}{}{change}<td>{interval}</td><td class=\"number\">{p}</td><td>{}/{}/{}</td></tr>\n",
            escape(&measure.measure),
            number(measure.baseline),
            number(measure.candidate),
            measure.wins,
            measure.ties,
            measure.losses
        )
    });
    let head = "<tr><th>measure</th><th class=\"number\">baseline</th><th class=\"number\">candidate</th>\
                <th class=\"number\">difference</th><th>95 % interval</th><th class=\"number\">p (Holm)</th>\
                <th>win/tie/loss</th></tr>\n";
    let _ = write!(html, "<table>\n{head}{}</table>\n", rows.collect::<String>());
    let charts = one.measures.iter().map(scatter).collect::<String>();
    let _ = writeln!(html, "<div class=\"charts\">\n{charts}</div>");
    if !one.worst_queries.is_empty() {
        html.push_str(&worst(one));
    }
    html
}

fn worst(one: &SystemComparison) -> String {
    let rows = one.worst_queries.iter().map(|change| {
        format!(
            "<tr><td>{}</td>{}{}<td>{}</td><td>{}</td></tr>\n",
            escape(&change.query),
            number(change.baseline),
            number(change.candidate),
            escape(&documents(&change.before)),
            escape(&documents(&change.after))
        )
    });
    format!(
        "<p>Queries that fell most by {}; documents with their grades, - where nobody judged them</p>\n\
         <table>\n<tr><th>query</th><th class=\"number\">baseline</th><th class=\"number\">candidate</th>\
         <th>first before</th><th>first after</th></tr>\n{}</table>\n",
        escape(&one.worst_queries[0].measure),
        rows.collect::<String>()
    )
}

fn number(value: f64) -> String {
    format!("<td class=\"number\">{value:.4}</td>")
}

fn signed(value: f64, less_is_better: bool) -> String {
    let class = match value {
        0.0 => "number",
        up if (up > 0.0) != less_is_better => "number good",
        _ => "number bad",
    };
    format!("<td class=\"{class}\">{value:+.4}</td>")
}

/// Beyond this many points a chart is a blot and a burden: every k-th is drawn, and the caption says so.
const MOST_POINTS: usize = 2_000;

/// Every query: before to the right, after upwards; on the line nothing changed.
fn scatter(measure: &MeasureComparison) -> String {
    const SIZE: f64 = 220.0;
    const LEFT: f64 = 30.0;
    let ends = measure.values.iter().flat_map(|(_, before, after)| [*before, *after]);
    let most = ends.clone().fold(1.0, f64::max);
    let least = ends.fold(0.0, f64::min);
    let place = |value: f64| (value - least) / (most - least) * SIZE;
    let step = measure.values.len().div_ceil(MOST_POINTS).max(1);
    let points = measure.values.iter().step_by(step).map(|(query, before, after)| {
        let (x, y) = (LEFT + place(*before), SIZE - place(*after) + 8.0);
        format!(
            "<circle class=\"mark\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"><title>{}: {before:.4} to {after:.4}</title></circle>",
            escape(query)
        )
    });
    let (bottom, right, points) = (SIZE + 8.0, LEFT + SIZE, points.collect::<String>());
    let (width, height, below) = (SIZE + 44.0, SIZE + 30.0, SIZE + 22.0);
    let sample = if step > 1 { format!(", every {step}th drawn") } else { String::new() };
    let name = escape(&measure.measure);
    format!(
        "<figure><svg width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"{name}, query by query\">\
         <rect class=\"axis\" x=\"{LEFT}\" y=\"8\" width=\"{SIZE}\" height=\"{SIZE}\"/>\
         <line class=\"axis\" x1=\"{LEFT}\" y1=\"{bottom}\" x2=\"{right}\" y2=\"8\"/>\
         <text x=\"0\" y=\"16\">{most:.1}</text><text x=\"0\" y=\"{bottom}\">{least:.1}</text>\
         <text x=\"{right}\" y=\"{below}\" text-anchor=\"end\">baseline to the right, candidate upwards</text>\
         {points}</svg><figcaption>{name}: {} queries{sample}</figcaption></figure>\n",
        measure.values.len()
    )
}

fn label_drift(labels: &LabelComparison) -> String {
    let mut html = "<h3>Labels</h3>\n<table>\n<tr><th>statistic</th><th class=\"number\">baseline</th>\
                    <th class=\"number\">candidate</th><th class=\"number\">difference</th><th>interval</th></tr>\n"
        .to_owned();
    for one in &labels.measures {
        let maybe = |value: Option<f64>| value.map_or_else(|| "<td></td>".to_owned(), number);
        let change =
            one.difference.map_or_else(|| "<td></td>".to_owned(), |value| signed(value, one.less_is_better));
        let interval =
            one.interval.map_or_else(String::new, |[lower, upper]| format!("{lower:+.4} to {upper:+.4}"));
        let (before, after) = (maybe(one.baseline), maybe(one.candidate));
        let _ = writeln!(
            html,
            "<tr><td>{}</td>{before}{after}{change}<td>{interval}</td></tr>",
            escape(&one.measure)
        );
    }
    let level = labels.level * 100.0;
    let [before, after] = labels.unparsed;
    let _ = writeln!(
        html,
        "</table>\n<p class=\"faint\">Intervals of {level:.1} %. Labels that could not be read: {before}, then {after}.</p>"
    );
    html.push_str(&confusion_drift(labels));
    html
}

/// Each cell: how many pairs there are now, and how many more or fewer than before.
fn confusion_drift(labels: &LabelComparison) -> String {
    let mut grades = labels.grades.concat();
    grades.sort_unstable();
    grades.dedup();
    if grades.is_empty() || grades.len() > 20 {
        return String::new();
    }
    let count = |side: usize, human: i32, predicted: i32| {
        let place = |grade| labels.grades[side].binary_search(&grade).ok();
        let cell = place(human).zip(place(predicted));
        cell.and_then(|(row, column)| labels.confusion[side].get(row)?.get(column).copied()).unwrap_or(0)
    };
    let head = grades.iter().map(|grade| format!("<th class=\"number\">{grade}</th>")).collect::<String>();
    let mut html = format!("<table>\n<tr><th>human \\ predicted</th>{head}</tr>\n");
    for &human in &grades {
        let cells = grades.iter().map(|&predicted| {
            let (before, after) = (count(0, human, predicted) as i64, count(1, human, predicted) as i64);
            let class = match (after - before, human == predicted) {
                (0, _) => "faint",
                (drift, agrees) if (drift > 0) == agrees => "good",
                _ => "bad",
            };
            format!("<td class=\"number\">{after} <span class=\"{class}\">{:+}</span></td>", after - before)
        });
        let _ = writeln!(html, "<tr><th>{human}</th>{}</tr>", cells.collect::<String>());
    }
    html.push_str("</table>\n<p class=\"faint\">Pairs now, and the change since the baseline.</p>\n");
    html
}

fn timings(timings: &[TimingComparison]) -> String {
    let rows = timings.iter().map(|one| {
        let note = one.incomparable.as_deref().unwrap_or_default();
        format!(
            "<tr><td>{}</td><td>{}</td><td class=\"number\">{:.6}</td><td class=\"number\">{:.6}</td>\
             <td class=\"number\">{:.3}</td><td class=\"number\">{:.1} %</td><td>{}</td></tr>\n",
            escape(&one.name),
            one.unit,
            one.baseline,
            one.candidate,
            one.ratio,
            one.noise * 100.0,
            escape(note)
        )
    });
    format!(
        "<h3>Speed</h3>\n<table>\n<tr><th>what</th><th>unit</th><th class=\"number\">baseline</th>\
         <th class=\"number\">candidate</th><th class=\"number\">ratio</th><th class=\"number\">noise</th><th></th></tr>\n\
         {}</table>\n",
        rows.collect::<String>()
    )
}

/// A page of a history, oldest record first.
pub fn of_history(records: &[(Record, String)]) -> String {
    let mut body = format!("<p>{} records</p>\n", records.len());
    let mut datasets: Vec<(&str, String)> = Vec::new();
    for (record, _) in records {
        let key = (record.dataset.as_str(), record.kind.to_string());
        if !datasets.contains(&key) {
            datasets.push(key);
        }
    }
    for (dataset, kind) in datasets {
        let of_dataset =
            records.iter().filter(|(record, _)| record.dataset == dataset && record.kind.to_string() == kind);
        let of_dataset = of_dataset.collect::<Vec<_>>();
        let _ = writeln!(body, "<h2>{} <span class=\"faint\">{kind}</span></h2>", escape(dataset));
        let charts = lines(&of_dataset).iter().map(trend).collect::<String>();
        let _ = writeln!(body, "<div class=\"charts\">\n{charts}</div>");
        body.push_str(&history_table(&of_dataset));
    }
    page("graded: run history", &body)
}

/// The course of one measure: for each system its values at the records that have it.
struct Trend {
    measure: String,
    records: usize,
    systems: Vec<(String, Vec<Point>)>,
}

struct Point {
    at: usize,
    label: String,
    value: f64,
    interval: Option<[f64; 2]>,
}

fn lines(records: &[&(Record, String)]) -> Vec<Trend> {
    let mut trends: Vec<Trend> = Vec::new();
    for (at, (record, digest)) in records.iter().enumerate() {
        let label = format!("{} of {}", short(digest), record.recorded_at);
        let of_systems = record
            .systems
            .iter()
            .flat_map(|system| system.measures.iter().map(|one| (system.name.as_str(), one)));
        let of_labels =
            record.agreement.iter().flat_map(|labels| labels.measures.iter().map(|one| ("labels", one)));
        for (system, measured) in of_systems.chain(of_labels) {
            if let Some(point) = point(at, &label, measured) {
                push(&mut trends, records.len(), &measured.name, system, point);
            }
        }
        for timing in &record.timings {
            if let Some(value) = super::speed::median(&timing.values) {
                let point = Point { at, label: label.clone(), value, interval: None };
                push(&mut trends, records.len(), &timing.unit.to_string(), &timing.name, point);
            }
        }
    }
    trends
}

fn point(at: usize, label: &str, measured: &Measured) -> Option<Point> {
    Some(Point { at, label: label.to_owned(), value: measured.value?, interval: measured.interval })
}

fn push(trends: &mut Vec<Trend>, records: usize, measure: &str, system: &str, point: Point) {
    let place = trends.iter().position(|trend| trend.measure == measure).unwrap_or_else(|| {
        trends.push(Trend { measure: measure.to_owned(), records, systems: Vec::new() });
        trends.len() - 1
    });
    let systems = &mut trends[place].systems;
    match systems.iter_mut().find(|(name, _)| name == system) {
        Some((_, points)) => points.push(point),
        None => systems.push((system.to_owned(), vec![point])),
    }
}

fn trend(trend: &Trend) -> String {
    const WIDTH: f64 = 420.0;
    const HEIGHT: f64 = 160.0;
    const LEFT: f64 = 52.0;
    let points = trend.systems.iter().flat_map(|(_, points)| points);
    let ends =
        points.flat_map(|point| point.interval.unwrap_or([point.value; 2]).into_iter().chain([point.value]));
    let (least, most) =
        ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), end| (low.min(end), high.max(end)));
    let room = if most > least { most - least } else { 1.0 };
    let x = |at: usize| LEFT + 10.0 + at as f64 / (trend.records.max(2) - 1) as f64 * (WIDTH - 20.0);
    let y = |value: f64| 10.0 + (most - value) / room * (HEIGHT - 4.0) + 2.0;
    let mut drawn = String::new();
    for (number, (system, points)) in trend.systems.iter().enumerate() {
        let colour = format!("var(--{})", number % 6 + 1);
        let path = points
            .iter()
            .map(|point| format!("{:.1},{:.1}", x(point.at), y(point.value)))
            .collect::<Vec<_>>();
        let _ = write!(
            drawn,
            "<polyline fill=\"none\" style=\"stroke:{colour}\" points=\"{}\"/>",
            path.join(" ")
        );
        for point in points {
            let (x, y_value) = (x(point.at), y(point.value));
            if let Some([lower, upper]) = point.interval {
                let (low, high) = (y(lower), y(upper));
                let _ = write!(
                    drawn,
                    "<line style=\"stroke:{colour};stroke-opacity:.4\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{low:.1}\" y2=\"{high:.1}\"/>"
                );
            }
            let title = escape(&format!("{system}: {:.4}, {}", point.value, point.label));
            let _ = write!(
                drawn,
                "<circle style=\"fill:{colour}\" cx=\"{x:.1}\" cy=\"{y_value:.1}\" r=\"3\"><title>{title}</title></circle>"
            );
        }
    }
    let names = trend.systems.iter().enumerate();
    let names = names.map(|(number, (system, _))| {
        format!("<span style=\"color:var(--{})\">● {}</span>", number % 6 + 1, escape(system))
    });
    let (name, names) = (escape(&trend.measure), names.collect::<Vec<_>>().join(" "));
    let (width, height, bottom) = (LEFT + WIDTH + 4.0, HEIGHT + 20.0, HEIGHT + 10.0);
    format!(
        "<figure><svg width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"{name} over time\">\
         <rect class=\"axis\" x=\"{LEFT}\" y=\"8\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\
         <text x=\"0\" y=\"18\">{most:.4}</text><text x=\"0\" y=\"{bottom}\">{least:.4}</text>{drawn}</svg>\
         <figcaption>{name} &nbsp; {names}</figcaption></figure>\n"
    )
}

fn history_table(records: &[&(Record, String)]) -> String {
    let mut html =
        "<table>\n<tr><th>record</th><th>when</th><th>commit</th><th>system</th><th>values with 95 % intervals</th></tr>\n".to_owned();
    for (record, digest) in records.iter().rev() {
        let commit = record.commit.as_deref().map_or("", short);
        let of_systems =
            record.systems.iter().map(|system| (system.name.as_str(), system.measures.as_slice()));
        let of_labels = record.agreement.iter().map(|labels| ("labels", labels.measures.as_slice()));
        for (system, measures) in of_systems.chain(of_labels) {
            let _ = writeln!(
                html,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                short(digest),
                escape(&record.recorded_at),
                escape(commit),
                escape(system),
                measures.iter().map(said).collect::<Vec<_>>().join(", ")
            );
        }
        for timing in &record.timings {
            let median =
                super::speed::median(&timing.values).map_or_else(String::new, |value| format!("{value:.6}"));
            let _ = writeln!(
                html,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{median} {}</td></tr>",
                short(digest),
                escape(&record.recorded_at),
                escape(commit),
                escape(&timing.name),
                timing.unit
            );
        }
    }
    html.push_str("</table>\n");
    html
}

fn said(measured: &Measured) -> String {
    let value = measured.value.map_or_else(|| "none".to_owned(), |value| format!("{value:.4}"));
    let interval =
        measured.interval.map_or_else(String::new, |[lower, upper]| format!(" ({lower:.4} to {upper:.4})"));
    format!("{} {value}{interval}", escape(&measured.name))
}
