"""The model versions on disk: ``<folder>/<n>/``, and ``<folder>/CURRENT`` with the number of the one that serves.

A version is written to a temporary folder, synced and renamed, and so is CURRENT. Readers never see an incomplete one.
Writers lock the folder, so there is one at a time.
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
FIRST_STAGE = "first_stage.keras"  # only in a version with a cascade; the graph contains it too

# Names of the graph's other outputs, if it has them: the ensemble's first network, and the cascade's first stage.
FIRST_NETWORK_OUTPUT, FIRST_STAGE_OUTPUT = "first", "first_stage"
CURRENT = "CURRENT"
INCOMING_PREFIX, NEXT_PREFIX = ".incoming-", ".current-"  # temporary names of a version and of CURRENT
MAX_NUMBER_LENGTH = 9  # digits


class VersionError(Exception):
    """A version cannot be used. The text names the file and the reason."""


@dataclass(frozen=True)
class Version:
    """A version whose files match the digests in its manifest.

    Attributes:
        path: Folder of the version.
        manifest: Its manifest.
    """

    path: Path
    manifest: Manifest

    @property
    def first_stage(self) -> Path:
        """The Keras file of the cascade's first stage. It exists only if the version has a cascade."""
        return self.path / next((name for name in self.manifest.files if name == format1.FIRST_STAGE), FIRST_STAGE)


def numbers(folder: Path) -> list[int]:
    """Return the numbers of all versions in a folder, lowest first."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if _is_number(path.name) and path.is_dir())


def current(folder: Path) -> int:
    """Return the number of the version that serves.

    Raises:
        VersionError: CURRENT is missing or does not hold a number.
    """
    path = folder / CURRENT
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise VersionError(f"{path}: {_reason(error)}; it must hold the number of the version to serve") from None
    if not _is_number(text):
        raise VersionError(f"{path} holds {text[:40]!r}; it must hold the number of the version to serve")
    return int(text)


def read_manifest(path: Path) -> Manifest:
    """Return the manifest in a version's folder.

    Raises:
        VersionError: The manifest is missing or damaged.
    """
    try:
        manifest = Manifest.from_json((path / MANIFEST).read_bytes())
    except (OSError, ManifestError) as error:
        raise VersionError(f"{path / MANIFEST}: {_reason(error)}") from None
    if _is_number(path.name) and manifest.version != int(path.name):
        raise VersionError(f"{path / MANIFEST}: it is the manifest of version {manifest.version}")
    return manifest


def verify(path: Path) -> Version:
    """Read a version's manifest and compare every artifact with its digest.

    Args:
        path: Folder of the version.

    Raises:
        VersionError: A file is missing or differs. The text names the first one.
    """
    manifest = read_manifest(path)
    for name in dict.fromkeys((*ARTIFACTS, *manifest.files)):
        if name not in manifest.files:
            raise VersionError(f"{path / MANIFEST}: it has no digest of {name}")
        try:
            actual = digest(path / name)
        except OSError as error:
            raise VersionError(f"{path / name}: {_reason(error)}") from None
        if actual != manifest.files[name]:
            raise VersionError(
                f"{path / name}: its SHA-256 is {actual[:12]}…, but {manifest.files[name][:12]}… in the manifest"
            )
    return Version(path, manifest)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def publish(staged: Path, folder: Path) -> int:
    """Publish a staged version under the next free number.

    The new version becomes CURRENT if there is none. A job's version is published once: if a version with the same job
    and weights exists, its number is returned.

    Args:
        staged: Folder with the files of the version. It does not change.
        folder: Folder with the versions.

    Returns:
        The number of the version.

    Raises:
        VersionError: The staged files do not match their manifest.
    """
    manifest = verify(staged).manifest
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        number = _find_published(manifest, folder)
        if number is None:
            number = _copy_into_place(staged, manifest, folder, (numbers(folder) or [0])[-1] + 1)
        if not (folder / CURRENT).exists():
            _activate(folder, number)
    return number


def _find_published(manifest: Manifest, folder: Path) -> int | None:
    """Return the version that the job published. A new database reuses job numbers, so weights are compared too."""
    if manifest.job is None:
        return None
    for number in numbers(folder):
        with contextlib.suppress(VersionError):
            other = read_manifest(folder / str(number))
            if other.job == manifest.job and other.files.get(WEIGHTS) == manifest.files[WEIGHTS]:
                return number
    return None


def _copy_into_place(staged: Path, manifest: Manifest, folder: Path, number: int) -> int:
    """Copy a staged version to the first free number from ``number`` on, and return that number."""
    incoming = Path(tempfile.mkdtemp(prefix=INCOMING_PREFIX, dir=folder))
    try:
        shutil.copytree(staged, incoming, dirs_exist_ok=True)
        incoming.chmod(0o755)  # mkdtemp makes folders that only their owner can read
        while True:
            (incoming / MANIFEST).write_text(dataclasses.replace(manifest, version=number).to_json())
            for path in [*incoming.rglob("*"), incoming]:
                _sync(path)
            try:
                incoming.rename(folder / str(number))
                break
            except OSError as error:  # the name is taken
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                    raise
            number += 1
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    _sync(folder)
    return number


def shipped_folder() -> Path | None:
    """Return the folder of the version that ships, in the installed package or the checkout, if there is one."""
    root = Path(__file__).parents[2]
    installed = "share/digits/models"
    for folder in (Path(sysconfig.get_path("data"), installed), root / installed, root / "models" / "digits"):
        if (folder / CURRENT).is_file():
            return folder
    return None


def seed(shipped: Path, folder: Path) -> bool:
    """Copy the version that ships into a folder that has no version yet.

    Several processes may call it at once. If one is killed midway, CURRENT does not exist yet, and the next call
    continues. A folder with other versions does not change even if CURRENT is missing, since only its owner knows which
    version is meant.

    Args:
        shipped: Folder with the version that ships.
        folder: Folder with the versions.

    Returns:
        Whether the version was copied.

    Raises:
        VersionError: The version that ships is damaged.
    """
    if (folder / CURRENT).exists():
        return False
    number = current(shipped)
    manifest = verify(shipped / str(number)).manifest
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        if (folder / CURRENT).exists():
            return False
        if not numbers(folder):
            _copy_into_place(shipped / str(number), manifest, folder, number)
        if numbers(folder) != [number] or verify(folder / str(number)).manifest.files != manifest.files:
            return False
        _activate(folder, number)
    return True


def activate(folder: Path, number: int) -> None:
    """Verify a version and write its number to CURRENT.

    Args:
        folder: Folder with the versions.
        number: Number of the version.

    Raises:
        VersionError: The version is damaged. CURRENT does not change.
    """
    verify(folder / str(number))
    with _locked(folder):
        _activate(folder, number)


def _activate(folder: Path, number: int) -> None:
    descriptor, name = tempfile.mkstemp(prefix=NEXT_PREFIX, dir=folder)
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
    """Remove the temporary files of writers that were killed, if the folder exists."""
    if folder.is_dir():
        with _locked(folder):  # which removes them
            pass


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder against other writers. The kernel releases the lock if the process is killed."""
    import fcntl  # imported here: Windows lacks it, but can read versions

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # No one else is writing now, so temporary files are from processes that were killed.
        for path in folder.glob(f"{INCOMING_PREFIX}*"):
            shutil.rmtree(path, ignore_errors=True)
        for path in folder.glob(f"{NEXT_PREFIX}*"):
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


def _reason(error: Exception) -> str:
    return error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)
