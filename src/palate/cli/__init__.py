"""The command line: arguments and printing, nothing else. Heavy imports wait until a command needs them."""

from __future__ import annotations

# Importing a file of commands registers them.
from palate.cli import content, data, probes, products, runs, serving, show, studies
from palate.cli.application import app, main

__all__ = ["app", "content", "data", "main", "probes", "products", "runs", "serving", "show", "studies"]
