//! Aligned columns for people.

use std::io::{self, Write};

use comfy_table::{CellAlignment, ContentArrangement, presets};

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
        writeln!(out, "{title}")?;
    }
    if !table.rows.is_empty() {
        let drawn = draw(table).to_string();
        drawn.lines().try_for_each(|line| writeln!(out, "{}", line.trim_end()))?;
    }
    table.notes.iter().try_for_each(|note| writeln!(out, "{note}"))
}

fn draw(table: &Table) -> comfy_table::Table {
    let mut drawn = comfy_table::Table::new();
    drawn.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    drawn.set_header(&table.columns);
    for row in &table.rows {
        drawn.add_row(row.iter().map(Cell::rounded));
    }
    for (at, column) in drawn.column_iter_mut().enumerate() {
        column.set_padding(if at == 0 { (0, 1) } else { (1, 1) });
        if table.is_numeric(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    drawn
}
