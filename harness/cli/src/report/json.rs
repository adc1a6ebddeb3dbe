//! JSON documents and JSON lines.

use std::io::{self, Write};

use serde_json::{Map, Value};

use super::{Cell, Table};

pub(super) fn write(value: &Value, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

pub(super) fn write_line(value: &Value, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    writeln!(out)
}

/// One object a row, keyed by the columns' names.
pub(super) fn rows(table: &Table) -> Vec<Value> {
    let object = |row: &Vec<Cell>| {
        Value::Object(table.columns.iter().cloned().zip(row.iter().map(value)).collect::<Map<_, _>>())
    };
    table.rows.iter().map(object).collect()
}

fn value(cell: &Cell) -> Value {
    match cell {
        Cell::Empty => Value::Null,
        Cell::Text(text) => text.clone().into(),
        Cell::Count(count) => (*count).into(),
        Cell::Value(number) | Cell::Quantity(number) | Cell::Share(number) | Cell::Probability(number) => {
            (*number).into()
        }
    }
}
