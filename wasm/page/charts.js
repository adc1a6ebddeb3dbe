// Drawings of numbers that the worker computed. What is added here is pixels.

import { count, four, h, svg, two } from "./dom.js";

/** Statistics in the order of the report; those that lie between 0 and 1 (or below 0) get a whisker. */
const NAMES = {
  cohen_kappa_quadratic: "Cohen's kappa, quadratic",
  cohen_kappa_linear: "Cohen's kappa, linear",
  cohen_kappa: "Cohen's kappa",
  krippendorff_alpha_ordinal: "Krippendorff's alpha, ordinal",
  krippendorff_alpha_nominal: "Krippendorff's alpha, nominal",
  krippendorff_alpha_interval: "Krippendorff's alpha, interval",
  krippendorff_alpha_ratio: "Krippendorff's alpha, ratio",
  fleiss_kappa: "Fleiss' kappa",
  kendall_tau_b: "Kendall's tau-b",
  spearman: "Spearman",
  pearson: "Pearson",
  accuracy: "Accuracy",
  macro_f1: "Macro F1",
  mae: "Mean absolute error, in grades",
};

/** Bins of fewer pairs are drawn hollow. */
const FEW = 10;

/** Why a statistic has no value, in words. */
const REASONS = {
  no_pairs: "there are no pairs to compare",
  one_pair: "one pair is not enough",
  two_pairs: "two pairs are not enough",
  one_category: "all grades are the same",
  constant_side: "all grades of one side are the same",
  negative_grade: "a grade is negative",
};

const grade = (position) => Math.min(3, Math.max(0, position));
/** The place of a grade's colour; x where it is not on the scale. */
const placeOf = (value, scale) => {
  const place = scale.levels.findIndex((level) => level.grade === value);
  return place < 0 ? "x" : grade(place);
};

function whisker(value, interval) {
  const x = (number) => 4 + 92 * Math.min(1, Math.max(0, number));
  const picture = svg("svg", { class: "whisker", viewBox: "0 0 100 14", preserveAspectRatio: "none", "aria-hidden": "true" },
    [0, 0.5, 1].map((at) => svg("line", { class: "rule", x1: x(at), x2: x(at), y1: 1, y2: 13, "vector-effect": "non-scaling-stroke" })));
  if (interval) picture.append(svg("line", { class: "range", x1: x(interval.lower), x2: x(interval.upper), y1: 7, y2: 7, "vector-effect": "non-scaling-stroke" }));
  picture.append(svg("rect", { class: "point", x: x(value) - 0.7, width: 1.4, y: 2, height: 10 }));
  return picture;
}

export function statistics(report) {
  return Object.keys(NAMES).map((name) => {
    const value = report.measures[name];
    const interval = report.intervals[name];
    const why = report.undefined[name];
    const range = interval ? `${four(interval.lower)} to ${four(interval.upper)}` : "";
    return h("tr", { class: name === "cohen_kappa_quadratic" && "chief", "data-statistic": name },
      h("th", { scope: "row" }, NAMES[name]),
      h("td", { class: "right", title: value === null ? null : String(value), "data-value": value === null ? null : String(value) }, four(value)),
      why ? h("td", { class: "why", colspan: 2 }, REASONS[why] ?? String(why).replaceAll("_", " ")) : h("td", { class: "right interval" }, range),
      why ? null : h("td", {}, value === null || name === "mae" ? null : whisker(value, interval)));
  });
}

/** How well each grade is predicted. */
export function perGrade(report) {
  if (report.per_grade.length > 12) return [];
  const names = ["Grade", "Human", "Predicted", "Precision", "Recall", "F1"];
  const row = (line) => h("tr", {}, h("th", { scope: "row" }, String(line.grade)), [line.human, line.predicted].map((number) => h("td", { class: "right" }, count(number))),
    ["precision", "recall", "f1"].map((name) => {
      const interval = line.intervals[name];
      return h("td", { class: "right", title: interval ? `${four(interval.lower)} to ${four(interval.upper)}` : null }, four(line[name]));
    }));
  return [
    h("thead", {}, h("tr", {}, names.map((name, at) => h("th", { scope: "col", class: at > 0 && "right" }, name)))),
    h("tbody", {}, report.per_grade.map(row)),
  ];
}

export function confusion(report, onChoose) {
  const { grades, confusion: rows } = report;
  if (grades.length > 12) return [h("p", { class: "faint" }, `${grades.length} grades: too many to draw; the JSON has them.`)];
  const cell = (human, predicted, number, total) => {
    const share = total ? number / total : 0;
    const said = `human ${human}, predicted ${predicted}: ${count(number)} pairs, ${Math.round(share * 100)} % of human ${human}`;
    return h("td", { class: human === predicted && "same" },
      h("button", { type: "button", title: said, "aria-label": said, "--share": share, onclick: () => onChoose(human, predicted) },
        count(number), h("small", {}, `${Math.round(share * 100)} %`)));
  };
  const head = h("tr", {}, h("th", { scope: "col" }, h("span", { class: "unseen" }, "human")), grades.map((name) => h("th", { scope: "col" }, String(name))));
  const body = rows.map((row, at) => {
    const total = row.reduce((sum, number) => sum + number, 0);
    return h("tr", {}, h("th", { scope: "row" }, String(grades[at])), row.map((number, to) => cell(grades[at], grades[to], number, total)));
  });
  return [h("table", { class: "confusion" }, h("thead", {}, head), h("tbody", {}, body))];
}

export function calibration(curves) {
  if (!curves.some((curve) => curve.reliability)) return [h("p", { class: "faint" }, "Only labelled pairs with human grades have a calibration.")];
  const [width, height, left, top] = [320, 190, 30, 6];
  const x = (value) => left + value * (width - left - 8);
  const y = (value) => top + (1 - value) * (height - top - 20);
  const picture = svg("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Reliability diagram; the summaries stand below" },
    svg("rect", { class: "frame", x: x(0), y: y(1), width: x(1) - x(0), height: y(0) - y(1) }),
    svg("line", { class: "diagonal", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }),
    [0, 0.5, 1].map((at) => [
      svg("text", { x: x(at), y: height - 5, "text-anchor": "middle" }, String(at)),
      svg("text", { x: left - 6, y: y(at) + 4, "text-anchor": "end" }, String(at)),
    ]).flat());
  const legend = h("p", { class: "legend" });
  curves.forEach(({ grade: name, reliability }, at) => {
    if (!reliability) return;
    const place = grade(at + 1);
    const points = reliability.bins.filter((bin) => bin.count > 0);
    // A handful of pairs is shown, but makes no curve.
    const firm = points.filter((bin) => bin.count >= FEW);
    picture.append(svg("polyline", { class: `curve grade-line-${place}`, points: firm.map((bin) => `${x(bin.predicted)},${y(bin.observed)}`).join(" ") }));
    points.forEach((bin) => {
      const said = `grade ${name} or higher: predicted ${two(bin.predicted)}, observed ${two(bin.observed)}, ${count(bin.count)} pairs`;
      picture.append(svg("circle", { class: bin.count < FEW ? `few grade-line-${place}` : `grade-fill-${place}`, cx: x(bin.predicted), cy: y(bin.observed), r: 3 }, svg("title", {}, said)));
    });
    legend.append(h("span", {}, h("span", { class: `swatch s${place}` }), `${name} or higher: error ${four(reliability.expected_calibration_error)}, Brier ${four(reliability.brier)}`));
  });
  return [h("figure", {}, picture, legend)];
}

/** One strip of bars a human grade, each to its own height; the cuts go through all of them. */
export function histogram(found, cuts, scale) {
  if (!found) return [h("p", { class: "faint" }, "No judged pair has a score.")];
  const { lowest, highest, grades, counts } = found;
  const [width, row, left] = [320, 34, 22];
  const height = row * grades.length + 16;
  const span = highest - lowest || 1;
  const x = (score) => left + ((score - lowest) / span) * (width - left - 6);
  const picture = svg("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "How the scores of each human grade spread" });
  grades.forEach((name, at) => {
    const base = row * (at + 1);
    const most = Math.max(1, ...counts[at]);
    const place = placeOf(name, scale);
    const step = (width - left - 6) / counts[at].length;
    picture.append(svg("line", { class: "base", x1: left, x2: width - 6, y1: base, y2: base }), svg("text", { x: left - 8, y: base - 4, "text-anchor": "end" }, String(name)));
    counts[at].forEach((number, bin) => {
      if (number === 0) return;
      const tall = Math.max(1, (number / most) * (row - 6));
      picture.append(svg("rect", { class: `grade-fill-${place}`, x: left + bin * step, y: base - tall, width: Math.max(0.8, step - 0.6), height: tall }));
    });
  });
  cuts.forEach((cut) => {
    if (cut >= lowest && cut <= highest) picture.append(svg("line", { class: "cut", x1: x(cut), x2: x(cut), y1: 2, y2: height - 14 }));
  });
  picture.append(svg("text", { x: left, y: height - 3 }, two(lowest)), svg("text", { x: width - 6, y: height - 3, "text-anchor": "end" }, two(highest)));
  return [picture];
}

/** The rows of the list of queries. Beyond `most`, only the lowest are listed. */
export function ranking(queries, texts, onChoose, most = 300) {
  const named = Object.entries(queries).map(([id, values]) => ({ id, value: values["nDCG@10"] }));
  named.sort((a, b) => a.value - b.value);
  return named.slice(0, most).map(({ id, value }) => h("li", {},
    h("button", { type: "button", title: texts[id] ?? id, onclick: () => onChoose(id) },
      h("span", { class: "name" }, texts[id] ?? id), h("span", { class: "meter", "--part": value }), h("span", { class: "value" }, four(value)))));
}

export const tag = (value, role, scale) => {
  if (value === null || value === undefined) return h("span", { class: "tag none" }, "–");
  const meaning = scale.levels.find((level) => level.grade === value)?.meaning;
  return h("span", { class: `tag ${role} g${placeOf(value, scale)}`, title: meaning ? `${value}: ${meaning}` : null }, String(value));
};

/** Why a pair got its grade: probabilities, what the score is made of, tokens. */
export function evidence({ label, features, tokens }, scale) {
  const probabilities = h("div", { class: "bars" }, label.distribution.map((part, at) => {
    const level = scale.levels[at];
    return [h("span", { title: level.meaning }, `${level.grade}`), h("span", { class: "meter", "--part": part }), h("span", { class: "number" }, four(part))];
  }));
  const parts = features.map(([, , part]) => part);
  const low = Math.min(0, ...parts);
  const span = Math.max(0, ...parts) - low || 1;
  const contributions = h("div", { class: "bars" }, features.map(([name, value, part]) => [
    h("span", {}, name.replaceAll("_", " "), h("span", { class: "faint" }, ` ${two(value)}`)),
    h("span", { class: `signed ${part < 0 ? "negative" : ""}`, "--zero": -low / span, "--from": (Math.min(0, part) - low) / span, "--part": Math.abs(part) / span }),
    h("span", { class: "number" }, `${part < 0 ? "−" : "+"}${two(Math.abs(part))}`),
  ]));
  const nearest = h("ul", { class: "tokens" }, tokens.map(([token, near, cosine]) =>
    h("li", { "--share": Math.max(0, cosine) }, token, h("small", {}, near === null ? " – nothing" : ` → ${near} ${two(cosine)}`))));
  return [
    h("div", {}, h("h4", {}, "Probability of each grade; the grade itself follows the cuts"), probabilities),
    features.length
      ? h("div", {}, h("h4", {}, `What the score ${four(label.score)} is made of`), contributions)
      : h("div", {}, h("h4", {}, `Score ${four(label.score)}, from both texts read together`)),
    tokens.length ? h("div", {}, h("h4", {}, "Query tokens and the nearest of the document"), nearest) : null,
  ].filter(Boolean);
}
