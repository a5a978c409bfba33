"""report.html: escaped, small, self-contained, accessible; its numbers are those of the columns."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr

from siftlm.engine.drive import Context
from siftlm.engine.runner import RunnerSettings
from siftlm.engine.shards import Stopwatch
from siftlm.inspect.report import _Overview, write_report
from siftlm.inspect.run import FinishedRun
from siftlm.report.page import size
from siftlm.report.steps import stage_times
from siftlm.report.tally import WEIGHT_UNIT
from siftlm.report.terminal import print_summary
from siftlm.report.view import Report
from siftlm.seals import Seal
from siftlm.stages.columns import read_columns
from siftlm.stages.summary import summarise
from siftlm.store import Marker

ROWS = "read_parquet(['{0}/data/*.parquet', '{0}/rejects/*.parquet'], union_by_name=true)"


class Elements(HTMLParser):
    """Every element of a page with its attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def page_of(folder: str) -> str:
    return Path(folder, "report.html").read_text(encoding="utf-8")


def report_of(run: FinishedRun) -> Report:
    return _Overview(run, RunnerSettings()).report()


def query(folder: str, text: str) -> list[tuple[Any, ...]]:
    return duckdb.sql(text.replace("ROWS", ROWS.format(folder))).fetchall()


def test_contamination_is_counted_by_benchmark(
    finished_run: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Documents and items touched, before and after the rules; the worst first, escaped, with what became of it."""
    quiz = tmp_path / "quiz.jsonl"
    quiz.write_text('{"text": "never seen"}\n{"text": "<b>one two</b> three four"}\n{"text": "five six seven eight"}\n')
    texts = ["one two three four b", "b one two b", "five six seven eight nine ten", "eight seven", "one two three"]
    rules = [{"kind": "threshold", "column": "quiz_overlap", "max": 0.5, "reason": "contaminated"}]
    folder = finished_run(
        {"few": [{"id": f"d{n}", "text": text} for n, text in enumerate(texts)]},
        annotate={
            "contamination": [{"name": "quiz", "path": str(quiz), "ngram": 3}],
            "language": None,
            "signals": None,
        },
        select={"rules": rules},
        runner={"hour_price": 3600.0, "processes": 1},
    )
    run = FinishedRun.open(folder)
    (found,) = report_of(run).contamination
    assert (found.name, found.ngram) == ("quiz", 3)
    assert (found.documents, found.kept, found.items, found.kept_items) == (2, 1, 2, 1)
    assert [(document.doc_id, document.kept, item) for document, item in found.worst] == [
        ("d1", False, "1"),
        ("d2", True, "2"),
    ]
    counted = "select count(*), count(*) filter (reason is null) from ROWS where quiz_overlap > 0"
    assert query(folder, counted) == [(2, 1)]
    assert [document.value for document, _ in found.worst] == [1.0, 0.5]
    page = page_of(folder)
    lost = "quiz: 1 of 3 items cannot be found in a longer text: 1 of too few words, 0 without a word"
    print_summary(run.manifest, folder, unchanged=False)
    assert lost in capsys.readouterr().out
    assert lost in page
    assert lost in Path(folder, "README.md").read_text(encoding="utf-8")
    assert "Contamination by benchmark" in page
    assert "most with item 1" in page
    assert "Time and cost by stage" in page
    seconds = run.manifest["seconds"]
    assert [time.cost for time in stage_times(run.manifest)] == pytest.approx(list(seconds.values()))
    stored = {
        stage: sum(path.stat().st_size for path in Path(folder, "store", stage).iterdir())
        for stage in ("signals", "selections")
    }
    assert {time.stage: time.stored_bytes for time in stage_times(run.manifest)}["signals"] == stored["signals"]
    assert (
        f'<th scope="row">selections</th><td></td><td></td><td></td><td class="n">{size(stored["selections"])}</td>'
        in page
    )


@pytest.fixture(scope="session")
def scored_run(small_run: str) -> FinishedRun:
    """The small run as if a model had scored it: nats of every token drawn from a fixed sequence."""
    run = FinishedRun.open(small_run)
    rng = np.random.default_rng(7)
    for number, task in enumerate(run.tasks()):
        sizes = read_columns(task, run.store, {"byte_count"})["byte_count"].to_pylist()
        nats = [rng.gamma(2.0, 1.5, max(0, size // 4)).astype(np.float32) for size in sizes]
        table = pa.table(
            {
                "nll_sum": pa.array([float(n.sum()) for n in nats]),
                "token_count": pa.array([len(n) for n in nats], pa.int64()),
                "byte_count": pa.array(sizes, pa.int64()),
                "error": pa.nulls(len(sizes), pa.string()),
                "scored_token_count": pa.array([len(n) for n in nats], pa.int64()),
            }
        )
        Path(run.store.root, "scores/lm").mkdir(parents=True, exist_ok=True)
        path = run.store.path("scores/lm", f"s{number}")
        pq.write_table(table, path)
        rows = len(sizes)
        run.store.commit(Marker("scores/lm", f"s{number}", task.name, rows, rows, files={".parquet": Seal.of(path)}))
        run.manifest["inputs"][number]["keys"]["scores/lm"] = f"s{number}"
    run.manifest["config"]["score"] = [{"name": "lm", "model": "gpt2"}]
    documents = run.manifest["statistics"]["documents"]["documents"]
    run.manifest["statistics"]["columns"] = summarise(run.tasks(), Context(run.store, RunnerSettings(), documents))
    return run


@pytest.mark.parametrize("name", ["hostile_run", "dropped_run", "empty_run"])
def test_a_report_is_one_small_file_without_scripts_or_addresses(name: str, request: pytest.FixtureRequest) -> None:
    """It loads nothing and runs nothing, whatever the documents hold, and stays below 3 MB."""
    page = page_of(request.getfixturevalue(name))
    found = Elements(page).elements
    assert len(page.encode()) < 3_000_000
    assert not {"script", "img", "iframe", "object", "embed", "base"} & {tag for tag, _ in found}
    addresses = [a[n] for _, a in found for n in ("href", "src", "action", "xlink:href") if a.get(n)]
    assert all(str(address).startswith(("#", "data:,")) for address in addresses)
    assert not [name for _, attributes in found for name in attributes if name.startswith("on")]
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


def test_hostile_texts_are_shown_as_they_are(dropped_run: str) -> None:
    """Tags, templates, right-to-left text and emoji come out as text, each paragraph with its own direction."""
    page = page_of(dropped_run)
    text = "".join(Elements(page).text)
    for piece in ("<script>alert(1)</script>", "{{ 7 * 7 }} {% raw %}", "بالعربية", "\U0001f469\u200d\U0001f469"):
        assert piece in text
    assert len(re.findall(r"<p[^>]*>[^<]*بالعربية", page)) == len(re.findall(r'<p dir="auto">[^<]*بالعربية', page)) > 0


def test_the_funnel_is_what_the_output_adds_up_to(hostile_run: str) -> None:
    """Documents and bytes of every reason, counted again by duckdb over data/ and rejects/."""
    found = report_of(FinishedRun.open(hostile_run)).funnel
    once = "(SELECT DISTINCT ON (doc_id) * FROM ROWS)"
    counted = query(hostile_run, f"SELECT reason, count(*), sum(byte_count) FROM {once} GROUP BY 1")
    truth = {reason: (documents, size) for reason, documents, size in counted}
    assert {loss.reason: (loss.documents, loss.bytes) for loss in found.losses} == {k: v for k, v in truth.items() if k}
    assert (found.kept[0], found.kept[1]) == truth[None]
    assert found.written == query(hostile_run, "SELECT count(*) FROM ROWS WHERE reason IS NULL")[0][0]
    assert found.losses[-1].left == found.kept[0]


def test_the_funnel_has_the_steps_in_the_order_of_the_run(hostile_run: str) -> None:
    """Duplicates go first, then each rule in turn."""
    found = report_of(FinishedRun.open(hostile_run)).funnel
    reasons = ["exact_duplicate", "too_small", "not_sampled", "byte_count_outside_medium_band"]
    assert [loss.reason for loss in found.losses] == reasons


def test_the_largest_domains_are_named_and_the_others_are_one_bar(hostile_run: str) -> None:
    """Thirty by name as duckdb ranks them; 49,977 more in one row, and nothing is lost."""
    made = {c.column: c for c in report_of(FinishedRun.open(hostile_run)).compositions}["domain"]
    ranked = "GROUP BY 1 ORDER BY n DESC, coalesce(domain, '') LIMIT 30"
    truth = query(hostile_run, f"SELECT domain, count(DISTINCT doc_id) n FROM ROWS {ranked}")
    assert [(part.name, part.documents) for part in made.groups[:-1]] == [(d or "(none)", n) for d, n in truth]
    tail = made.groups[-1]
    assert tail.members == made.distinct - 30
    assert sum(part.documents for part in made.groups) == made.total.documents == 50_210
    page = page_of(hostile_run)
    assert f"{tail.members:,} others" in page
    assert len(re.findall(r"\bd\d+\.com", page)) < 400


def test_copies_by_source_are_the_rows_written(small_run: str) -> None:
    """What the weights came to, counted again in data/."""
    made = {c.column: c for c in report_of(FinishedRun.open(small_run)).compositions}["source"]
    truth = dict(query(small_run, "SELECT source, count(*) FROM ROWS WHERE reason IS NULL GROUP BY 1"))
    assert {part.name: part.copies for part in made.groups if part.copies} == truth
    assert {part.name: part.weight / WEIGHT_UNIT / part.kept for part in made.groups if part.kept}["few"] == 2.5


def test_a_score_that_follows_length_is_told_where_it_decides(finished_run: Callable[..., str]) -> None:
    """The correlation is scipy's; the score that no rule looks at, and one of a document's own, are not warned of."""
    columns = [
        {"name": "longish", "expr": "0 - log(byte_count)"},
        {"name": "unread", "expr": "byte_count * 2"},
        {"name": "size_class", "expr": "quantile(byte_count, 4)"},
    ]
    rules = [
        {"kind": "top", "column": "longish", "rate": 0.9},
        {"kind": "band", "column": "byte_count", "criterion": "low", "rate": 0.5, "within": "size_class"},
    ]
    texts = [{"id": f"t{n}", "text": "word " * (1 + 7 * n % 100)} for n in range(200)]
    run = FinishedRun.open(finished_run({"few": texts}, columns=columns, select={"rules": rules}))
    report = report_of(run)
    by_name = {score.column: score for score in report.scores}
    rows = query(run.folder, "SELECT byte_count, longish FROM ROWS")
    expected = spearmanr([size for size, _ in rows], [value for _, value in rows]).statistic
    assert by_name["longish"].with_length == pytest.approx(expected) == pytest.approx(-1.0)
    assert by_name["byte_count"].with_length is None
    (warning,) = [warning for warning in report.to_look_at if "follows length" in warning]
    assert warning.startswith("longish decides what is kept, and it follows length: shorter documents")
    assert warning in unescape(page_of(run.folder))


def test_a_histogram_counts_every_document_once(hostile_run: str) -> None:
    """Its bins and what lies outside are all documents and all kept ones; numpy counts the same bins."""
    overview = _Overview(FinishedRun.open(hostile_run), RunnerSettings())
    counts, edges = overview.tally["histograms"]["byte_count"], overview.edges["byte_count"]
    values = np.array([v for (v,) in query(hostile_run, "SELECT any_value(byte_count) FROM ROWS GROUP BY doc_id")])
    assert counts[0].sum() == len(values)
    assert counts[0][1:-1].tolist() == np.histogram(values, edges)[0].tolist()
    assert counts[1].sum() == overview.tally["reasons"][""][0]


def test_cuts_are_those_between_the_kept_and_the_dropped(small_run: str) -> None:
    """In every source the least and the greatest kept value lie within the cuts that are told."""
    report = report_of(FinishedRun.open(small_run))
    lines = [line for score in report.scores for cut in score.cuts for line in cut.cuts]
    ends = "SELECT source, min(byte_count), max(byte_count) FROM ROWS WHERE reason IS NULL GROUP BY 1"
    for source, low, high in query(small_run, ends):
        (line,) = [line for line in lines if line.startswith(f"{source}: ")]
        first, last = (float(n) for n in re.findall(r"[\d.]+(?= to)|(?<=to )[\d.]+", line))
        assert first <= low
        assert high <= last


def test_documents_are_shown_at_the_percentiles_of_kept_and_dropped(small_run: str) -> None:
    """Twenty documents: ten of each, at the value that numpy gives for their percentile, dropped ones with a reason."""
    (score,) = report_of(FinishedRun.open(small_run)).scores
    assert len(score.kept_documents) == len(score.dropped_documents) == 10
    values = query(small_run, "SELECT any_value(byte_count) FROM ROWS WHERE reason IS NULL GROUP BY doc_id")
    kept = np.sort([value for (value,) in values])
    for document in score.kept_documents:
        assert document.value == kept[round(document.percentile / 100 * (len(kept) - 1))]
    assert all(document.reason for document in score.dropped_documents)


def test_a_cluster_shows_its_representative_first(small_run: str) -> None:
    """Two texts that are the same: one kept, the other marked as its duplicate."""
    ((size, name, members),) = report_of(FinishedRun.open(small_run)).clusters
    assert size == 2
    assert [member.duplicate for member in members] == [None, "exact"]
    assert members[0].doc_id == name


def test_pictures_have_names_and_the_colours_of_the_page(scored_run: FinishedRun, tmp_path: Path) -> None:
    """Every picture is one image with a title and a description; no two elements share an id; no fixed colours."""
    page = Path(write_report(FinishedRun(scored_run.manifest, scored_run.store, str(tmp_path)))).read_text("utf-8")
    found = Elements(page).elements
    pictures = [attributes for tag, attributes in found if tag == "svg"]
    ids = Counter(attributes["id"] for _, attributes in found if "id" in attributes)
    assert len(pictures) >= 5
    for picture in pictures:
        assert picture["role"] == "img"
        assert all(ids[name] == 1 for name in str(picture["aria-labelledby"]).split())
    assert max(ids.values()) == 1
    bodies = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert not [colour for body in bodies for colour in re.findall(r"(?:fill|stroke): ?(#\w+)", body)]


def test_perplexity_is_drawn_against_length_and_groups(scored_run: FinishedRun) -> None:
    """A picture against length, by source and by domain; the medians told are numpy's."""
    report = report_of(scored_run)
    titles = [chart.title for chart in report.against]
    assert titles == ["lm_perplexity against length", "lm_perplexity by source", "lm_perplexity by domain"]
    rows = scored_run.read({"lm_perplexity", "source"}).to_pylist()
    few = [row["lm_perplexity"] for row in rows if row["source"] == "few" and row["lm_perplexity"] is not None]
    assert f"few {np.median(few):.3g}" in report.against[1].description


def test_a_report_is_the_same_every_time(small_run: str) -> None:
    """Two reports of one run have the same bytes."""
    first = page_of(small_run)
    write_report(FinishedRun.open(small_run))
    assert page_of(small_run) == first


def test_an_empty_run_and_one_that_drops_all_have_reports_that_say_so(empty_run: str, dropped_run: str) -> None:
    """No document and no kept document are no mistake."""
    assert "No documents were read" in page_of(empty_run)
    assert "0 of 10 documents kept" in page_of(dropped_run)


def test_a_browser_lays_the_report_out_within_a_phone(chromium: str, hostile_run: str, tmp_path: Path) -> None:
    """Chromium runs no script of a document and draws the page."""
    picture = tmp_path / "page.png"
    command = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=390,800"]
    url = Path(hostile_run, "report.html").as_uri()
    subprocess.run([*command, f"--screenshot={picture}", url], check=True, capture_output=True, timeout=120)
    assert picture.stat().st_size > 10_000


def test_a_large_run_is_counted_by_its_runner_with_the_same_answer(
    small_run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts that come back through Beam and a file give the bytes that counting in this process gives."""
    run = FinishedRun.open(small_run)
    monkeypatch.setattr("siftlm.engine.gather.IN_DRIVER_DOCUMENTS", 0)
    path = write_report(FinishedRun(run.manifest, run.store, str(tmp_path)))
    assert Path(path).read_text("utf-8") == page_of(small_run)


def test_tokens_are_those_of_the_first_model_where_the_selection_names_none(scored_run: FinishedRun) -> None:
    """As in the report."""
    assert scored_run.manifest["config"]["select"]["tokens"] is None
    assert scored_run.tokens_column() == "lm_token_count"


def test_stages_over_all_shards_have_a_time_by_the_clock(small_run: str) -> None:
    """Told by their markers in equal parts, whose sum is at most what the pipeline took."""
    (time,) = (time for time in stage_times(FinishedRun.open(small_run).manifest) if time.stage == "clusters")
    assert 0 < time.seconds < 600
    assert time.rate is not None


def test_a_clock_that_is_set_back_gives_no_negative_time() -> None:
    """Nothing is known then."""
    assert Stopwatch(4, started=1e12).part() == 0
    assert Stopwatch(2, started=Stopwatch().started - 10).part() == pytest.approx(5, abs=1)
