//! The JSON Schema of a record's file (2020-12), as `graded runs schema` prints it. The tests hold real records to it.

use serde_json::{Value, json};

use super::record::SCHEMA;

/// The schema.
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A run record of graded",
        "description": "The digest is blake3, in hexadecimal, over the record as compact JSON (UTF-8, keys in the order \
                        given here, numbers in the shortest form that gives the same double back).",
        "type": "object",
        "required": ["schema", "digest", "record"],
        "additionalProperties": false,
        "properties": {
            "schema": { "const": SCHEMA },
            "digest": { "type": "string", "pattern": "^[0-9a-f]{64}$" },
            "record": { "$ref": "#/$defs/record" },
        },
        "$defs": {
            "record": record(),
            "system": system(),
            "measured": measured(),
            "agreement": agreement(),
            "timing": timing(),
            "text_or_null": { "type": ["string", "null"] },
            "count": { "type": "integer", "minimum": 0 },
        },
    })
}

/// An object that has all of `required` and may have `optional`, and nothing else.
fn object(required: &[(&str, Value)], optional: &[(&str, Value)]) -> Value {
    let properties = required.iter().chain(optional).map(|(name, what)| ((*name).to_owned(), what.clone()));
    json!({
        "type": "object",
        "required": required.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        "additionalProperties": false,
        "properties": properties.collect::<serde_json::Map<_, _>>(),
    })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn list(items: Value, what: &str) -> Value {
    json!({ "type": "array", "items": items, "description": what })
}

fn record() -> Value {
    let texts = |what: &str| json!({ "type": "object", "additionalProperties": { "type": "string" }, "description": what });
    let text = |what: &str| json!({ "type": "string", "description": what });
    object(
        &[
            ("kind", json!({ "enum": ["evaluation", "agreement", "training", "benchmark"] })),
            (
                "order",
                json!({
                    "type": "string",
                    "pattern": "^[0-9]{8}T[0-9]{6}\\.[0-9]{6}Z$",
                    "description": "The place in the history: the clock, or just after the newest record where that is ahead",
                }),
            ),
            (
                "recorded_at",
                json!({ "type": "string", "format": "date-time", "description": "What the clock said" }),
            ),
            ("dataset", text("The collection's name, or the file")),
            (
                "fingerprints",
                texts("Digests of what went in: judgments, documents, queries, split, recipe, prompts"),
            ),
            (
                "settings",
                texts("The rules the values depend on: ties, self_hits, intersect, judged_candidates, depth"),
            ),
            (
                "tool",
                object(
                    &[("version", json!({ "type": "string" })), ("commit", reference("text_or_null"))],
                    &[],
                ),
            ),
            ("commit", reference("text_or_null")),
            (
                "machine",
                object(
                    &[
                        ("system", json!({ "type": "string" })),
                        ("architecture", json!({ "type": "string" })),
                        ("processor", reference("text_or_null")),
                        ("device", json!({ "type": "string" })),
                        ("threads", reference("count")),
                    ],
                    &[],
                ),
            ),
        ],
        &[
            (
                "queries",
                list(
                    json!({ "type": "string" }),
                    "Ids, in the order of the judgments; all columns follow it",
                ),
            ),
            (
                "judgments_of_queries",
                list(json!({ "type": "string" }), "For each query a digest of its judgments"),
            ),
            ("systems", list(reference("system"), "The systems and their values")),
            ("agreement", reference("agreement")),
            ("timings", list(reference("timing"), "Times and counts; less is better")),
        ],
    )
}

fn system() -> Value {
    let document = json!({
        "type": "array",
        "prefixItems": [{ "type": "string" }, { "type": ["integer", "null"] }],
        "minItems": 2,
        "maxItems": 2,
    });
    object(
        &[
            ("name", json!({ "type": "string" })),
            ("encoder", reference("text_or_null")),
            (
                "rankings",
                json!({ "type": ["string", "null"], "description": "A digest of ids and score bits" }),
            ),
            ("seconds", json!({ "type": ["number", "null"] })),
            ("missing", list(json!({ "type": "string" }), "Judged queries without a ranking")),
            ("judged_in_top_10", json!({ "type": "number", "minimum": 0, "maximum": 1 })),
            ("measures", list(reference("measured"), "One column a measure")),
            (
                "top",
                list(list(document, "Documents with their grades"), "For each query its first documents"),
            ),
        ],
        &[],
    )
}

fn measured() -> Value {
    let interval =
        json!({ "type": ["array", "null"], "items": { "type": "number" }, "minItems": 2, "maxItems": 2 });
    object(
        &[
            ("name", json!({ "type": "string" })),
            ("value", json!({ "type": ["number", "null"] })),
            ("interval", interval),
        ],
        &[(
            "values",
            list(json!({ "type": ["number", "null"] }), "On each query; null where it does not count"),
        )],
    )
}

fn agreement() -> Value {
    let integer = || json!({ "type": "integer" });
    let cell = json!({
        "type": "array",
        "prefixItems": [integer(), integer(), { "type": "integer", "minimum": 1 }],
        "minItems": 3,
        "maxItems": 3,
    });
    object(
        &[
            ("pairs", reference("count")),
            ("unparsed", reference("count")),
            ("measures", list(reference("measured"), "The statistics")),
            ("grades", list(integer(), "Of the confusion table, lowest first")),
            (
                "confusion",
                list(list(reference("count"), "A row"), "Rows are human grades, columns predicted ones"),
            ),
            (
                "cells",
                list(list(cell, "Human grade, predicted grade, how often"), "For each query its cells"),
            ),
        ],
        &[],
    )
}

fn timing() -> Value {
    object(
        &[
            ("name", json!({ "type": "string" })),
            ("unit", json!({ "enum": ["seconds", "instructions"] })),
            ("values", list(json!({ "type": "number" }), "Every repeat")),
        ],
        &[],
    )
}
