//! The quality report as one HTML page: no script, nothing from the network, light or dark as the reader has it. The frame
//! and the style are those of the run history's page.

use std::fmt::Write;

use synthesis::quality::Quality;

use super::quality::{Alignment, tables};
use crate::report::Table;
use crate::runs::page::page;
use crate::runs::verdict::escape;

const WIDTH: f64 = 380.0;
const HEIGHT: f64 = 160.0;
const LEFT: f64 = 44.0;

/// The page of a set called `name`.
pub fn of(name: &str, quality: &Quality, alignment: Option<&Alignment>) -> String {
    let mut body = format!(
        "<p>{} pairs, {} queries, {} documents</p>\n",
        quality.pairs, quality.queries, quality.documents
    );
    body.push_str(&signs(quality));
    let mut charts = String::new();
    let grade = |grade: i32| format!("grade {grade}");
    let shares: Vec<_> = quality.grades.iter().map(|of| (grade(of.grade), vec![of.share])).collect();
    charts.push_str(&columns("share of pairs by grade", &["pairs"], &shares));
    let words: Vec<_> =
        quality.grades.iter().map(|of| (grade(of.grade), vec![of.overlap, of.whole_query])).collect();
    let series = ["words of the query in the document", "pairs with all of them"];
    charts.push_str(&columns("words shared by grade", &series, &words));
    let all = quality.pairs.max(1) as f64;
    let sources: Vec<_> =
        quality.sources.iter().map(|(name, &pairs)| (name.clone(), pairs as f64 / all, None)).collect();
    charts.push_str(&rows("share of pairs by source", &sources));
    let repetitions = [
        ("pairs repeated".to_owned(), quality.repeated_pairs, Some(0.05)),
        ("queries repeated".to_owned(), quality.repeated_queries, Some(0.1)),
        ("documents repeated".to_owned(), quality.repeated_documents, None),
        ("pairs above another".to_owned(), quality.pairs_with_lower, Some(0.1)),
    ];
    charts.push_str(&rows("repetition and order; the line is where a sign of failure begins", &repetitions));
    if let Some(alignment) = alignment {
        charts.push_str(&grid(alignment));
    }
    let _ = writeln!(body, "<div class=\"charts\">\n{charts}</div>");
    tables(quality).iter().for_each(|one| body.push_str(&table(one)));
    page(&format!("graded: quality of {name}"), &body)
}

fn signs(quality: &Quality) -> String {
    if quality.signs.is_empty() {
        return "<p class=\"good\">No sign of failure.</p>\n".to_owned();
    }
    let sign = |sign: &synthesis::quality::Sign| {
        let (name, meaning) = (escape(sign.name), escape(sign.meaning));
        format!(
            "<li><span class=\"bad\">{name}</span> {:.4} (limit {}): {meaning}</li>\n",
            sign.value, sign.limit
        )
    };
    format!("<h2>Signs of failure</h2>\n<ul>\n{}</ul>\n", quality.signs.iter().map(sign).collect::<String>())
}

/// Groups of upright bars, values from 0 to 1.
fn columns(title: &str, series: &[&str], groups: &[(String, Vec<f64>)]) -> String {
    let bottom = HEIGHT + 8.0;
    let room = WIDTH / groups.len().max(1) as f64;
    let width = (room * 0.7 / series.len() as f64).min(48.0);
    let mut drawn = String::new();
    for (at, (label, values)) in groups.iter().enumerate() {
        let middle = LEFT + room * (at as f64 + 0.5);
        let first = middle - width * values.len() as f64 / 2.0;
        for (number, value) in values.iter().enumerate() {
            let (x, height) = (first + width * number as f64, value * HEIGHT);
            let (y, over) = (bottom - height, bottom - height - 3.0);
            let centre = x + width / 2.0;
            let _ = write!(
                drawn,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\" style=\"fill:var(--{})\">\
                 <title>{}: {:.1} %</title></rect>\
                 <text x=\"{centre:.1}\" y=\"{over:.1}\" text-anchor=\"middle\">{:.0}</text>",
                width - 2.0,
                number + 1,
                escape(label),
                value * 100.0,
                value * 100.0
            );
        }
        let below = bottom + 14.0;
        let label = escape(label);
        let _ = write!(drawn, "<text x=\"{middle:.1}\" y=\"{below}\" text-anchor=\"middle\">{label}</text>");
    }
    let right = LEFT + WIDTH;
    let axis = format!(
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>\
         <text x=\"0\" y=\"16\">100 %</text><text x=\"0\" y=\"{bottom}\">0</text>"
    );
    let names = series.iter().enumerate().map(|(number, name)| {
        format!(" <span style=\"color:var(--{})\">■ {}</span>", number + 1, escape(name))
    });
    figure(title, right + 4.0, bottom + 20.0, &(axis + &drawn), &names.collect::<String>())
}

/// Lying bars, values from 0 to 1, with a limit where there is one.
fn rows(title: &str, bars: &[(String, f64, Option<f64>)]) -> String {
    const NAMES: f64 = 150.0;
    const ROW: f64 = 22.0;
    let length = WIDTH + LEFT - NAMES - 50.0;
    let mut drawn = String::new();
    for (at, (label, value, limit)) in bars.iter().enumerate() {
        let y = ROW * at as f64 + 4.0;
        let (long, base) = (value * length, y + 13.0);
        // Right of the bar, and of the line.
        let end = NAMES + value.max(limit.unwrap_or(0.0)) * length + 4.0;
        let label = escape(label);
        let _ = write!(
            drawn,
            "<text x=\"0\" y=\"{base}\">{label}</text>\
             <rect class=\"mark\" x=\"{NAMES}\" y=\"{y}\" width=\"{long:.1}\" height=\"16\"/>\
             <text x=\"{end:.1}\" y=\"{base}\">{:.1} %</text>",
            value * 100.0
        );
        if let Some(limit) = limit {
            let (x, below) = (NAMES + limit * length, y + 18.0);
            let _ = write!(
                drawn,
                "<line style=\"stroke:var(--bad)\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{below:.1}\"/>",
                y - 2.0
            );
        }
    }
    figure(title, LEFT + WIDTH + 4.0, ROW * bars.len() as f64 + 8.0, &drawn, "")
}

/// Given grade downwards, the labeler's grade to the right; a cell is as dark as its share of the row, up to where its
/// number can still be read.
fn grid(alignment: &Alignment) -> String {
    const CELL: f64 = 44.0;
    let mut drawn = String::new();
    for (row, counts) in alignment.counts.iter().enumerate() {
        let all = counts.iter().sum::<u64>().max(1) as f64;
        let y = CELL * row as f64 + 20.0;
        let grade = alignment.grades[row];
        let (middle, top) = (y + CELL / 2.0 + 4.0, LEFT + CELL * (row as f64 + 0.5));
        let _ = write!(
            drawn,
            "<text x=\"0\" y=\"{middle}\">given {grade}</text>\
             <text x=\"{top}\" y=\"14\" text-anchor=\"middle\">{grade}</text>"
        );
        for (column, &count) in counts.iter().enumerate() {
            let x = LEFT + CELL * column as f64;
            let (centre, share) = (x + CELL / 2.0, 0.6 * count as f64 / all);
            let _ = write!(
                drawn,
                "<rect class=\"axis\" x=\"{x}\" y=\"{y}\" width=\"{CELL}\" height=\"{CELL}\" \
                 style=\"fill:var(--1);fill-opacity:{share:.2}\"/>\
                 <text x=\"{centre}\" y=\"{middle}\" text-anchor=\"middle\" style=\"fill:var(--ink)\">{count}</text>"
            );
        }
    }
    let kappa = alignment.kappa_quadratic.map_or("none".to_owned(), |kappa| format!("{kappa:.4}"));
    let note = format!("; quadratic kappa {kappa}");
    let side = CELL * alignment.grades.len() as f64;
    figure("given grades and the labeler's", LEFT + side + 4.0, side + 24.0, &drawn, &escape(&note))
}

fn figure(title: &str, width: f64, height: f64, drawn: &str, caption: &str) -> String {
    let title = escape(title);
    format!(
        "<figure><svg width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"{title}\">{drawn}</svg>\
         <figcaption>{title}{caption}</figcaption></figure>\n"
    )
}

/// A report's table; numbers to the right.
fn table(table: &Table) -> String {
    let title =
        table.title.as_deref().map_or_else(String::new, |title| format!("<h2>{}</h2>\n", escape(title)));
    let head = table.columns.iter().map(|name| format!("<th>{}</th>", escape(name))).collect::<String>();
    let row = |row: &Vec<crate::report::Cell>| {
        let cells = row.iter().map(|cell| {
            let class = if cell.is_number() { " class=\"number\"" } else { "" };
            format!("<td{class}>{}</td>", escape(&cell.rounded()))
        });
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let rows = table.rows.iter().map(row).collect::<String>();
    format!("{title}<table>\n<tr>{head}</tr>\n{rows}</table>\n")
}
