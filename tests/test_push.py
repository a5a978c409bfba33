"""siftlm push, against a stand-in of the hub's API and not the hub itself."""

from __future__ import annotations

import json
import re
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from tests.hub_stand_in import Blob, HubStandIn, Repository
from tests.remote.conftest import hub as hub_of_tests
from tests.runs.conftest import Bench, mistake, siftlm

from siftlm.report.card import size_category, with_fields_of

hub = hub_of_tests
NAME = "library/books"


@pytest.fixture(autouse=True)
def _logged_in(monkeypatch: pytest.MonkeyPatch, hub: HubStandIn) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_good")


@pytest.fixture
def bench(tmp_path: Any) -> Bench:
    return Bench(tmp_path)


def run(bench: Bench, documents: int = 300, **output: Any) -> str:
    """The folder of a run over some documents, in several shards."""
    rows = [{"id": str(at), "text": f"The text of the document {at}. " * 300} for at in range(documents)]
    bench.shard("1.jsonl", rows)
    bench.run(output={"shard_bytes": 1 << 20, **output})
    return str(bench.root / "out")


def pushed(capsys: Any, folder: str, *options: str) -> str:
    """What a push tells."""
    code, out, err = siftlm(capsys, "push", folder, NAME, *options)
    assert code == 0, err
    return out


def there(hub: HubStandIn, branch: str = "main") -> dict[str, bytes]:
    return {path: blob.content for path, blob in of(hub).head(branch).items()}


def of(hub: HubStandIn) -> Repository:
    return hub.repositories["datasets", NAME]


def local(bench: Bench) -> dict[str, bytes]:
    """What a push has to bring, the card apart."""
    names = ["manifest.json", "report.html", *(f"data/{path.name}" for path in (bench.root / "out/data").iterdir())]
    return {name: (bench.root / "out" / name).read_bytes() for name in names}


def test_a_run_is_pushed_in_one_commit(hub: HubStandIn, bench: Bench, capsys: Any) -> None:
    """Data, card, manifest and report, to a dataset that is made private; and nothing else."""
    folder = run(bench)
    told = pushed(capsys, folder)
    files = there(hub)
    card = (bench.root / "out/README.md").read_bytes()
    assert files == {".gitattributes": files[".gitattributes"], "README.md": card, **local(bench)}
    assert len([name for name in files if name.startswith("data/")]) > 1
    assert of(hub).private
    assert len(of(hub).messages) == 2  # the one that makes it, and this one
    assert f"made hf://datasets/{NAME}, private" in told
    assert of(hub).branches["main"] in told


def test_a_pushed_run_can_be_read_again(hub: HubStandIn, bench: Bench, capsys: Any) -> None:
    """As the input of another run."""
    pushed(capsys, run(bench, 5))
    bench.run("again", input=[{"source": "hub", "paths": [f"hf://datasets/{NAME}/data"], "id_field": "doc_id"}])
    assert [row["text"] for row in bench.rows("again")] == [row["text"] for row in bench.rows()]


def test_what_is_there_is_not_sent_again(hub: HubStandIn, bench: Bench, capsys: Any) -> None:
    """A second push of the same run makes no commit."""
    folder = run(bench)
    pushed(capsys, folder)
    sent, commits = hub.taken_bytes, len(of(hub).commits)
    assert "nothing was pushed" in pushed(capsys, folder)
    assert (hub.taken_bytes, len(of(hub).commits)) == (sent, commits)


def test_an_interrupted_push_goes_on(hub: HubStandIn, bench: Bench, capsys: Any) -> None:
    """Shards that reached the storage are not sent again, and until the commit nothing is seen of them."""
    folder = run(bench)
    shards = {name: content for name, content in local(bench).items() if name.startswith("data/")}
    hub.breaks_after = 1
    hub.breaks["upload"] = 100
    code, _, told = siftlm(capsys, "push", folder, NAME)
    assert code == 2
    assert re.search(
        r"^siftlm: push: .*data/part.* the hub cannot be reached \(.*\); mend the network and run again\n$", told
    )
    assert "data/" not in "".join(there(hub))
    reached = sum(len(content) for content in hub.large.values())
    assert 0 < reached < sum(map(len, shards.values()))
    hub.breaks["upload"] = 0
    before = hub.taken_bytes
    pushed(capsys, folder)
    assert hub.taken_bytes - before == sum(map(len, shards.values())) - reached
    assert local(bench).items() <= there(hub).items()


def test_a_connection_that_breaks_once_is_no_error(hub: HubStandIn, bench: Bench, capsys: Any) -> None:
    """The hub's client sends the file again."""
    hub.breaks["upload"] = 1
    pushed(capsys, run(bench))
    assert local(bench).items() <= there(hub).items()


def test_a_refresh_removes_what_is_gone_and_leaves_what_others_wrote(
    hub: HubStandIn, bench: Bench, capsys: Any
) -> None:
    """In the same commit; and says so."""
    pushed(capsys, run(bench))
    tree = of(hub).head()
    of(hub).commit({**tree, "data/extra.txt": Blob(b"mine", False), "LICENSE": Blob(b"mine", False)})
    commits = len(of(hub).commits)
    told = pushed(capsys, run(bench, 100))
    files = there(hub)
    assert local(bench).items() <= files.items()
    assert sorted(files.keys() - local(bench).keys()) == [".gitattributes", "LICENSE", "README.md", "data/extra.txt"]
    assert len(of(hub).commits) == commits + 1
    assert "removed" in told
    assert "left alone, for siftlm did not write them: LICENSE, data/extra.txt" in told


def test_what_a_user_wrote_on_the_card_stays(hub: HubStandIn, bench: Bench, capsys: Any) -> None:
    """The license, for instance."""
    pushed(capsys, run(bench))
    tree = of(hub).head()
    card = tree["README.md"].content.replace(b"---\n", b"---\nlicense: odc-by\n", 1)
    of(hub).commit({**tree, "README.md": Blob(card, False)})
    pushed(capsys, run(bench, 100))
    front = yaml.safe_load(there(hub)["README.md"].decode().split("---\n")[1])
    assert front["license"] == "odc-by"
    assert front["size_categories"] == ["n<1K"]
    assert front["configs"] == [{"config_name": "default", "data_files": "data/*.parquet"}]


def test_a_dataset_of_others_is_not_overwritten_unasked(hub: HubStandIn, bench: Bench, capsys: Any) -> None:
    """Nothing is sent either."""
    hub.dataset(NAME, {"README.md": b"# Mine\n", "data/x.parquet": b"x"}, private=True)
    folder = run(bench, 5)
    assert "got README.md in hf://datasets/library/books" in mistake(capsys, "push", folder, NAME)
    assert hub.taken_bytes == 0
    assert "data/x.parquet" in pushed(capsys, folder, "--overwrite")
    assert there(hub)["data/x.parquet"] == b"x"


def test_another_run_is_not_replaced_unasked(hub: HubStandIn, bench: Bench, capsys: Any) -> None:
    """A slip in the name of the dataset costs nothing."""
    pushed(capsys, run(bench, 5))
    bench.run("other", name="other")
    assert "got 'bench' in hf://" in mistake(capsys, "push", str(bench.root / "other"), NAME)


def test_nothing_is_published_unasked(hub: HubStandIn, bench: Bench, capsys: Any) -> None:
    """A public dataset takes a run with --public only."""
    hub.dataset(NAME, {".gitattributes": b""})
    folder = run(bench, 5)
    assert "which is public" in mistake(capsys, "push", folder, NAME)
    pushed(capsys, folder, "--public")
    assert local(bench).items() <= there(hub).items()


def test_a_new_dataset_is_public_where_asked(hub: HubStandIn, bench: Bench, capsys: Any) -> None:
    """And the push says so."""
    assert "public" in pushed(capsys, run(bench, 5), "--public")
    assert not of(hub).private


def test_a_branch_is_made_and_main_stays(hub: HubStandIn, bench: Bench, capsys: Any) -> None:
    """Branches with a slash, too."""
    pushed(capsys, run(bench, 5), "--revision", "try/2")
    assert local(bench).items() <= there(hub, "try/2").items()
    assert there(hub).keys() == {".gitattributes"}


def test_a_change_in_between_is_not_overwritten(hub: HubStandIn, bench: Bench, capsys: Any) -> None:
    """The commit names the one that it was made upon."""
    folder = run(bench, 5)
    pushed(capsys, folder)
    folder = run(bench, 6)
    taken = hub.blob

    def raced() -> None:
        of(hub).commit({**of(hub).head(), "x": taken("x", b"x")})
        hub.before_commit = None

    hub.before_commit = raced
    assert "somebody else changed it meanwhile" in mistake(capsys, "push", folder, NAME)
    pushed(capsys, folder)
    assert {"x": b"x", **local(bench)}.items() <= there(hub).items()


@pytest.mark.parametrize(
    ("token", "name", "why"),
    [
        ("", NAME, "you must be logged in to the hub"),
        ("hf_bad", NAME, "the hub does not know the token"),
        ("hf_good", "books", "must name a dataset as OWNER/NAME"),
    ],
)
def test_what_keeps_a_push_from_beginning_is_one_line(
    token: str, name: str, why: str, hub: HubStandIn, bench: Bench, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to do."""
    monkeypatch.setenv("HF_TOKEN", token)
    told = mistake(capsys, "push", run(bench, 5), name)
    assert why in told
    assert "hf_bad" not in told


def test_a_damaged_run_is_not_pushed(hub: HubStandIn, bench: Bench, capsys: Any) -> None:
    """Neither are folders that are no runs."""
    folder = run(bench, 5)
    data = next((bench.root / "out/data").iterdir())
    data.write_bytes(data.read_bytes()[:-1] + b"x")
    assert "gone or changed; run again" in mistake(capsys, "push", folder, NAME)
    assert "must be the folder of a finished run" in mistake(capsys, "push", str(bench.root / "in"), NAME)


def test_published_files_have_an_index_of_pages(bench: Bench) -> None:
    """Readers skip pages by it."""
    run(bench, 50)
    for path in (bench.root / "out/data").iterdir():
        group = pq.ParquetFile(path).metadata.row_group(0)
        assert all(group.column(at).has_offset_index for at in range(group.num_columns))


@pytest.mark.parametrize(
    ("rows", "category"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**9, "1B<n<10B"), (10**12 - 1, "100B<n<1T"), (10**12, "n>1T")],
)
def test_sizes_are_named_as_the_hub_names_them(rows: int, category: str) -> None:
    """From fewer than a thousand to more than 10**12."""
    assert size_category(rows) == category


def test_fields_of_two_cards_are_put_together() -> None:
    """siftlm's own fields are the new ones, all others those on the hub."""
    card = "---\nconfigs:\n- config_name: default\n  data_files: data/*.parquet\ntags:\n- siftlm\n---\n\n# Run\n"
    old = "---\r\nlicense: mit\r\ntags: [mine]\r\nconfigs:\r\n- config_name: eval\r\n  data_files: e\r\n---\r\nold"
    front, _, body = with_fields_of(old, card).removeprefix("---\n").partition("---\n")
    assert body == "\n# Run\n"
    assert yaml.safe_load(front) == {
        "license": "mit",
        "tags": ["mine", "siftlm"],
        "configs": [
            {"config_name": "default", "data_files": "data/*.parquet"},
            {"config_name": "eval", "data_files": "e"},
        ],
    }
    assert with_fields_of("no front matter", card) == with_fields_of(card, card) == card
    for damaged in ("---\n[\n---\n", "---\n- a\n---\n"):
        with pytest.raises(ValueError, match="must have a"):
            with_fields_of(damaged, card)


def test_a_manifest_on_the_hub_has_no_token(hub: HubStandIn, bench: Bench, capsys: Any) -> None:
    """Nor has any other file."""
    pushed(capsys, run(bench, 5))
    assert "hf_good" not in json.dumps({name: content.decode("latin-1") for name, content in there(hub).items()})
