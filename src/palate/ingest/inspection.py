"""One table under inspection: checks mark rows and report them, and the rows that no check marked go on."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from palate.ingest.cells import Cells
from palate.ingest.ids import checked_ids
from palate.ingest.report import MAX_EXAMPLES, Example, Report, Severity, named_values
from palate.ingest.tables import ROW, Table


class Inspection:
    """The rows of a table under inspection: `mark` reports bad ones, `kept` gives the others."""

    def __init__(self, table: Table, report: Report) -> None:
        self.table = table
        self.report = report
        self.bad = pl.repeat(False, table.frame.height, dtype=pl.Boolean, eager=True)

    def mark(self, mask: pl.Series, what: str, do: str, *, column: str | None, values: pl.Series | None = None) -> None:
        self._report("dropped", mask, what, do, column, values)
        self.bad = self.bad | mask

    def note(self, mask: pl.Series, what: str, do: str, *, column: str, values: pl.Series) -> None:
        self._report("note", mask, what, do, column, values)

    def _report(
        self, severity: Severity, mask: pl.Series, what: str, do: str, column: str | None, values: pl.Series | None
    ) -> None:
        count = int(mask.sum())
        if count:
            self.report.add(
                severity,
                self.table.file,
                what,
                do=do,
                column=column,
                count=count,
                examples=self.table.examples(mask, values),
                unit=self.table.unit,
            )

    def ids(self, column: str) -> pl.Series:
        """The ids of the file's column; rows without a proper one are marked."""
        return checked_ids(self, column)

    def parsed(self, column: str, cells: Cells, name: str, wrong: str, do: str) -> pl.Series | None:
        """The values of an optional column; None, with a note, when all of its cells are empty."""
        if bool(cells.empty.all()):
            self.report.add("note", self.table.file, "the column is empty throughout, and left out", column=column)
            return None
        raw = self.table.frame[column]
        empty = f"the {name} is empty"
        self.mark(cells.empty, empty, "fill it in, or leave the column out", column=column, values=raw)
        self.mark(cells.bad, wrong, do, column=column, values=raw)
        return cells.values

    def kept(self, columns: Mapping[str, pl.Series | None]) -> pl.DataFrame:
        """The named columns of the rows that are not marked."""
        present = [series.alias(name) for name, series in columns.items() if series is not None]
        rows = pl.DataFrame([self.table.frame[ROW], *present])
        return rows.filter(~self.bad) if self.bad.any() else rows

    def drop_again(self, frame: pl.DataFrame, again: pl.Series, what: str, keys: tuple[str, ...]) -> pl.DataFrame:
        """The rows of a frame of kept rows that are not repetitions by the mask `again`; those are reported."""
        if not again.any():
            return frame
        repeated = frame.filter(again)
        first = repeated.head(MAX_EXAMPLES)
        shown = [named_values(row) for row in first.select(keys).iter_rows(named=True)]
        examples = [Example(place, text) for place, text in zip(self.table.places(first[ROW]), shown, strict=True)]
        self.report.add(
            "dropped", self.table.file, what, count=repeated.height, examples=examples, unit=self.table.unit
        )
        return frame.filter(~again)

    def done(self, kept: int) -> None:
        """State the number of rows that were kept; none at all is fatal."""
        read, _ = self.report.rows[self.table.file]
        self.report.count_rows(self.table.file, read, kept)
        if kept == 0:
            self.report.add("fatal", self.table.file, "no row is left", do="mend the problems that are listed here")
