"""Records the losses of a proof whose arms are all random in disguise, for tests/proving/test_recorded.py.

    python tests/build_recorded_losses.py [--arms 8] [--replicates 3]

The proof is that of the quickstart (`conf/prove_quickstart.toml`), its arms replaced by halves of the documents, drawn
with other seeds, so that every model of it is trained on a random draw. The file has the bits of every held-out
document under every model.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from siftlm.config import read_toml
from siftlm.engine.progress import Progress
from siftlm.proving.outcome import Outcome
from siftlm.proving.power import Power
from siftlm.proving.prove import prove
from siftlm.proving.settings import proof_plan
from siftlm.report.proof import ProofReport

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf" / "prove_quickstart.toml"
FILE = ROOT / "tests" / "proving" / "random_draws.npz"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--arms", type=int, default=8)
    arguments.add_argument("--replicates", type=int, default=3)
    arguments.add_argument("--folder", help="where the models go, to go on with them after an interruption")
    asked = arguments.parse_args()
    tree = read_toml(str(CONF))
    tree["prove"]["replicates"] = asked.replicates
    tree["prove"]["arms"] = [
        {"name": f"disguise{n}", "set": ["select.rules=[{kind='sample', rate=0.5}]", f"select.seed={100 + n}"]}
        for n in range(asked.arms)
    ]
    with tempfile.TemporaryDirectory() as folder:
        tree["output"]["folder"] = asked.folder or folder
        Outcome.report = recorded  # type: ignore[method-assign]
        made = prove(proof_plan(tree, [], str(CONF)), Progress())
    assert made is not None
    for comparison in made.against_matched():
        print(comparison.arm, comparison.overall.verdict, f"{comparison.overall.effect:+.4f}")


_report = Outcome.report


def recorded(outcome: Outcome, power: Power) -> ProofReport:
    """The report of a proof, from whose losses the file is written first."""
    held_out = outcome.measured.held_out
    rows = [(bits, of.drawn_share) for of in outcome.losses.values() for bits in of.bits]
    np.savez_compressed(
        FILE,
        bits=np.array([bits for bits, _ in rows], np.float32),
        shares=np.array([share for _, share in rows], np.float32),
        domain=held_out.domain.astype(np.int8),
        domains=np.array(held_out.domains),
        sizes=held_out.sizes.astype(np.int32),
    )
    return _report(outcome, power)


if __name__ == "__main__":
    main()
