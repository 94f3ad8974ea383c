"""The application that files of commands register with, and how it ends: a mistake is a message, not a traceback."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palate.core.errors import Interrupted, PalateError
from palate.printing import visible
from palate.version import __version__

if TYPE_CHECKING:
    from palate.ingest.naming import ColumnNames

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Multimodal recommendation: raw content → features → training → honest comparison → recommendations.",
)

DataOption = Annotated[Path, typer.Option("--data", help="Catalogue folder.", show_default=False)]
MovedOption = Annotated[Path | None, typer.Option("--data", help="Catalogue folder, where it has moved.")]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
ColumnsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--columns", help="Your columns' names: user_id=uid,item_id=iid; of one file: items.item_id=id. Repeatable."
    ),
]
NoHeaderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--no-header",
        metavar="interactions|items|knowledge",
        help="These files have no header line; their columns are column_1, column_2, … for --columns. Repeatable.",
    ),
]
SettingsOption = Annotated[
    list[str] | None, typer.Option("--set", help="Model or training setting, as dim=64. Repeatable.")
]


def main() -> None:
    """Run the command line; a person's mistake ends in a message, not in a traceback."""
    try:
        command = typer.main.get_command(app)
        _watch_options(command)
        command()
    except Interrupted as stop:
        _fail(str(stop), 130)
    except PalateError as error:
        _fail(f"error: {error}", 1)
    except KeyboardInterrupt:
        _fail("stopped on request", 130)
    except BrokenPipeError:
        # The reader (head, less) has gone; leave quietly.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        _fail(f"error: {error}\n  do:    check the path, its permissions and the space on the disk", 1)
    except (MemoryError, RuntimeError) as error:
        # torch reports a lack of memory as a RuntimeError; any other one is a defect that must stay visible.
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        _fail(f"error: not enough memory: {error}\n  do:    use smaller settings (dim, batch_size) or less data", 1)


def columns_named(given: list[str] | None) -> ColumnNames:
    """What `--columns` says, given once or several times.

    Raises:
        ConfigError: for a word that names no column.
    """
    from palate.ingest.naming import read_columns

    return read_columns(given or [])


def _fail(text: str, code: int) -> None:
    print(visible(text, lines=True), file=sys.stderr)
    sys.exit(code)


def _watch_options(command: Any, before: frozenset[str] = frozenset()) -> None:
    """Say two things of options that the parser does not.

    One that takes a value is given once: the last one would win, and nobody would be told. One of the program itself
    comes before the command.

    Args:
        command: as typer makes it, with those below it.
        before: the options of the program.
    """
    own = frozenset(name for option in command.params for name in option.opts)
    for inner in getattr(command, "commands", {}).values():
        _watch_options(inner, before or own)
    make = command.make_parser

    def made(context: Any) -> Any:
        parser = make(context)
        parse = parser.parse_args

        def parsed(args: list[str]) -> Any:
            try:
                options, rest, order = parse(args=args)
            except Exception as error:
                unknown: Any = getattr(error, "option_name", None)
                if unknown in before:
                    said = f"it comes before the command: palate {unknown} … {context.info_name} …"
                    raise typer.BadParameter(said, ctx=context, param_hint=unknown) from None
                raise
            # A shell that completes a line tells of no mistakes in it.
            for option in [] if context.resilient_parsing else order:
                takes_one = getattr(option, "is_flag", None) is False and not option.multiple
                if takes_one and order.count(option) > 1:
                    said = f"it is given {order.count(option)} times, and takes one value"
                    raise typer.BadParameter(said, ctx=context, param_hint=option.opts[-1])
            return options, rest, order

        parser.parse_args = parsed
        return parser

    command.make_parser = made


def _version(asked: bool) -> None:
    if asked:
        print(f"palate {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads of the arithmetic; 0: all cores.")] = 0,
    models: Annotated[
        list[Path] | None,
        typer.Option("--models", metavar="FILE.py", help="A file with models of your own. Repeatable."),
    ] = None,
) -> None:
    if models:
        from palate.core.extensions import name_files

        name_files(models, os.environ)
    if threads:
        import torch

        torch.set_num_threads(threads)
