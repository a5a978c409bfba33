"""A folder of a store has one process at a time that works in it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.proxies.training.toys import job, mixed, tokenizer

from siftlm.proxies.training import TokenFile, train, write_tokens
from siftlm.proxies.training.alone import alone_in
from siftlm.store import Store


def test_whoever_comes_second_waits(tmp_path: Path) -> None:
    """Until the first has left; another folder is free meanwhile."""
    order: list[str] = []
    entered, leave = threading.Event(), threading.Event()

    def first() -> None:
        with alone_in(tmp_path / "one"):
            entered.set()
            leave.wait(10)
            order.append("first")

    def second() -> None:
        with alone_in(tmp_path / "one"):
            order.append("second")

    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(first)]
        assert entered.wait(10)
        waiting.append(pool.submit(second))
        with alone_in(tmp_path / "two"):
            order.append("other")
        leave.set()
        assert [of.result(timeout=10) for of in waiting] == [None, None]
    assert order == ["other", "first", "second"]


def test_a_model_and_a_token_file_that_two_ask_for_are_made_once(tmp_path: Path) -> None:
    store, made, key = Store(str(tmp_path / "store")), job(tmp_path, 8), "1" * 32
    steps: list[int] = []
    read: list[int] = []

    def trained() -> str:
        return train(made, store, "model", key, progress=lambda step, _: steps.append(step)).folder

    def written() -> TokenFile:
        texts = (text for text in mixed(40) if read.append(1) is None)
        return write_tokens(store, key, texts, tokenizer())

    with ThreadPoolExecutor(2) as pool:
        folders = [of.result() for of in [pool.submit(trained), pool.submit(trained)]]
        files = [of.result() for of in [pool.submit(written), pool.submit(written)]]
    assert folders[0] == folders[1]
    assert steps == list(range(1, 9))
    assert files[0].digest == files[1].digest
    assert len(read) == 80
