"""Commands that turn content into features: encode, pretrain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from palate.cli.application import QuietOption, app
from palate.core.errors import ConfigError, DataError

pretrain_app = typer.Typer(no_args_is_help=True, help="Train encoders on a catalogue's own content.")
app.add_typer(pretrain_app, name="pretrain")


@app.command()
def encode(
    folder: Annotated[Path, typer.Argument(metavar="CAT", help="Catalogue folder.")],
    modality: Annotated[
        list[str] | None,
        typer.Option(help="What to encode, and the features' name. Repeatable; default: all there is."),
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Encoder of one modality, or a folder made by 'palate pretrain joint'.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Item columns to read, as title,genres; default: the usual ones.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Encoder setting, as pooling=cls. Repeatable.")
    ] = None,
    matrix: Annotated[Path | None, typer.Option("--from", help="Take ready-made rows from a .npy file.")] = None,
    ids: Annotated[
        str | None,
        typer.Option(
            help="With --from: file of the rows' item ids; or item-order (row i is the catalogue's i-th item), "
            "id-order (row i is the item with the id i)."
        ),
    ] = None,
    scale: Annotated[
        str,
        typer.Option(help="With --from: none, unit (rows of length 1) or standard (columns centred, one deviation)."),
    ] = "none",
    zero_is_missing: Annotated[
        bool, typer.Option("--zero-is-missing", help="With --from: a row of zeros is an item without such content.")
    ] = False,
    directions: Annotated[
        int | None,
        typer.Option(help="Cut the features that a --modality has to so many leading directions, as NAME-64."),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Turn content into features, cached by content; take ready-made ones; or cut those there are."""
    from palate.core.config import read_assignments
    from palate.core.errors import unknown_name
    from palate.encode.catalogue import encode_all, take_precomputed
    from palate.encode.scaling import WAYS

    if scale not in WAYS:
        raise ConfigError(unknown_name("scale", scale, WAYS), do=f"choose one of {', '.join(WAYS)}")
    if directions is not None:
        from palate.encode.directions import cut_stored

        if encoder or columns or settings or matrix or ids or scale != "none" or zero_is_missing:
            raise ConfigError("--directions cuts features that are stored", do="give it with --modality alone")
        if modality is None or len(modality) != 1:
            raise ConfigError("which features are to be cut?", do="add one --modality, for example --modality image")
        print(cut_stored(folder, modality[0], directions))
        return
    if matrix is not None:
        if modality is None or len(modality) != 1:
            raise ConfigError("ready-made rows need a name", do="add one --modality, for example --modality image")
        print(take_precomputed(folder, modality[0], matrix, ids, scale, zero_is_missing=zero_is_missing))
        return
    if ids is not None:
        raise ConfigError("--ids goes with --from", do="name the .npy file with --from")
    if scale != "none":
        raise ConfigError("--scale goes with --from", do="name the .npy file with --from")
    if zero_is_missing:
        raise ConfigError("--zero-is-missing goes with --from", do="name the .npy file with --from")
    if encoder is not None and Path(encoder).is_dir():
        from palate.encode.joint.encoder import encode_joint

        if modality or columns or settings:
            raise ConfigError("a joint encoder reads words and pictures as it was trained to", do="name it alone")
        print(encode_joint(folder, Path(encoder), quiet))
        return
    wanted = None if columns is None else [part.strip() for part in columns.split(",") if part.strip()]
    report = encode_all(folder, modality, encoder, wanted, read_assignments(settings or []), quiet=quiet)
    print(report)
    if report.failed:
        raise DataError(
            f"nothing was encoded of {', '.join(report.failed)}; the other features are stored",
            do="mend it and encode again; or name the others with --modality",
        )


@pretrain_app.command("joint")
def pretrain(
    folder: Annotated[Path, typer.Argument(metavar="CAT", help="Catalogue folder.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the encoder to make.", show_default=False)],
    seed: Annotated[int, typer.Option(min=0, help="Of weights, masks, order and held-out pairs.")] = 0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Setting of the encoder, as epochs=20. Repeatable.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the encoder that is there.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Train AlignRec's joint encoder on the items' words and pictures; again to go on after a stop."""
    from palate.core.config import read_assignments
    from palate.encode.joint.pretraining import pretrain_joint
    from palate.encode.joint.settings import JointConfig

    wanted = JointConfig.parse(read_assignments(settings or []), where="--set")
    print(pretrain_joint(folder, out, wanted, seed, quiet, replace=replace))
