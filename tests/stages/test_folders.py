"""Folders of runs and stores: a mark says whose they are, and nothing of anybody else's is touched."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from siftlm.errors import UserError
from siftlm.stages import folders
from siftlm.stages.publish import workspace

HEX = "0123456789abcdef" * 2


def fill(root: Path, *names: str) -> dict[str, str]:
    """Files with their names as content; those that end with a slash are folders."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_text(name)
    return content(root)


def content(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): p.read_text() if p.is_file() else "folder" for p in sorted(root.rglob("*"))}


def use(root: Path, store: str | None = None) -> None:
    with workspace(str(root / "out"), "mine", str(root / (store or "out/store"))):
        pass


STRANGERS = ["thesis.tex", "links/notes.txt", f".notes.{HEX}.tmp", "documents/letter.doc", ".git/config", "lost+found/"]


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("store", ["work", "out/store"])
def test_a_folder_of_somebody_elses_is_no_store(tmp_path: Path, store: str, stranger: str) -> None:
    """Named as a store, or where the store of an output folder would be: refused, and as it was, to a byte."""
    before = fill(tmp_path, f"{store}/{stranger}")
    for _ in range(2):
        with pytest.raises(UserError, match=r"^(store|output\.folder): must be (empty, new|empty or)"):
            use(tmp_path, store)
        with pytest.raises(UserError):
            folders.check_folders(str(tmp_path / "out"), "mine", str(tmp_path / store))
        assert content(tmp_path) == before


@pytest.mark.parametrize("stranger", [*STRANGERS, ".bashrc"])
def test_a_folder_of_somebody_elses_is_no_output(tmp_path: Path, stranger: str) -> None:
    """Hidden names too: a home folder may have no others."""
    before = fill(tmp_path, f"out/{stranger}")
    with pytest.raises(UserError, match=r"^output\.folder: must be empty or a run's folder"):
        use(tmp_path, "store")
    assert content(tmp_path) == before


def test_a_mark_is_made_in_a_new_or_empty_folder_and_holds(tmp_path: Path) -> None:
    """Also where a run was killed before it had made its mark."""
    fill(tmp_path, "work/.store.lock", f"work/.siftlm-store.json.{HEX}.tmp", "out/.lock", f"out/.siftlm.json.{HEX}.tmp")
    use(tmp_path, "work")
    assert folders.is_store(f"{tmp_path}/work")
    assert sorted(os.listdir(tmp_path / "work")) == [".store.lock", "siftlm-store.json"]
    assert sorted(os.listdir(tmp_path / "out")) == [".lock", "siftlm.json"]
    fill(tmp_path, "work/notes.txt", "out/notes.txt")
    use(tmp_path, "work")


@pytest.mark.parametrize("name", [f".manifest.json.{HEX}.tmp", f".report.html.{HEX}.tmp", f".README.md.{HEX}.tmp"])
def test_before_its_mark_a_run_leaves_nothing_but_that_in_the_making(tmp_path: Path, name: str) -> None:
    """So any other temporary file in a folder without a mark is somebody else's."""
    before = fill(tmp_path, f"out/{name}", f"work/.fingerprints.json.{HEX}.tmp")
    for out, store in (("out", "store"), ("new", "work")):
        with pytest.raises(UserError, match="must be empty"):
            folders.check_folders(str(tmp_path / out), "mine", str(tmp_path / store))
    with pytest.raises(UserError, match="must be empty"):
        use(tmp_path, "store")
    assert content(tmp_path) == before


@pytest.mark.parametrize(("lock", "place"), [("out/.lock", "output.folder"), ("work/.store.lock", "store")])
def test_a_link_in_the_place_of_a_lock_is_refused_by_validate_too(tmp_path: Path, lock: str, place: str) -> None:
    """What it leads to may be anybody's."""
    before = fill(tmp_path, "thesis.tex", f"{lock.partition('/')[0]}/")
    (tmp_path / lock).symlink_to(tmp_path / "thesis.tex")
    with pytest.raises(UserError, match=rf"^{place}: must be writable, got .* is a link$"):
        folders.check_folders(str(tmp_path / "out"), "mine", str(tmp_path / "work"))
    assert content(tmp_path) == before | {lock: "thesis.tex"}


def test_a_store_of_an_earlier_version_is_adopted_by_hand(tmp_path: Path) -> None:
    """The line says how."""
    fill(tmp_path, "work/.store.lock", "work/documents/x.parquet")
    with pytest.raises(UserError, match=r"with documents; .* make an empty file siftlm-store\.json in it$"):
        use(tmp_path, "work")
    (tmp_path / "work/siftlm-store.json").touch()
    use(tmp_path, "work")


KEPT = [
    "work/links/notes.txt", "work/links/old/x.bin", f"work/.notes.{HEX}.tmp", "work/documents/x.tmp",
    f"work/documents/.notes.{HEX}.tmp", f"work/a/b/c/.{HEX}.parquet.{HEX}.tmp", f"out/.notes.{HEX}.tmp",
    f"out/data/.notes.{HEX}.tmp", "out/data/notes.txt", "out/.staging-mine/x", "out/rejects/part-1.parquet",
    "work/gathered/mine.value", f"work/documents/{HEX}.value", "work/reference/.train-",
    f"work/documents/{HEX}.value.mine",
]  # fmt: skip
REMOVED = [
    f"work/links/{HEX}/x.bin", f"work/.fingerprints.json.{HEX}.tmp", f"work/documents/.{HEX}.parquet.{HEX}.tmp",
    f"work/scores/m/.{HEX}.done.{HEX}.tmp", f"work/ngrams/{HEX}/.0000.zst.{HEX}.tmp", f"out/.manifest.json.{HEX}.tmp",
    f"out/data/.part-00000-of-00001.parquet.{HEX}.tmp",
    f"out/.staging-{HEX[:16]}/data/.part-00000-of-00001.parquet.{HEX}.tmp",
    f"work/gathered/{HEX}.value", f"work/selections/{HEX}.value.{HEX}",
    "work/reference/.train-x8f_2kq9/model/config.json",
]  # fmt: skip


def test_what_is_cleared_away_has_the_names_that_siftlm_gives(tmp_path: Path) -> None:
    """What is named otherwise, or lies behind a link, stays, in a store and in a run's folder alike."""
    use(tmp_path, "work")
    fill(tmp_path, *KEPT, *REMOVED)
    behind = [f"elsewhere/.{HEX}.parquet.{HEX}.tmp", f"elsewhere/{HEX}/x.bin"]
    fill(tmp_path, *behind)
    (tmp_path / "work/signals").symlink_to("../elsewhere")
    (tmp_path / f"work/links/{HEX[::-1]}").symlink_to("../../elsewhere")
    use(tmp_path, "work")
    assert [name for name in REMOVED if (tmp_path / name).exists()] == []
    assert [name for name in (*KEPT, *behind) if not (tmp_path / name).exists()] == []
    fill(tmp_path, f"out/.staging-{HEX[:16]}/data/x")
    folders.clear_staging(f"{tmp_path}/out")
    assert sorted(path.name for path in (tmp_path / "out").glob(".staging*")) == [".staging-mine"]


def test_links_as_a_link_are_left_alone(tmp_path: Path) -> None:
    """What it leads to may be anybody's."""
    use(tmp_path, "work")
    before = fill(tmp_path / "elsewhere", f"{HEX}/x.bin")
    (tmp_path / "work/links").symlink_to("../elsewhere")
    use(tmp_path, "work")
    assert content(tmp_path / "elsewhere") == before


@pytest.mark.parametrize("store", ["out", "out/data", "out/rejects/x", ".", "out/../out"])
def test_a_store_is_a_folder_of_its_own(tmp_path: Path, store: str) -> None:
    """Else what one of them writes is the other's."""
    with pytest.raises(UserError, match=r"^store: must be a folder of its own"):
        use(tmp_path, store)
    assert content(tmp_path) == {}


@pytest.mark.parametrize("place", ["file", "file/deep", "dangling"])
def test_what_is_no_folder_is_refused_before_anything_is_made(tmp_path: Path, place: str) -> None:
    """A file, something below a file, a link that leads nowhere: as output, store and place of the metrics."""
    fill(tmp_path, "file")
    (tmp_path / "dangling").symlink_to("nothing/at/all")
    before = sorted(os.listdir(tmp_path))
    wrong, right = str(tmp_path / place), str(tmp_path / "right")
    with pytest.raises(UserError, match=r"^output\.folder: must be writable, got .*; .* is no folder$"):
        folders.check_folders(wrong, "mine", right)
    with pytest.raises(UserError, match=r"^store: must be writable, got .*; .* is no folder$"):
        folders.check_folders(right, "mine", wrong)
    with pytest.raises(UserError, match=r"^metrics_file: must be in a folder that can be written to"):
        folders.check_folders(right, "mine", f"{right}/store", f"{wrong}/metrics.prom")
    with pytest.raises(UserError, match=r"^metrics_file: must be a file, got the folder"):
        folders.check_folders(right, "mine", f"{right}/store", str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == before


def test_a_file_of_somebody_elses_is_no_metrics_file(tmp_path: Path) -> None:
    """A slip in a configuration may name a shard of the corpus."""
    path = tmp_path / "metrics"
    places = (str(tmp_path / "out"), "mine", str(tmp_path / "store"), str(path))
    for ours in ("", "# HELP siftlm_shards Shards of the stage.\n"):
        path.write_text(ours)
        folders.check_folders(*places)
    path.write_text('{"text": "mine"}')
    with pytest.raises(UserError, match=r"^metrics_file: must be new or written by siftlm, got .*, which begins other"):
        folders.check_folders(*places)
    assert path.read_text() == '{"text": "mine"}'


@pytest.mark.parametrize("kind", ["device", "fifo", "socket"])
def test_what_is_no_ordinary_file_is_not_replaced(tmp_path: Path, kind: str) -> None:
    """/dev/null would become a file of metrics for the whole machine."""
    path = Path(os.devnull) if kind == "device" else tmp_path / kind
    if kind == "fifo":
        os.mkfifo(path)
    listener = socket.socket(socket.AF_UNIX)
    if kind == "socket":
        listener.bind(str(path))
    with listener, pytest.raises(UserError, match=r"^metrics_file: must be an ordinary file, got "):
        folders.check_file("metrics_file", str(path), folders.METRICS_BEGIN)


@pytest.mark.parametrize("lock", ["out/.lock", "work/.store.lock"])
def test_a_lock_of_somebody_elses_keeps_what_it_holds(tmp_path: Path, lock: str) -> None:
    """Other programs have files of that name too; and a link may lead anywhere."""
    fill(tmp_path, lock)
    use(tmp_path, "work")
    assert (tmp_path / lock).read_text() == lock
    (tmp_path / lock).unlink()
    (tmp_path / lock).symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"must be writable, got "):
        use(tmp_path, "work")
    assert not (tmp_path / "nowhere").exists()


def test_a_link_in_a_circle_beside_a_run_is_somebody_elses(tmp_path: Path) -> None:
    """It is no file, and no reason to stop."""
    use(tmp_path)
    for folder in ("out", "out/data", "out/store", "out/store/documents"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "circle").symlink_to("circle")
    use(tmp_path)
    assert (tmp_path / "out/data/circle").is_symlink()


def test_a_store_that_cannot_be_made_is_one_line() -> None:
    """/proc says that it can be written to, and cannot."""
    wanted = pytest.raises(UserError, match=r"^store: must be writable, got /proc/siftlm; ")
    with wanted, folders.shared_store("/proc/siftlm"):
        pass


def test_a_folder_in_use_is_seen_without_being_held(tmp_path: Path) -> None:
    """validate says what run would; the run that holds the folder is not disturbed."""
    out = str(tmp_path / "out")
    folders.check_free(out)
    with workspace(out, "mine", f"{out}/store"), pytest.raises(UserError, match="another siftlm run holds it"):
        folders.check_free(out)
    folders.check_free(out)


def test_results_replace_what_siftlm_wrote_and_nothing_else(tmp_path: Path) -> None:
    """A folder with other files may take new ones; one of the same name has to be ours."""
    fill(tmp_path, "out/notes.txt")
    out = str(tmp_path / "out")
    folders.check_results("out", out, ["weights.parquet"], lambda folder: False)
    fill(tmp_path, "out/weights.parquet")
    folders.check_results("out", out, ["weights.parquet"], lambda folder: True)
    with pytest.raises(
        UserError, match=r"^out: must not hold files that siftlm did not write, got .* weights\.parquet$"
    ):
        folders.check_results("out", out, ["weights.parquet"], lambda folder: False)
    fill(tmp_path, "siftlm.json")
    folders.check_results("out", out, ["weights.parquet"], lambda folder: False)


def test_a_model_goes_to_a_folder_of_its_own(tmp_path: Path) -> None:
    """A model of somebody else's is not overwritten."""
    folders.check_model_folder(str(tmp_path / "new"))
    fill(tmp_path, "model/config.json")
    with pytest.raises(
        UserError, match=r"^FOLDER: must be empty, new or hold a model of siftlm's, got .* config\.json$"
    ):
        folders.check_model_folder(str(tmp_path / "model"))
    fill(tmp_path, "model/siftlm-model.json")
    folders.check_model_folder(str(tmp_path / "model"))


@pytest.mark.parametrize("name", ["data", "rejects", "errors.parquet", "report.html", "README.md", "manifest.json"])
def test_a_file_in_the_place_of_a_folder_or_the_other_way_round_is_told_before_any_work(
    tmp_path: Path, name: str
) -> None:
    """In a run's own folder too; a link that leads nowhere is no folder either."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "siftlm.json").write_text('{"name": "mine"}')
    folders.check_folders(str(out), "mine", f"{out}/store")
    if "." in name:
        (out / name).mkdir()
    else:
        (out / name).symlink_to("nowhere")
    with pytest.raises(UserError, match=f"output.folder: must have a .* got .*{name}"):
        folders.check_folders(str(out), "mine", f"{out}/store")
