"""Where the worker keeps bytes between runs: a directory, Redis, or (in tests) memory.

Keys look like paths, `history/ml_cpu_usage/2026-01-31`; any text is a legal key. There is no pickle:
callers store JSON or arrays without objects (see `pack` and `unpack`).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, unquote

import numpy as np
import orjson
from numpy.typing import NDArray

from detector.errors import StateError

if TYPE_CHECKING:
    import redis

MAGIC = b"detector-state-1"
SUFFIX = ".state"
LOCK_SECONDS = 60
"""A lock lasts at most so long: as long as a push to a gateway that hangs."""
FILE_NAME_BYTES = 255
"""The longest file name of the common file systems."""
REBUILD = "delete it: the worker rebuilds it from Prometheus"


class Store(Protocol):
    """Keeps bytes under a key. Every method raises StateError, and nothing else, when it fails."""

    def load(self, key: str) -> bytes | None:
        """The bytes saved under the key, or None. Raises StateError where they are damaged."""

    def save(self, key: str, data: bytes) -> None:
        """Replace what is saved under the key; a crash leaves the old bytes or the new ones."""

    def delete(self, key: str) -> None:
        """Forget the key; it need not exist."""

    def keys(self, prefix: str = "") -> list[str]:
        """Every key that begins with the prefix, sorted."""

    def exclusive(self, name: str) -> AbstractContextManager[None]:
        """Keep other processes that share the store out while it lasts. Raises StateError where that takes too long."""


def pack(header: Mapping[str, Any], **arrays: NDArray[Any]) -> bytes:
    """A JSON header and named arrays as bytes; `unpack` undoes it.

    >>> header, arrays = unpack(pack({"step": 60}, values=np.arange(3)))
    >>> header["step"], arrays["values"].tolist()
    (60, [0, 1, 2])
    """
    buffer = io.BytesIO()
    named: dict[str, Any] = {"header": np.frombuffer(orjson.dumps(dict(header)), dtype=np.uint8), **arrays}
    np.savez(buffer, allow_pickle=False, **named)
    return buffer.getvalue()


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Header and arrays of `pack`. Raises StateError where the bytes are something else."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = orjson.loads(arrays.pop("header").tobytes())
    except Exception as error:  # zipfile, zlib, numpy and JSON each raise their own
        raise StateError(f"saved state is unreadable ({error}); {REBUILD}") from error
    if not isinstance(header, dict):
        raise StateError(f"saved state has no header; {REBUILD}")
    return header, arrays


class MemoryStore:
    """A store that lives as long as the process."""

    def __init__(self) -> None:
        self._data: dict[str, bytes] = {}

    def load(self, key: str) -> bytes | None:
        """The bytes saved under the key, or None."""
        return self._data.get(key)

    def save(self, key: str, data: bytes) -> None:
        """Replace what is saved under the key."""
        self._data[key] = bytes(data)

    def delete(self, key: str) -> None:
        """Forget the key."""
        self._data.pop(key, None)

    def keys(self, prefix: str = "") -> list[str]:
        """Every key that begins with the prefix, sorted."""
        return sorted(key for key in self._data if key.startswith(prefix))

    def exclusive(self, name: str) -> AbstractContextManager[None]:
        """Nobody shares this store."""
        return contextlib.nullcontext()


class FileStore:
    """One file a key under a directory, replaced by an atomic rename, with a checksum in front."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)

    def load(self, key: str) -> bytes | None:
        """The bytes saved under the key, or None. A damaged file is a StateError that names it."""
        path = self._path(key)
        try:
            raw = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StateError(f"cannot read state file {path}: {error.strerror or error}") from error
        magic, _, rest = raw.partition(b" ")
        digest, _, data = rest.partition(b"\n")
        if magic != MAGIC or digest != _digest(data):
            raise StateError(f"state file {path} is damaged (its checksum does not fit); {REBUILD}")
        return data

    def save(self, key: str, data: bytes) -> None:
        """Replace what is saved under the key; a crash leaves the old bytes or the new ones."""
        path = self._path(key)
        unfinished: str | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
                unfinished = file.name
                file.write(MAGIC + b" " + _digest(data) + b"\n")
                file.write(data)
            Path(unfinished).replace(path)
        except OSError as error:
            if unfinished is not None:
                with contextlib.suppress(OSError):
                    Path(unfinished).unlink()
            raise StateError(f"cannot write state file {path}: {error.strerror or error}") from error

    def delete(self, key: str) -> None:
        """Forget the key; it need not exist."""
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
        except NotADirectoryError:
            return
        except OSError as error:
            raise StateError(f"cannot delete state file {path}: {error.strerror or error}") from error

    def keys(self, prefix: str = "") -> list[str]:
        """Every key that begins with the prefix, sorted."""
        folder = prefix.rpartition("/")[0]
        root = self._folder(folder) if folder else self.directory
        try:
            found = [self._key(path) for path in _files(root)]
        except OSError as error:
            raise StateError(f"cannot list state directory {root}: {error.strerror or error}") from error
        return sorted(key for key in found if key.startswith(prefix))

    def exclusive(self, name: str) -> AbstractContextManager[None]:
        """Keep nobody out: a directory is one worker's; a fleet shares Redis."""
        return contextlib.nullcontext()

    def _folder(self, folder: str) -> Path:
        names = (_safe(part) for part in folder.split("/"))  # a folder never looks like a file of ours
        return self.directory.joinpath(*(name.replace(SUFFIX, "%2Estate") for name in names))

    def _path(self, key: str) -> Path:
        folder, _, name = key.rpartition("/")
        path = (self._folder(folder) if folder or key.startswith("/") else self.directory) / (_safe(name) + SUFFIX)
        if max(len(part) for part in path.parts) > FILE_NAME_BYTES:
            raise StateError(f"state key is too long for a file name: {key[:80]!r}…")
        return path

    def _key(self, path: Path) -> str:
        parts = path.relative_to(self.directory).parts
        names = (*parts[:-1], parts[-1].removesuffix(SUFFIX))
        return "/".join(unquote(name.removeprefix("_")) for name in names)


class RedisStore:
    """A store in Redis (`redis://`, `rediss://`, `unix://`), every key under one prefix."""

    def __init__(self, url: str, *, prefix: str = "detector:", timeout: float = 10.0) -> None:
        import redis

        self.prefix = prefix
        try:
            self._client: redis.Redis = redis.Redis.from_url(
                url,
                socket_timeout=timeout,
                socket_connect_timeout=min(5.0, timeout),
                socket_keepalive=True,
                health_check_interval=10,
            )
        except ValueError as error:
            raise StateError(f"cannot use Redis URL {url}: {error}") from error

    def load(self, key: str) -> bytes | None:
        """The bytes saved under the key, or None. Damaged bytes are a StateError."""
        with _redis_errors(f"read {key!r}"):
            raw: Any = self._client.get(self._name(key))
        if raw is None:
            return None
        digest, _, data = bytes(raw).partition(b"\n")
        if digest != _digest(data):
            raise StateError(f"Redis key {self.prefix}{key} is damaged (its checksum does not fit); {REBUILD}")
        return data

    def save(self, key: str, data: bytes) -> None:
        """Replace what is saved under the key."""
        with _redis_errors(f"write {key!r}"):
            self._client.set(self._name(key), _digest(data) + b"\n" + data)

    def delete(self, key: str) -> None:
        """Forget the key."""
        with _redis_errors(f"delete {key!r}"):
            self._client.delete(self._name(key))

    def keys(self, prefix: str = "") -> list[str]:
        """Every key that begins with the prefix, sorted."""
        pattern = "".join(f"\\{c}" if c in "*?[]\\^" else c for c in self.prefix + prefix) + "*"
        with _redis_errors("list keys"):
            found = {bytes(name).decode(errors="surrogateescape") for name in self._client.scan_iter(pattern, 1000)}
        return sorted(name.removeprefix(self.prefix) for name in found)

    @contextlib.contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """Hold a lock in Redis; one that its process left behind ends by itself."""
        import redis

        lock = self._client.lock(f"{self.prefix}lock:{name}", timeout=LOCK_SECONDS, blocking_timeout=LOCK_SECONDS / 2)
        with _redis_errors(f"lock {name!r}"):
            if not lock.acquire():
                raise StateError(f"{name!r} in Redis is locked by another process for too long")
        try:
            yield
        finally:
            with contextlib.suppress(redis.RedisError, OSError):  # it has ended by itself
                lock.release()

    def _name(self, key: str) -> bytes:
        return (self.prefix + key).encode(errors="surrogateescape")


@contextlib.contextmanager
def _redis_errors(what: str) -> Iterator[None]:
    import redis

    try:
        yield
    except (redis.RedisError, OSError) as error:
        raise StateError(f"Redis cannot {what}: {error}") from error


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def _safe(part: str) -> str:
    """One part of a key as a file name: no separator, no leading dot, never empty."""
    name = quote(part, safe=" ,=+@", errors="surrogateescape")
    return "_" + name if not name or name[0] in "._" else name


def _files(root: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(root):
        for name in names:
            if name.endswith(SUFFIX) and not name.startswith("."):
                yield Path(folder) / name
