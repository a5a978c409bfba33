"""Gradient scores beside the loops that they equal: documents a second in one run, and how far the numbers are apart.

    python tests/bench/gradients.py [--documents 512] [--looped 16] [--tokens 60] [--rounds 5] [--models 0 1 2 3]

Models have random weights, and nothing is tied, so that `.grad` of the head is that of the output matrix alone.
Documents have log-normal lengths with the median `--tokens`. Peers: a Python loop with `loss.backward()` for every
document, all parameters having gradients; the same loop with gradients for the measured layers alone; and torch.func's
`vmap(grad(...))` for the measured layers alone, over documents of one padded length at a time. The peers see the first
`--looped` documents of a seeded order, for a loop over all of them takes long. siftlm uses every core, the peers
`--threads`, every core too where unset. A ratio is of seconds of the clock, then of CPU seconds of all threads, the
median over `--rounds` rounds in which all take turns. `apart` is the largest difference from the loop beside the loop's
value, which for products may be near 0.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.models import save_model

from siftlm.scorers.gradients.grand import GrandSettings
from siftlm.scorers.gradients.mimic import MimicSettings
from siftlm.scorers.gradients.self_influence import SelfInfluenceSettings
from siftlm.scorers.gradients.weight_alignment import WeightAlignmentSettings
from siftlm.scorers.gradients.windows import Tokens
from siftlm.scorers.lm_forward import padded_length
from siftlm.scorers.lm_tokens import TokenIds

MODELS: list[dict[str, int]] = [
    {"n_embd": 64, "n_layer": 2, "n_head": 2, "vocab_size": 257},
    {"n_embd": 128, "n_layer": 4, "n_head": 4, "vocab_size": 8_000},
    {"n_embd": 256, "n_layer": 6, "n_head": 4, "vocab_size": 16_000},
    {"n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50_257},
]
METHODS = {
    "self-influence": SelfInfluenceSettings, "GraNd": GrandSettings,
    "Mimic score": MimicSettings, "weight alignment": WeightAlignmentSettings,
}  # fmt: skip
Gradient = dict[str, torch.Tensor]
Number = Callable[[Gradient], float]


def documents(number: int, tokens: int, vocabulary: int) -> list[np.ndarray]:
    drawn = np.random.default_rng(0)
    lengths = np.clip(drawn.lognormal(np.log(tokens), 0.7, number).astype(int), 8, 511)
    return [drawn.integers(0, vocabulary, length) for length in lengths]


def number_of(name: str, scorer: Any) -> Number:
    """What a method takes of a gradient, as its formula has it."""
    model = scorer.loaded()

    def total(gradient: Gradient) -> float:
        return float(sum(of.double().square().sum() for of in gradient.values()))

    def along(gradient: Gradient, directions: Gradient) -> float:
        (one,) = gradient.values()
        return float(-(one * directions["output"]).double().sum())

    if name == "self-influence":
        return total
    if name == "GraNd":
        return lambda gradient: total(gradient) ** 0.5
    if name == "Mimic score":
        return lambda gradient: along(gradient, model.directions) / model.distance
    weights = {"output": model.model.get_output_embeddings().weight.detach()}
    length = total(weights) ** 0.5
    return lambda gradient: along(gradient, weights) / (total(gradient) ** 0.5 * length)


def by_loop(model: Any, names: Sequence[str], number: Number, ids: Sequence[np.ndarray]) -> list[float]:
    """`loss.backward()`, and `.grad` of the measured layers."""
    values, parameters = [], dict(model.named_parameters())
    for each in ids:
        model.zero_grad()
        tokens = torch.from_numpy(each)
        cross_entropy(model(tokens[None, :-1]).logits[0], tokens[1:]).backward()
        values.append(number({name: parameters[name].grad for name in names}))
    return values


def by_vmap(model: Any, names: Sequence[str], number: Number, ids: Sequence[np.ndarray]) -> list[float]:
    """`vmap(grad(...))` over documents of one padded length, at most 32 at a time."""
    parameters = dict(model.named_parameters())
    chosen = {name: parameters[name].detach() for name in names}

    def loss(weights: Gradient, read_L: torch.Tensor, target_L: torch.Tensor, weight_L: torch.Tensor) -> torch.Tensor:
        logits_LV = functional_call(model, weights, (read_L[None],), {"use_cache": False}).logits[0]
        return (cross_entropy(logits_LV, target_L, reduction="none") * weight_L).sum()

    each = vmap(grad(loss), in_dims=(None, 0, 0, 0))
    order = sorted(range(len(ids)), key=lambda index: padded_length(len(ids[index]) - 1))
    values = np.zeros(len(ids))
    for length, same in groupby(order, key=lambda index: padded_length(len(ids[index]) - 1)):
        alike = list(same)
        for start in range(0, len(alike), 32):
            group = alike[start : start + 32]
            read, target = (torch.zeros(len(group), length, dtype=torch.int64) for _ in range(2))
            weight = torch.zeros(len(group), length)
            for row, index in enumerate(group):
                tokens, size = torch.from_numpy(ids[index]), len(ids[index]) - 1
                read[row, :size], target[row, :size], weight[row, :size] = tokens[:-1], tokens[1:], 1 / size
            found = each(chosen, read, target, weight)
            for row, index in enumerate(group):
                values[index] = number({name: of[row] for name, of in found.items()})
    return values.tolist()


def by_siftlm(scorer: Any, ids: Sequence[np.ndarray]) -> list[float]:
    tokens = Tokens.of(TokenIds.of(np.concatenate(ids), [len(each) for each in ids]), None)
    return list(scorer.begin(tokens).finish()[scorer.settings.name].to_pylist())


def compare(name: str, shape: dict[str, int], folders: tuple[str, str], chosen: argparse.Namespace) -> str:
    settings = {"name": "x", "model": folders[0], "device": "cpu"}
    settings |= {"reference": folders[1]} if name == "Mimic score" else {}
    scorer = METHODS[name].model_validate(settings).scorer()
    scorer.load(scorer.digest())
    engine = scorer.loaded()
    model = engine.read()
    number, ids = number_of(name, scorer), documents(chosen.documents, chosen.tokens, shape["vocab_size"])
    few = ids[: chosen.looped]
    wanted = [key for key in engine.layers.parameters if key != "output"] or ["lm_head.weight"]
    torch.set_num_threads(chosen.threads)

    def loop(every: bool) -> list[float]:
        for key, parameter in model.named_parameters():
            parameter.requires_grad_(every or key in wanted)
        return by_loop(model, wanted, number, few)

    def mapped() -> list[float]:
        model.requires_grad_(False)
        return by_vmap(model, wanted, number, few)

    ways = {"siftlm": lambda: by_siftlm(scorer, ids), "all": lambda: loop(True), "layers": lambda: loop(False)}
    if chosen.vmap:
        ways["vmap"] = mapped
    spent: dict[str, list[np.ndarray]] = {way: [] for way in ways}
    values = {}
    for _ in range(chosen.rounds):
        for way, work in ways.items():
            clock, processor = time.perf_counter(), time.process_time()
            values[way] = work()
            each = np.array([time.perf_counter() - clock, time.process_time() - processor])
            spent[way].append(each / len(values[way]))
    seconds = {way: np.array(each) for way, each in spent.items()}  # [rounds, clock and CPU]
    truth = np.array(values["all"])
    apart = float(np.abs(np.array(values["siftlm"][: len(few)]) / truth - 1).max())
    per_second = " | ".join(f"{1 / np.median(seconds[way][:, 0]):,.0f}" for way in ("siftlm", "all"))
    others = [way for way in ("all", "layers", "vmap") if way in ways]
    times = [np.median(seconds[way] / seconds["siftlm"], axis=0) for way in others]
    ratios = " | ".join(f"{clock:.1f}, {processor:.1f}" for clock, processor in times)
    return f"| {name} | {per_second} | {ratios} | {apart:.1e} |"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {"documents": 512, "looped": 16, "tokens": 60, "rounds": 5}.items():
        arguments.add_argument(f"--{name}", type=int, default=default)
    arguments.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of the peers")
    arguments.add_argument("--models", type=int, nargs="*", default=[0, 1, 2])
    arguments.add_argument("--methods", nargs="*", default=list(METHODS))
    arguments.add_argument("--no-vmap", dest="vmap", action="store_false")
    chosen = arguments.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores, torch {torch.__version__}")
    for shape in (MODELS[index] for index in chosen.models):
        with tempfile.TemporaryDirectory() as folder:
            folders = (f"{folder}/model", f"{folder}/reference")
            for seed, each in enumerate(folders):
                save_model(Path(each), **shape, n_positions=512, seed=seed, tie_word_embeddings=False)
            peers = " | ".join(["loop, times", "layers, times", *(["vmap, times"] if chosen.vmap else [])])
            print(f"\n{shape}\n\n| method | documents a second | loop | {peers} | apart |", flush=True)
            for name in chosen.methods:
                print(compare(name, shape, folders, chosen), flush=True)


if __name__ == "__main__":
    main()
