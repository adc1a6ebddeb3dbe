//! Markdown tables.

use std::io::{self, Write};

use super::{Cell, Table};

pub(super) fn write(tables: &[Table], out: &mut dyn Write) -> io::Result<()> {
    for (at, table) in tables.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        write_one(table, out)?;
    }
    Ok(())
}

fn write_one(table: &Table, out: &mut dyn Write) -> io::Result<()> {
    if let Some(title) = &table.title {
        writeln!(out, "**{}**\n", escaped(title))?;
    }
    if !table.rows.is_empty() {
        write_row(table.columns.iter().map(|name| escaped(name)), out)?;
        let rule = (0..table.columns.len()).map(|at| if table.is_numeric(at) { "---:" } else { "---" });
        write_row(rule.map(str::to_owned), out)?;
        for row in &table.rows {
            write_row(row.iter().map(Cell::rounded).map(|text| escaped(&text)), out)?;
        }
    }
    table.notes.iter().try_for_each(|note| writeln!(out, "\n{}", escaped(note)))
}

fn write_row(cells: impl Iterator<Item = String>, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "|")?;
    for cell in cells {
        write!(out, " {cell} |")?;
    }
    writeln!(out)
}

fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
