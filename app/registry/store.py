"""Model versions on disk: ``<folder>/<n>/`` and ``<folder>/CURRENT``, always whole.

A version is written beside its place, synced, then renamed; CURRENT is replaced the same way. So nobody
ever sees half of one. Who writes holds the folder meanwhile, so there is one writer at a time.
"""

import contextlib
import dataclasses
import errno
import hashlib
import os
import shutil
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.registry import format1
from app.registry.manifest import Manifest, ManifestError

KERAS, GRAPH, WEIGHTS, MANIFEST = "model.keras", "model.xml", "model.bin", "card.json"
ARTIFACTS = (KERAS, GRAPH, WEIGHTS)
FIRST_STAGE = "first_stage.keras"  # of a version with a cascade; the graph has it too

# Outputs of the graph beside the answer of the ensemble: of the ensemble's first network alone, and of the cascade's
# first stage. Only where the version has them.
FIRST_NETWORK_OUTPUT, FIRST_STAGE_OUTPUT = "first", "first_stage"
CURRENT = "CURRENT"
INCOMING, NEXT = ".incoming-", ".current-"  # what is not in its place yet
MAX_NUMBER_LENGTH = 9  # digits


class VersionError(Exception):
    """A version that cannot be used; the text names the file and the reason."""


@dataclass(frozen=True)
class Version:
    """A version whose files were compared with the digests in its manifest."""

    path: Path
    manifest: Manifest

    @property
    def first_stage(self) -> Path:
        """The Keras file of the cascade's first stage, where it has one."""
        return self.path / next((name for name in self.manifest.files if name == format1.FIRST_STAGE), FIRST_STAGE)


def numbers(folder: Path) -> list[int]:
    """All versions in the folder, lowest first."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if _is_number(path.name) and path.is_dir())


def current(folder: Path) -> int:
    """The number of the version that serves. Raises VersionError when CURRENT is missing or says nonsense."""
    path = folder / CURRENT
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise VersionError(f"{path}: {_why(error)}; it must hold the number of the version to serve") from None
    if not _is_number(text):
        raise VersionError(f"{path} holds {text[:40]!r}; it must hold the number of the version to serve")
    return int(text)


def read_manifest(path: Path) -> Manifest:
    """The manifest in a version's folder. Raises VersionError when it is missing or damaged."""
    try:
        manifest = Manifest.from_json((path / MANIFEST).read_bytes())
    except (OSError, ManifestError) as error:
        raise VersionError(f"{path / MANIFEST}: {_why(error)}") from None
    if _is_number(path.name) and manifest.version != int(path.name):
        raise VersionError(f"{path / MANIFEST}: it is the manifest of version {manifest.version}")
    return manifest


def verify(path: Path) -> Version:
    """Read a version's manifest and compare every artifact with its digest.

    Raises VersionError that names the first file that is missing or differs.
    """
    manifest = read_manifest(path)
    for name in dict.fromkeys((*ARTIFACTS, *manifest.files)):
        if name not in manifest.files:
            raise VersionError(f"{path / MANIFEST}: it has no digest of {name}")
        try:
            found = digest(path / name)
        except OSError as error:
            raise VersionError(f"{path / name}: {_why(error)}") from None
        if found != manifest.files[name]:
            raise VersionError(
                f"{path / name}: its SHA-256 is {found[:12]}…, the manifest says {manifest.files[name][:12]}…"
            )
    return Version(path, manifest)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def publish(staged: Path, folder: Path) -> int:
    """Make the version staged in one folder the next number in another, and return that number.

    ``staged`` stays as it is. Where nothing serves yet, the new version becomes CURRENT. What a job made is
    published once: when a version of the same job and weights is there, its number is returned.
    Raises VersionError when the staged files do not match their manifest.
    """
    manifest = verify(staged).manifest
    folder.mkdir(parents=True, exist_ok=True)
    with _held(folder):
        number = _published(manifest, folder)
        if number is None:
            number = _move_in(staged, manifest, folder, (numbers(folder) or [0])[-1] + 1)
        if not (folder / CURRENT).exists():
            _activate(folder, number)
    return number


def _published(manifest: Manifest, folder: Path) -> int | None:
    """The version that this job has become. Numbers of jobs begin anew with a new database, so weights count too."""
    if manifest.job is None:
        return None
    for number in numbers(folder):
        with contextlib.suppress(VersionError):
            found = read_manifest(folder / str(number))
            if found.job == manifest.job and found.files.get(WEIGHTS) == manifest.files[WEIGHTS]:
                return number
    return None


def _move_in(staged: Path, manifest: Manifest, folder: Path, number: int) -> int:
    """Copy the staged version to the first free place from ``number`` on."""
    incoming = Path(tempfile.mkdtemp(prefix=INCOMING, dir=folder))
    try:
        shutil.copytree(staged, incoming, dirs_exist_ok=True)
        incoming.chmod(0o755)  # mkdtemp's folders are for one user alone
        while True:
            (incoming / MANIFEST).write_text(dataclasses.replace(manifest, version=number).to_json())
            for path in [*incoming.rglob("*"), incoming]:
                _sync(path)
            try:
                incoming.rename(folder / str(number))
                break
            except OSError as error:  # something else has this name
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                    raise
            number += 1
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    _sync(folder)
    return number


def shipped_folder() -> Path | None:
    """The folder of the version that comes with Digits: of the installed package, or of the checkout."""
    code = Path(__file__).parents[2]
    installed = "share/digits/models"
    for folder in (Path(sysconfig.get_path("data"), installed), code / installed, code / "models" / "digits"):
        if (folder / CURRENT).is_file():
            return folder
    return None


def seed(shipped: Path, folder: Path) -> bool:
    """Where a folder holds no version yet, let it begin with the one that serves in another; whether it did.

    For several processes that may start at once. One that is killed midway leaves what serves nowhere, and the next
    goes on. A folder with versions of its own is left as it is, also without CURRENT: that is its owner's to mend.
    Raises VersionError when what ships is not sound.
    """
    if (folder / CURRENT).exists():
        return False
    number = current(shipped)
    manifest = verify(shipped / str(number)).manifest
    folder.mkdir(parents=True, exist_ok=True)
    with _held(folder):
        if (folder / CURRENT).exists():
            return False
        if not numbers(folder):
            _move_in(shipped / str(number), manifest, folder, number)
        if numbers(folder) != [number] or verify(folder / str(number)).manifest.files != manifest.files:
            return False
        _activate(folder, number)
    return True


def activate(folder: Path, number: int) -> None:
    """Let CURRENT name another version. Raises VersionError, changing nothing, when that one is not sound."""
    verify(folder / str(number))
    with _held(folder):
        _activate(folder, number)


def _activate(folder: Path, number: int) -> None:
    descriptor, name = tempfile.mkstemp(prefix=NEXT, dir=folder)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{number}\n")
            os.fchmod(descriptor, 0o644)
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(folder / CURRENT)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync(folder)


def tidy(folder: Path) -> None:
    """Remove what publishers left that were killed, if there is such a folder."""
    if folder.is_dir():
        with _held(folder):
            pass


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold the folder against every other writer, waiting for one that has it; the kernel lets go for the dead."""
    import fcntl  # not on Windows, where versions can still be read

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Nobody else is writing now, so these are of processes that were killed.
        for path in folder.glob(f"{INCOMING}*"):
            shutil.rmtree(path, ignore_errors=True)
        for path in folder.glob(f"{NEXT}*"):
            path.unlink(missing_ok=True)
        yield
    finally:
        os.close(descriptor)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= MAX_NUMBER_LENGTH and str(int(text)) == text


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _why(error: Exception) -> str:
    return error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)
