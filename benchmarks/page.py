"""Puts what the benchmarks measured into docs/performance.md: each table stands between two marks and is made anew.

    python -m benchmarks.page [--check]

The results lie in benchmarks/results/NAME.json, as `python -m benchmarks.NAME --out benchmarks/results/NAME.json` wrote
them. With --check nothing is written; it fails where the page says something else than the results.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import convergence, growth, ingest, search, serving, speed

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "results", HERE.parent / "docs" / "performance.md"
MARK = re.compile(r"(<!-- results of (\w+) -->\n).*?(\n<!-- end -->)", re.DOTALL)


def table(of: Any) -> Callable[[Any], str]:
    """The table of a benchmark that gives a list of rows."""
    return lambda results: "\n".join([of.HEAD, *map(of.row, results)])


def grown(results: Mapping[str, Any]) -> str:
    """The table of growth, and its exponents."""
    return f"{table(growth)(results['sizes'])}\n\n{growth.told(results['exponents'])}"


TEXTS: dict[str, Callable[[Any], str]] = {
    "speed": speed.page,
    "ingest": ingest.text,
    "convergence": table(convergence),
    "growth": grown,
    "search": table(search),
    "serving": table(serving),
}


def filled(page: str, results: Path = RESULTS) -> str:
    """The page with the tables of these results.

    Raises:
        ValueError: when the page asks for results that there are not.
    """

    def fill(found: re.Match[str]) -> str:
        file = results / f"{found[2]}.json"
        if found[2] not in TEXTS or not file.is_file():
            raise ValueError(f"the page asks for results of '{found[2]}', and there is no {file}")
        return found[1] + TEXTS[found[2]](json.loads(file.read_text(encoding="utf-8"))) + found[3]

    return MARK.sub(fill, page)


def main() -> None:
    """Fill the page in, or check it."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--check", action="store_true", help="write nothing")
    asked = reader.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    try:
        made = filled(page)
    except ValueError as wrong:
        sys.exit(str(wrong))
    if asked.check and made != page:
        sys.exit("docs/performance.md says something else than benchmarks/results; run: python -m benchmarks.page")
    if asked.check:
        print("docs/performance.md says what the results are")
    else:
        PAGE.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
