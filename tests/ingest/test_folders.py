"""Folders of RecBole and MMRec, and a file for each split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import worlds
from palate.core.errors import ConfigError, DataError
from palate.encode.catalogue import take_file
from palate.encode.store import FeatureStore
from palate.ingest.catalogue import Catalogue
from palate.ingest.folders import import_data, import_folder
from palate.ingest.importing import import_tables
from palate.ingest.naming import ColumnNames

RECBOLE = {
    "toy.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t10\t4\t5.0\n2\t11\t3\t6.0\n",
    "toy.item": 'item_id:token\tmovie_title:token_seq\tclass:token_seq\n10\tThe "Big" One\tDrama War\n11\t"Odd\tWar\n',
    "toy.user": "user_id:token\tage:token\n1\t30\n",
    "toy.kg": "head_id:token\trelation_id:token\ttail_id:token\nm.1\tgenre\tm.9\nm.2\tgenre\tm.9\n",
    "toy.link": "item_id:token\tentity_id:token\n10\tm.1\n11\tm.2\n99\tm.3\n",
}
MMREC = "userID\titemID\trating\ttimestamp\tx_label\n0\t2\t5.0\t7\t0\n0\t0\t4.0\t8\t1\n1\t0\t4.0\t8\t2\n"


def folder_of(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def numbered(rows: int, width: int = 2) -> np.ndarray:
    """Row i holds i throughout."""
    return np.repeat(np.arange(1.0, rows + 1)[:, None], width, axis=1)


def test_atomic_files_give_items_knowledge_and_links(tmp_path: Path) -> None:
    found = import_data(folder_of(tmp_path / "f", RECBOLE))
    catalogue = found.catalogue
    assert catalogue.name == "toy"
    assert catalogue.interactions.select("user_id", "item_id", "rating", "timestamp").rows() == [
        ("1", "10", 4.0, 5),
        ("2", "11", 3.0, 6),
    ]
    # Atomic files know no quoting: the marks are part of the titles.
    assert catalogue.items.select("title", "class").rows() == [('The "Big" One', "Drama War"), ('"Odd', "War")]
    assert catalogue.knowledge is not None
    assert catalogue.knowledge.rows() == [("m.1", "genre", "m.9"), ("m.2", "genre", "m.9")]
    assert catalogue.item_entities is not None
    assert catalogue.item_entities.rows() == [("10", "m.1"), ("11", "m.2")]
    text = found.report.text()
    assert "attributes of users are out of scope" in text
    assert "links of items that the catalogue does not have are left out: 1" in text
    assert found.features == ()


def test_knowledge_without_links_is_noted(tmp_path: Path) -> None:
    files = {name: text for name, text in RECBOLE.items() if name != "toy.link"}
    found = import_folder(folder_of(tmp_path / "f", files))
    assert any("no item is linked" in problem.what for problem in found.report.of("note"))


def test_an_atomic_file_alone_is_a_table(tmp_path: Path) -> None:
    catalogue, _ = import_tables(folder_of(tmp_path / "f", RECBOLE) / "toy.inter")
    assert catalogue.items["item_id"].to_list() == ["10", "11"]


def test_benchmark_files_become_the_split(tmp_path: Path) -> None:
    header, first, second = RECBOLE["toy.inter"].splitlines(keepends=True)
    files = {"toy.train.inter": header + first, "toy.test.inter": header + second}
    catalogue = import_folder(folder_of(tmp_path / "f", files)).catalogue
    assert catalogue.name == "toy"
    assert catalogue.interactions.select("user_id", "split").rows() == [("1", "train"), ("2", "test")]


def test_rows_of_mmrec_features_are_item_numbers(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "baby", {"baby.inter": MMREC})
    np.save(folder / "image_feat.npy", numbered(12))
    np.save(folder / "t_feat.npy", numbered(12, 3).astype(np.float32))
    np.save(folder / "user_graph_dict.npy", np.zeros(3))
    found = import_data(folder)
    assert found.catalogue.items["item_id"].to_list() == [str(number) for number in range(12)]
    assert found.catalogue.interactions["split"].to_list() == ["train", "valid", "test"]
    assert "user_graph_dict.npy" in found.report.text()
    stored = found.save(tmp_path / "cat", take_file)
    assert stored.folder is not None
    assert Catalogue.load(stored.folder).fingerprint == stored.fingerprint
    assert FeatureStore(stored.folder).names() == ["image", "text"]
    rows = FeatureStore(stored.folder).load("image", ["11", "2", "0"])
    assert rows.matrix[:, 0].tolist() == [12.0, 3.0, 1.0]
    assert rows.present.all()


def test_what_is_odd_in_rows_that_came_with_the_data_is_in_the_report(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "baby", {"baby.inter": MMREC})
    np.save(folder / "image_feat.npy", numbered(12) * (np.arange(12) % 3 > 0)[:, None])
    found = import_data(folder)
    found.save(tmp_path / "cat", take_file)
    assert "note: 4 rows are all zero, kept as present; palate encode --from" in found.report.text()


def test_a_core_of_the_items_keeps_their_own_rows(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "baby", {"baby.inter": MMREC})
    np.save(folder / "image_feat.npy", numbered(3))
    found = import_data(folder, min_item=1)
    assert sorted(found.catalogue.items["item_id"]) == ["0", "2"]
    stored = found.save(tmp_path / "cat", take_file)
    assert stored.folder is not None
    assert FeatureStore(stored.folder).load("image", ["2", "0"]).matrix[:, 0].tolist() == [3.0, 1.0]


@pytest.mark.parametrize("item", ["3", "007", "B00X", "-1", "1.5"])
def test_an_item_that_is_no_row_number_is_fatal(tmp_path: Path, item: str) -> None:
    folder = folder_of(tmp_path / "baby", {"baby.inter": f"userID\titemID\n0\t{item}\n1\t0\n"})
    np.save(folder / "image_feat.npy", numbered(3))
    with pytest.raises(DataError, match="row i should be item number i") as caught:
        import_folder(folder)
    assert item in str(caught.value)


def test_feature_files_that_cannot_be_aligned_are_fatal(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "baby", {"baby.inter": MMREC})
    for name, rows in (("image", 3), ("v", 3), ("text", 4)):
        np.save(folder / f"{name}_feat.npy", numbered(rows))
    np.save(folder / "odd_feat.npy", np.zeros(3))
    (folder / "bad_feat.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError) as caught:
        import_folder(folder)
    for part in ("number their items differently", "two files hold features of image", "shape is (3,)", "no .npy"):
        assert part in str(caught.value)


def test_a_feature_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "baby", {"baby.inter": MMREC})
    np.save(folder / "image_feat.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"no \.npy matrix"):
        import_folder(folder)


def test_a_folder_without_or_with_several_logs_is_fatal(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="here is none"):
        import_folder(folder_of(tmp_path / "a", {"notes.txt": "x"}))
    with pytest.raises(DataError, match=r"here are a\.inter, b\.inter"):
        import_folder(folder_of(tmp_path / "b", {"a.inter": MMREC, "b.inter": MMREC}))
    with pytest.raises(DataError, match=r"one NAME\.inter is needed"):
        import_folder(folder_of(tmp_path / "c", {"a.train.inter": MMREC}))


def test_a_folder_brings_its_own_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="items"):
        import_data(folder_of(tmp_path / "f", RECBOLE), items=tmp_path / "items.csv")


def parts(folder: Path, train: str, valid: str, test: str) -> tuple[Path, Path, Path]:
    paths = (folder / "train.csv", folder / "valid.csv", folder / "test.csv")
    for path, text in zip(paths, (train, valid, test), strict=True):
        path.write_text(text)
    return paths


def test_three_files_become_one_log_with_a_split(tmp_path: Path) -> None:
    train, valid, test = parts(
        tmp_path,
        "user_id,item_id,rating,split\na,x,5,test\na,y,bad,train\na,z,1,train\n",
        "uid,item_id,rating\na,w,4\n",
        "user_id,item_id\na,z\nb,x\n",
    )
    found = import_data(train, valid=valid, test=test)
    assert found.catalogue.interactions.select("user_id", "item_id", "split").rows() == [
        ("a", "x", "train"),
        ("a", "w", "valid"),
        ("a", "z", "test"),
        ("b", "x", "test"),
    ]
    assert found.catalogue.interactions["rating"].null_count() == 4
    assert found.report.rows == {str(train): (3, 1), str(valid): (1, 1), str(test): (2, 2)}
    dropped = {(problem.file, problem.examples[0].place) for problem in found.report.of("dropped")}
    assert dropped == {(str(train), 3), (str(train), 4)}
    text = found.report.text()
    assert "rating is left out: not every file has it" in text
    assert "columns that are not used: split" in text


def test_a_column_of_splits_contradicts_files_of_splits(tmp_path: Path) -> None:
    train, _, test = parts(tmp_path, "user_id,item_id,s\na,x,0\n", "", "user_id,item_id\na,y\n")
    with pytest.raises(DataError, match="the files say the split"):
        import_data(train, test=test, columns=ColumnNames(split="s"))


def test_links_join_the_entities_of_the_items(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "f", RECBOLE)
    items = folder / "items.csv"
    items.write_text("item_id,entity\n10,m.1\n11,m.7\n")
    catalogue, _ = import_tables(folder / "toy.inter", items, folder / "toy.kg", links=folder / "toy.link")
    assert catalogue.item_entities is not None
    expected = {("10", "m.1"), ("11", "m.7"), ("11", "m.2")}
    assert set(catalogue.item_entities.rows()) == expected
    assert catalogue.item_entities.height == len(expected)
    assert catalogue.items.columns == ["item_id", "title", "description", "image", "audio"]


def test_a_folder_of_parquet_parts_is_one_table(tmp_path: Path) -> None:
    log, goods = tmp_path / "log.parquet", tmp_path / "goods"
    for folder in (log, goods):
        folder.mkdir()
        (folder / "_SUCCESS").write_text("")
        (folder / "_metadata.parquet").write_text("no rows")
    pl.DataFrame({"user_id": ["b"], "item_id": ["x"]}).write_parquet(log / "part-00001.parquet")
    pl.DataFrame({"user_id": ["a", None], "item_id": ["x", "y"]}).write_parquet(log / "part-00000.parquet")
    pl.DataFrame({"item_id": ["x", "y"], "image": ["x.jpg", None]}).write_parquet(goods / "part-0.parquet")
    (goods / "x.jpg").write_bytes(b"\xff\xd8\xff")
    found = import_data(log, goods)
    assert found.catalogue.interactions["user_id"].to_list() == ["a", "b"]
    assert found.catalogue.items["image"].to_list() == ["x.jpg", None]
    assert found.catalogue.media_root == str(goods)
    assert found.report.rows[str(log)] == (3, 2)
    assert any("2 parts" in problem.what for problem in found.report.of("note"))
    for manifest in ("no json", '{"kind": "shop"}'):
        (log / "manifest.json").write_text(manifest)
        assert import_data(log, goods).catalogue.interactions.height == 2
    pl.DataFrame({"user": ["b"]}).write_parquet(log / "part-00002.parquet")
    with pytest.raises(DataError, match="different columns: 'item_id', 'user', 'user_id' in one of part-00000"):
        import_data(log, goods)


def test_a_catalogue_in_place_of_a_log_is_told_apart_from_parts(tmp_path: Path) -> None:
    worlds.catalogue().save(tmp_path / "cat")
    with pytest.raises(
        DataError, match=r"a catalogue, and no table\n    do: name it where one is asked for \(--data\)"
    ):
        import_data(tmp_path / "cat")
