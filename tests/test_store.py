from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.errors import StateError
from detector.servers import Redis
from detector.store import FileStore, MemoryStore, RedisStore, Store, pack, unpack


@pytest.fixture(scope="module")
def one_redis() -> Any:
    with Redis() as server:
        yield server


@pytest.fixture(params=["file", "redis", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    makers: dict[str, Callable[[], Store]] = {
        "file": lambda: FileStore(tmp_path / "state"),
        "redis": lambda: RedisStore(request.getfixturevalue("one_redis").url, prefix=f"{tmp_path.name}:"),
        "memory": MemoryStore,
    }
    return makers[request.param]()


def test_what_is_saved_is_loaded(store: Store) -> None:
    assert store.load("a/b") is None
    store.save("a/b", b"one\n\x00two")
    assert store.load("a/b") == b"one\n\x00two"
    store.save("a/b", b"")
    assert store.load("a/b") == b""


def test_a_deleted_key_is_gone_and_deleting_again_is_no_error(store: Store) -> None:
    store.save("a", b"1")
    store.delete("a")
    store.delete("a")
    store.delete("never/was")
    assert store.load("a") is None
    assert store.keys() == []


def test_keys_are_listed_by_prefix_in_order(store: Store) -> None:
    for key in ("history/cpu/2", "history/cpu/1", "history/cpu2/1", "alerts/cpu", "history/cpu"):
        store.save(key, b"x")
    assert store.keys("history/cpu/") == ["history/cpu/1", "history/cpu/2"]
    assert store.keys("history/cpu") == ["history/cpu", "history/cpu/1", "history/cpu/2", "history/cpu2/1"]
    assert len(store.keys()) == 5


@pytest.mark.parametrize(
    "key",
    [
        "../../etc/passwd",
        "/absolute",
        "a//b",
        "..",
        ".",
        "",
        "_x",
        "x%2Fy",
        "sp ace",
        "日本",
        "a*b[c]?",
        "a\nb",
        "x.state",
    ],
)
def test_any_text_is_a_key_of_its_own(store: Store, key: str) -> None:
    store.save("other", b"other")
    store.save(key, b"mine")
    assert store.load(key) == b"mine"
    assert set(store.keys()) == {key, "other"}
    assert store.load("other") == b"other"


def test_a_prefix_with_wildcards_means_itself(store: Store) -> None:
    store.save("a*b/1", b"x")
    store.save("axb/1", b"x")
    assert store.keys("a*b/") == ["a*b/1"]


def test_a_key_and_a_folder_of_another_key_may_share_a_name(store: Store) -> None:
    for key in ("a", "a/b", "a.state/b", "a.state"):
        store.save(key, key.encode())
    assert list(map(store.load, store.keys())) == [b"a", b"a.state", b"a.state/b", b"a/b"]


def test_no_key_leaves_the_directory(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "state")
    for key in ("../out", "/out", "a/../../out", "..", "."):
        store.save(key, b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_damaged_file_is_an_error_that_names_it_and_says_what_to_do(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.save("a/b", b"payload")
    (path,) = tmp_path.rglob("*.state")
    for damage in (path.read_bytes()[:-1], path.read_bytes()[:-1] + b"X", b"", b"\x00" * 100):
        path.write_bytes(damage)
        with pytest.raises(StateError, match="delete it") as caught:
            store.load("a/b")
        assert str(path) in str(caught.value)
    store.delete("a/b")
    assert store.load("a/b") is None


def test_a_damaged_redis_value_is_an_error(one_redis: Any) -> None:
    import redis

    store = RedisStore(one_redis.url, prefix="damage:")
    store.save("a", b"payload")
    client = redis.Redis.from_url(one_redis.url)
    client.append("damage:a", b"x")
    client.close()
    with pytest.raises(StateError, match="damage:a is damaged"):
        store.load("a")


def test_a_directory_that_cannot_be_written_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    store = FileStore(tmp_path / "file")
    with pytest.raises(StateError, match=str(tmp_path / "file")):
        store.save("a", b"x")
    assert store.load("a") is None
    store.delete("a")
    assert store.keys() == []


def test_a_failed_write_leaves_the_old_bytes_and_no_litter(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.save("a", b"old")
    (tmp_path / "b.state").mkdir()
    with pytest.raises(StateError):
        store.save("b", b"new")
    assert store.load("a") == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.state", "b.state"]


def test_a_key_too_long_for_a_file_name_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="too long"):
        FileStore(tmp_path).save("k" * 300, b"")


def test_two_writers_never_mix_their_bytes(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    bodies = [bytes([i]) * 100_000 for i in range(4)]
    threads = [threading.Thread(target=lambda body=body: [store.save("a", body) for _ in range(20)]) for body in bodies]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert store.load("a") in [None, *bodies]
    for thread in threads:
        thread.join()


def test_a_redis_that_is_gone_is_our_error_without_the_password() -> None:
    store = RedisStore("redis://me:hunter2@127.0.0.1:9/0", timeout=0.5)
    for act in (lambda: store.load("a"), lambda: store.save("a", b""), lambda: store.delete("a"), store.keys):
        with pytest.raises(StateError) as caught:
            act()
        assert "hunter2" not in str(caught.value)
    with pytest.raises(StateError) as caught:
        RedisStore("http://me:hunter2@127.0.0.1")
    assert "hunter2" not in str(caught.value)


@given(st.binary(max_size=300))
def test_unpacking_any_bytes_raises_only_our_error(data: bytes) -> None:
    with contextlib.suppress(StateError):
        unpack(data)


def test_arrays_survive_packing_and_objects_are_refused() -> None:
    header, arrays = unpack(pack({"a": [1, "x"]}, v=np.array([[1.5, np.nan]]), t=np.array([3], dtype=np.int64)))
    assert header == {"a": [1, "x"]}
    np.testing.assert_array_equal(arrays["v"], [[1.5, np.nan]])
    assert arrays["t"].dtype == np.int64
    with pytest.raises(ValueError, match="allow_pickle"):
        pack({}, v=np.array([object()]))
