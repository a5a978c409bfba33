"""An installation that cannot be written: kernels are kept in a folder of the user's or nowhere, which is said once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import siftlm_kernels
from siftlm_kernels import minhash_reference as reference

PACKAGE = Path(siftlm_kernels.__file__).parent
EAGER = "import siftlm_kernels.fasttext_linear_kernel"  # has signatures: compiled while it is imported
ONE_KERNEL = "import numpy as np; from siftlm_kernels.minhash import band_hashes;" \
    "print(int(band_hashes(np.full((1, 1), 7, np.uint32), 1, 1)[0, 0]))"  # fmt: skip
ITS_HASH = f"{reference.mix(reference.step(reference.step(reference.GOLDEN, 0), 7))}\n"
NOBODY = 65534
INTERPRETER = Path(sys.executable).resolve()


@pytest.fixture
def installation(tmp_path: Path) -> Path:
    """A copy of the package that not even root can keep compiled code in: a file is where the cache would be."""
    copy = tmp_path / "site" / "siftlm_kernels"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "__pycache__").touch()
    return copy


def started(package: Path, code: str, user: int | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that imports the copy and nothing else of this checkout."""
    known = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "LD_LIBRARY_PATH")}
    place = {"PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    here = f"import siftlm_kernels; assert siftlm_kernels.__file__.startswith({str(package)!r});"
    return subprocess.run(
        [sys.executable, "-c", here + code],
        env={**known, **place, **environment},
        cwd=package.parent,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        capture_output=True,
        text=True,
        timeout=300,
    )


def kept_in(folder: Path) -> list[Path]:
    """Files of machine code."""
    return sorted(folder.rglob("*.nbc"))


def test_without_any_folder_kernels_are_compiled_anew_which_is_said_once(installation: Path, tmp_path: Path) -> None:
    """Those with a signature too, which are compiled while they are imported."""
    home = tmp_path / "home"
    home.write_text("no directory")
    done = started(installation, f"{EAGER};{ONE_KERNEL}", HOME=str(home))
    assert done.stdout == ITS_HASH, done.stderr
    assert re.fullmatch(r"\S+__pycache__: cannot be written, every process .* NUMBA_CACHE_DIR .*\n", done.stderr)
    assert not kept_in(tmp_path)


@pytest.mark.parametrize("variable", ["HOME", "XDG_CACHE_HOME"])
def test_the_users_folder_serves_the_next_process(installation: Path, tmp_path: Path, variable: str) -> None:
    """It is the user's alone, whatever the umask."""
    (tmp_path / "user").mkdir()
    first = started(installation, "import os; os.umask(0);" + ONE_KERNEL, **{variable: str(tmp_path / "user")})
    kept = kept_in(tmp_path / "user")
    times = [path.stat().st_mtime_ns for path in kept]
    again = started(installation, ONE_KERNEL, **{variable: str(tmp_path / "user")})
    assert first.stdout == again.stdout == ITS_HASH, first.stderr + again.stderr
    assert kept
    assert [path.stat().st_mtime_ns for path in kept_in(tmp_path / "user")] == times
    (folder,) = (tmp_path / "user").rglob("siftlm/kernels")
    assert folder.stat().st_mode & 0o077 == 0
    assert first.stderr.splitlines() == [
        f"{installation}/__pycache__: cannot be written, compiled kernels are kept in {folder}"
    ]


@pytest.mark.parametrize("trap", ["writable by all", "a link", "somebody else's"])
def test_code_is_not_read_from_a_folder_that_others_can_write(installation: Path, tmp_path: Path, trap: str) -> None:
    """What is kept there is run."""
    folder = tmp_path / "siftlm" / "kernels"
    folder.parent.mkdir()
    if trap == "a link":
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.mkdir()
    if trap == "writable by all":
        folder.chmod(0o777)
    if trap == "somebody else's":
        if os.geteuid() != 0:
            pytest.skip("only root can give a folder away")
        os.chown(folder, NOBODY, NOBODY)
    done = started(installation, ONE_KERNEL, XDG_CACHE_HOME=str(tmp_path))
    assert done.stdout == ITS_HASH, done.stderr
    assert "every process compiles" in done.stderr
    assert not kept_in(tmp_path)


def test_a_named_folder_that_cannot_be_written_is_passed_over(installation: Path, tmp_path: Path) -> None:
    """NUMBA_CACHE_DIR of an image, for a user that is not the image's."""
    (tmp_path / "named").touch()
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "named"), "XDG_CACHE_HOME": str(tmp_path / "user")}
    done = started(installation, ONE_KERNEL, **environment)
    assert done.stdout == ITS_HASH, done.stderr
    assert done.stderr.startswith(f"{tmp_path}/named: cannot be written, compiled kernels are kept in {tmp_path}/user")
    assert kept_in(tmp_path / "user")


def test_a_named_folder_is_used_without_a_word(installation: Path, tmp_path: Path) -> None:
    """As the images do, and tests that want a cold cache."""
    done = started(installation, ONE_KERNEL, NUMBA_CACHE_DIR=str(tmp_path / "named"))
    assert (done.stdout, done.stderr) == (ITS_HASH, "")
    assert kept_in(tmp_path / "named")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_than_the_installations_runs_kernels() -> None:
    """A container with --user: no home, no entry in the password file, nothing that can be written."""
    with TemporaryDirectory() as site:
        copy = Path(shutil.copytree(PACKAGE, f"{site}/siftlm_kernels", ignore=shutil.ignore_patterns("__pycache__")))
        copy.parent.chmod(0o755)
        if not all(parent.stat().st_mode & 0o001 for parent in [*copy.parents, *INTERPRETER.parents]):
            pytest.skip("another user cannot even read the package or the interpreter here")
        done = started(copy, ONE_KERNEL, user=54321)
        assert done.stdout == ITS_HASH, done.stderr
        assert "every process compiles" in done.stderr
        assert not kept_in(copy)
