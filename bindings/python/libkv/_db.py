"""The store as Python sees it: a mapping, and what a mapping has no words for."""

from __future__ import annotations

import copy
from collections.abc import ItemsView, KeysView, MutableMapping, ValuesView
from ctypes import byref, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from types import TracebackType
from typing import (
    Any,
    Callable,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Tuple,
    Type,
    TypeVar,
    Union,
    cast,
    overload,
)

from . import _abi, _batch, _load
from ._batch import Change, Delete, Key, Set, key_bytes
from ._codecs import Bytes, Codec, CodecName, check_codec, codec_of, name_of, tag_of
from ._errors import WrongCodecError, check
from ._expiry import KEEP, Expire, ExpireAt, expiry_of, moment
from ._handle import Handle, Path
from ._load import How, Loading, Time, hand, take_back
from ._memoize import Memoized
from ._options import Clock, Event, OptionValue, milliseconds
from ._pin import Pin
from ._scan import Entry, Scan, Selection
from ._session import Sessions
from ._store import Store
from ._watch import Watch

lib = _abi.lib
V = TypeVar("V")
D = TypeVar("D")
R = TypeVar("R")

_MISSING: Any = object()
# It is remembered that a loader found nothing.
_NOTHING: Any = object()
_ABSENT, _FAILED = _abi.ABSENT, _abi.FAILED
_get_made, _size, _SIZES, _SIZES_KNOWN = _abi.get_made, _abi.size, _abi.SIZES, _abi.SIZES_KNOWN


class _Values(ValuesView[V]):
    _mapping: Db[V]

    def __iter__(self) -> Iterator[V]:
        decode = self._mapping._decode_as
        return self._mapping._scan(lambda key, value, version, at, codec: decode(key, value, codec))

    def __contains__(self, value: object) -> bool:
        return any(value == each for each in self)


class _Items(ItemsView[bytes, V]):
    _mapping: Db[V]

    def __iter__(self) -> Iterator[Tuple[bytes, V]]:
        decode = self._mapping._decode_as
        return self._mapping._scan(lambda key, value, version, at, codec: (key, decode(key, value, codec)))


class Db(Store, Sessions[V], MutableMapping[bytes, V]):
    """An open store. Every method may be called from any thread.

    As a mapping it is like `dict`: a key without a value is a KeyError. Keys are bytes, or text that stands for its UTF-8;
    they come back as bytes. Values are what the codec takes: bytes, unless another is given to `open`.
    """

    def __init__(
        self,
        path: Optional[Path],
        *,
        codec: CodecName = "bytes",
        clock: Optional[Clock] = None,
        listener: Optional[Callable[[Event], object]] = None,
        logger: Optional[Callable[[str], object]] = None,
        **options: OptionValue,
    ) -> None:
        self._use(codec_of(codec))
        # Reads may wait for Redis then, which no thread may while it has the interpreter's lock.
        self._asks = "tier_url" in options
        if self._asks and self._tag:
            # Those who share a prefix use one codec, unless they say otherwise.
            options.setdefault("tier_codec", name_of(self._tag))
        of_tier = str(options.get("tier_codec", "raw"))
        self._tier_codec = name_of(int(of_tier)) if of_tier.isdigit() else of_tier
        self._handle = Handle(path, options, clock, listener, logger)
        self._at = self._handle.param

    def _use(self, codec: Codec[Any]) -> None:
        self._encode: Callable[[V], bytes] = codec.encode
        self._decode: Callable[[bytes], V] = codec.decode
        self._is_bytes = type(codec) is Bytes
        self._tag = tag_of(codec)
        self._host = _abi.host_of(self._tag)
        # Of a plain `set`: nothing where nothing is marked.
        self._marked = byref(_abi.SetOptions(codec=self._tag)) if self._tag else None

    @overload
    def typed(self, codec: Codec[D]) -> Db[D]: ...
    @overload
    def typed(self, codec: str) -> Db[Any]: ...
    def typed(self, codec: Any) -> Db[Any]:
        """The same store with values of another codec. What another one wrote raises WrongCodecError where it is read, and can be
        overwritten and deleted. The store is closed with any of them."""
        view = copy.copy(self)
        view._use(codec_of(codec))
        return view

    def _decode_as(self, key: bytes, value: bytes, codec: int) -> V:
        check_codec(key, self._tag, codec)
        return self._decode(value)

    def _check_decided(self) -> None:
        """What Redis decides counts as of the tier's codec, here and wherever else it is read."""
        if self._asks and self._tag and name_of(self._tag) != self._tier_codec:
            raise WrongCodecError(
                f"tier: not applied: what Redis decides is written as {self._tier_codec} (option tier_codec), not as {name_of(self._tag)}"
            )

    # One key, read.

    @overload
    def get(self, key: Key, default: None = None) -> Optional[V]: ...
    @overload
    def get(self, key: Key, default: Union[V, D]) -> Union[V, D]: ...
    def get(self, key: Key, default: Any = None) -> Any:
        """The value of a key, or `default` when it has none. Takes no lock and never waits, but for Redis where the store has
        a tier and not the key."""
        if type(key) is not bytes:
            key = key_bytes(key)
        n = len(key)
        value = _get_made(self._at, key, _SIZES[n] if n < _SIZES_KNOWN else _size(n), self._host)
        if value is _FAILED:
            # Too long for that, or Redis must be asked, or a failure, of which this call tells the facts.
            value = self._owned(lib.kv_get_owned_as, key, self._tag, absent=_ABSENT)
        if value is _ABSENT:
            return default
        return value if self._is_bytes else self._decode(value)  # type: ignore[arg-type]

    def _owned(self, call: Callable[..., int], key: bytes, *args: Any, absent: Any = None) -> Any:
        """What a function gives that stores a copy of ours to free; `absent` when it finds none."""
        value, length, error = c_void_p(), c_size_t(), c_void_p()
        status = call(self._at, key, len(key), *args, byref(value), byref(length), byref(error))
        if check(status, error) == _abi.NOT_FOUND:
            return absent
        try:
            return _abi.bytes_at(value.value, length.value)
        finally:
            lib.kv_free(value)

    def __getitem__(self, key: Key) -> V:
        value = self.get(key, _MISSING)
        if value is _MISSING:
            raise KeyError(key)
        return cast(V, value)

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, (bytes, str, bytearray, memoryview)):
            return False
        name = key_bytes(key)
        status = 2 if self._asks else _abi.contains(self._at, name, _size(len(name)), None)
        if status > 1:
            status = self._call(lib.kv_contains, name)
        return status == 0

    contains = __contains__

    def version(self, key: Key) -> Optional[int]:
        """The version of a key's value, for `compare_and_swap`; None when it has none. Every write of the store gives a
        higher one."""
        return self._number(_abi.key_version, lib.kv_key_version, key)

    def codec(self, key: Key) -> Optional[str]:
        """Which codec wrote a key's value: "raw" (none did), "json", "msgpack", "protobuf", "postcard", "text", "gob", "pickle", or the
        number of one's own as text; None when it has no value."""
        found = c_uint32()
        return None if self._call(lib.kv_key_codec, key_bytes(key), byref(found)) else name_of(found.value)

    def ttl(self, key: Key) -> Optional[float]:
        """How long a key still has, in seconds: infinity when it does not expire, None when it has no value."""
        ms = self._number(_abi.ttl, lib.kv_ttl, key)
        return None if ms is None else float("inf") if ms == _abi.TTL_NEVER else ms / 1000

    def _number(self, quick: Callable[..., int], call: Callable[..., int], key: Key) -> Optional[int]:
        name, number = key_bytes(key), c_uint64()
        status = 2 if self._asks else quick(self._at, name, _size(len(name)), byref(number), None)
        if status > 1:
            # Once more, for the facts; or without the interpreter's lock.
            status = self._call(call, name, byref(number))
        return None if status else number.value

    def _call(self, call: Callable[..., int], name: bytes, *args: Any) -> int:
        """A call with a key; raises when it fails."""
        error = c_void_p()
        return check(call(self._at, name, len(name), *args, byref(error)), error)

    # One key, written.

    def set(
        self,
        key: Key,
        value: V,
        expire: Expire = None,
        *,
        expire_at: Optional[ExpireAt] = None,
        if_absent: bool = False,
        if_present: bool = False,
        if_version: Optional[int] = None,
    ) -> Optional[int]:
        """Sets a key, and gives the new version; None when the condition does not hold, and nothing was written.

        `expire`: seconds or a timedelta, NEVER, or KEEP for that of the value which is replaced; None: the store's default.
        `expire_at`: a moment instead. `if_version=0`: the key has no value.

        Visible to every thread when it returns, and as durable as the option `sync` says.
        """
        name = key if type(key) is bytes else key_bytes(key)
        data = self._encode(value)
        options = self._marked
        if expire is not None or expire_at is not None or if_absent or if_present or if_version is not None:
            if if_absent + if_present + (if_version is not None) > 1:
                raise TypeError("if_absent, if_present and if_version exclude each other")
            condition = (
                _abi.IF_ABSENT
                if if_absent
                else _abi.IF_PRESENT
                if if_present
                else _abi.ALWAYS
                if if_version is None
                else _abi.IF_VERSION
            )
            kind, ms = expiry_of(expire, expire_at)
            options = byref(_abi.SetOptions(condition, kind, ms, if_version or 0, self._tag))
        version, error = c_uint64(), c_void_p()
        status = _abi.set_with(
            self._at, name, _size(len(name)), data, _size(len(data)), options, byref(version), byref(error)
        )
        if status:
            check(status, error)
            return None
        return version.value

    def __setitem__(self, key: Key, value: V) -> None:
        self.set(key, value)

    def add(self, key: Key, value: V, expire: Expire = None, *, expire_at: Optional[ExpireAt] = None) -> bool:
        """Sets a key if it has no value; False: it has one."""
        return self.set(key, value, expire, expire_at=expire_at, if_absent=True) is not None

    def replace(self, key: Key, value: V, expire: Expire = None, *, expire_at: Optional[ExpireAt] = None) -> bool:
        """Sets a key if it has a value; False: it has none."""
        return self.set(key, value, expire, expire_at=expire_at, if_present=True) is not None

    def compare_and_swap(self, key: Key, version: int, value: V) -> Optional[int]:
        """Sets a key if its value still has a version (0: if it has none), and keeps its expiry. Gives the new version;
        None when the value is another."""
        return self.set(key, value, KEEP, if_version=version)

    def incr(self, key: Key, by: int = 1) -> int:
        """Adds to the decimal number that a key holds (0 when it has no value), keeps its expiry, and gives the sum, which is a value of the
        store's codec.

        Raises IncrementOverflowError, and NotAnIntegerError: also where digits are no value of the codec, as in "msgpack", Protobuf and
        "pickle"; such a store counts in `db.typed("text")`. WrongCodecError: another codec wrote the value.
        """
        return self._sum(lib.kv_increment_as, key, by, self._tag)

    increment = incr

    def _sum(self, call: Callable[..., int], key: Key, by: int, *codec: int) -> int:
        if not -(2**63) <= by < 2**63:
            raise ValueError(f"an increment of {by}: must fit 64 bits")
        total = c_int64()
        self._call(call, key_bytes(key), by, *codec, byref(total))
        return total.value

    def delete(self, key: Key) -> bool:
        """Removes a key; False: it had no value. Works on a full disk."""
        return not self._call(lib.kv_delete, key_bytes(key))

    def __delitem__(self, key: Key) -> None:
        if not self.delete(key):
            raise KeyError(key)

    @overload
    def take(self, key: Key, default: None = None) -> Optional[V]: ...
    @overload
    def take(self, key: Key, default: Union[V, D]) -> Union[V, D]: ...
    def take(self, key: Key, default: Any = None) -> Any:
        """Removes a key and gives its value, or `default` when it has none."""
        value = self._owned(lib.kv_take_as, key_bytes(key), self._tag)
        return default if value is None else self._decode(value)

    def pop(self, key: Key, default: Any = _MISSING) -> Any:
        """As `take`; without a default, a key without a value is a KeyError."""
        value = self.take(key, default)
        if value is _MISSING:
            raise KeyError(key)
        return value

    def popitem(self) -> Tuple[bytes, V]:
        """Removes some entry and gives it; KeyError when there is none."""
        while True:
            key = next(self._scan(lambda key, value, version, at, codec: key, Selection(limit=1)), None)
            if key is None:
                raise KeyError("the store is empty")
            value = self.take(key, _MISSING)
            if value is not _MISSING:
                return key, cast(V, value)

    def setdefault(self, key: Key, default: V = cast(V, None)) -> V:
        """The value of a key; where it has none, `default`, which is then set. In one step."""
        while True:
            value = self.get(key, _MISSING)
            if value is not _MISSING:
                return cast(V, value)
            if self.add(key, default):
                return default

    # One key, decided by Redis.

    def incr_shared(self, key: Key, by: int = 1) -> int:
        """Adds to the decimal number that a key holds in Redis (0 when it has no value), keeps its expiry, and gives the sum:
        of all processes that share the key each addition counts, exactly once. Costs two round trips, which threads that call
        at once share. What this store has changed before is sent first; the sum stays here as a copy.

        Raises TierError: with "tier: not applied" at its beginning nothing was changed; else no answer came in the time of
        `tier_timeout`, and it was applied once or not at all. NotAnIntegerError, IncrementOverflowError. WrongCodecError in a view
        whose codec is not the option `tier_codec`: by that goes what Redis decides.
        """
        self._check_decided()
        return self._sum(lib.kv_increment_shared, key, by)

    increment_shared = incr_shared

    def add_shared(self, key: Key, value: V, expire: Expire = None, *, expire_at: Optional[ExpireAt] = None) -> bool:
        """Sets a key if it has no value in Redis; False: it has one. Of all processes that share the key one does. KEEP counts
        as the store's default. Raises as `incr_shared`."""
        self._check_decided()
        data = self._encode(value)
        kind, ms = expiry_of(expire, expire_at)
        options = byref(_abi.SetOptions(_abi.ALWAYS, kind, ms, 0))
        return not self._call(lib.kv_add_shared, key_bytes(key), data, len(data), options)

    def compare_and_swap_shared(self, key: Key, expected: Optional[V], value: V) -> bool:
        """Sets a key, keeping its expiry, if it holds `expected` in Redis (None: if it has no value); False: it does not. It
        compares what the codec makes of the values, since versions are each store's own. Raises as `incr_shared`."""
        self._check_decided()
        data = self._encode(value)
        wanted: Any = None
        if expected is not None:
            held = self._encode(expected)
            wanted = byref(_abi.Slice(_batch.address_of(held), len(held)))
        return not self._call(lib.kv_compare_and_swap_shared, key_bytes(key), wanted, data, len(data))

    # Expiry of one key.

    def expire(self, key: Key, after: Any) -> bool:
        """Lets a key expire some seconds (or a timedelta) from now; False: it has no value."""
        return not self._call(lib.kv_expire, key_bytes(key), milliseconds(after))

    def expire_at(self, key: Key, when: ExpireAt) -> bool:
        """Lets a key expire at a time; False: it has no value."""
        return not self._call(lib.kv_expire_at, key_bytes(key), moment(when))

    def touch(self, key: Key) -> bool:
        """Starts the store's default time to live anew for a key; False: it has no value."""
        return not self._call(lib.kv_touch, key_bytes(key))

    def persist(self, key: Key) -> bool:
        """Lets a key never expire; False: it has no value."""
        return not self._call(lib.kv_persist, key_bytes(key))

    # Many keys.

    def get_many(self, keys: Iterable[Key], default: Any = None) -> List[Any]:
        """The values of many keys, in their order, with `default` for those that have none. Each is as of a moment of its
        own. Crosses into the library once, and with a tier once more for what the store does not have, in a few questions
        to Redis."""
        names = list(keys)
        values: List[Any] = _batch.get_many(self._at, names, self._host)
        if self._asks:
            missing = [at for at, value in enumerate(values) if value is None]
            if missing:
                asked = _batch.ask_many(self._at, [key_bytes(names[at]) for at in missing], self._tag)
                for at, value in zip(missing, asked):
                    values[at] = value
        if self._is_bytes:
            if default is None or None not in values:
                return values
            return [default if value is None else value for value in values]
        decode = self._decode
        return [default if value is None else decode(value) for value in values]

    def set_many(
        self,
        pairs: Union[Mapping[Any, V], Iterable[Tuple[Key, V]]],
        expire: Expire = None,
        *,
        expire_at: Optional[ExpireAt] = None,
    ) -> None:
        """Sets many keys as one batch: after a crash all of it is there or nothing, against sets and deletes. Not isolated:
        readers may see part of it while it runs. A key that comes twice has the last value."""
        both = list(pairs.items() if isinstance(pairs, Mapping) else pairs)
        keys, values = [key_bytes(key) for key, _ in both], [self._encode(value) for _, value in both]
        if expire is None and expire_at is None and not self._tag:
            _batch.set_many(self._at, keys, values)
        else:
            _batch.apply(self._at, [(key, value, expire, expire_at) for key, value in zip(keys, values)], self._tag)

    def delete_many(self, keys: Iterable[Key]) -> int:
        """Removes many keys, each on its own, with one wait for durability. Gives how many had a value."""
        return _batch.delete_many(self._at, _batch.keys_bytes(keys))

    def apply(self, changes: Iterable[Change]) -> None:
        """Applies `Set`s and `Delete`s in their order as one batch: as `set_many`."""
        native: List[Tuple[bytes, Optional[bytes], Expire, Optional[ExpireAt]]] = []
        for change in changes:
            if isinstance(change, Delete):
                native.append((key_bytes(change.key), None, None, None))
            elif isinstance(change, Set):
                value = self._encode(change.value)
                native.append((key_bytes(change.key), value, change.expire, change.expire_at))
            else:
                raise TypeError(f"a change is a Set or a Delete, not {type(change).__name__}")
        _batch.apply(self._at, native, self._tag)

    def update(self, pairs: Any = (), /, **named: Any) -> None:
        """As `dict.update`, as one batch."""
        if not isinstance(pairs, Mapping) and hasattr(pairs, "keys"):
            pairs = {key: pairs[key] for key in pairs.keys()}
        both = list(pairs.items() if isinstance(pairs, Mapping) else pairs)
        self.set_many([*both, *named.items()])

    # All keys.

    def _scan(
        self,
        make: Callable[[bytes, bytes, int, int, int], R],
        selection: Selection = Selection(),
    ) -> Scan[R]:
        return Scan(self._handle, self._at, selection, make)

    def scan(
        self,
        prefix: Key = b"",
        *,
        start: Key = b"",
        end: Key = b"",
        limit: Optional[int] = None,
        ordered: bool = False,
        reverse: bool = False,
        snapshot: bool = False,
    ) -> Scan[Entry]:
        """Walks over the entries whose keys begin with `prefix`, lie from `start` on and before `end` (an empty one: no end), at
        most `limit`; bytewise by key if it is `ordered` or has a `start` or an `end`, the last first if it is `reverse`. An end that
        is not behind the start leaves nothing.

        A key that is there and unchanged throughout appears exactly once; each value is as of the moment it is reached. With
        `snapshot` all are as of one moment, which lies between the call and its return: every write that was acknowledged before
        the call, and none that began after it. That takes a walk before it begins, and eight bytes an entry; the entries' segments,
        whose space compaction cannot give back, stay as long as the scan. It waits for writes that are under way, not for pins.

        In no order a scan costs a walk over the index, as it goes on. In order it collects the keys that match before it begins,
        and sorts as many as are asked for; in a store that was opened with `ordered_index=True` it begins at once, in order or by
        prefix, and costs what it gives. A value that cannot be read raises in its place, and `next` goes on behind it. `keys()`, `values()` and `items()` are walks over all, in no order.
        """
        decode = self._decode_as

        def make(key: bytes, value: bytes, version: int, at_ms: int, codec: int) -> Entry:
            expires_at = at_ms / 1000 if at_ms else None
            return Entry(key, decode(key, value, codec), version, expires_at, name_of(codec))

        keys = key_bytes(prefix), key_bytes(start), key_bytes(end)
        return self._scan(make, Selection(*keys, limit, ordered, reverse, snapshot))

    def watch(self, prefix: Key = b"", *, after: Optional[int] = None) -> Watch:
        """Tells what changes of the keys that begin with `prefix`, in the order of versions, which is that of the writes.

        `after`: behind this version, which is an earlier watch's `position` or a change's `version`, also of an earlier run; 0: all that
        stands, as puts, and what follows; without it: from now on. For each key the newest change is told, and older ones as far as they
        are still in the log; each once. No writer waits, and nothing is lost for want of room; but a watch that comes too late for
        removals that compaction has dropped raises LaggedError once, and then tells all that stands.

            with db.watch("user:", after=position) as watch:
                for change in watch:
                    print(change.kind, change.key, change.value)
        """
        return Watch(self._handle, self._at, key_bytes(prefix), after, self._decode_as)

    def __iter__(self) -> Iterator[bytes]:
        return self._scan(lambda key, value, version, at, codec: key)

    def keys(self) -> KeysView[bytes]:
        return KeysView(self)

    def values(self) -> ValuesView[V]:
        return _Values(self)

    def items(self) -> ItemsView[bytes, V]:
        return _Items(self)

    def __len__(self) -> int:
        """How many entries the store has. Those whose time is over count until the background has removed them, about a
        second."""
        return self._figure(lib.kv_len)

    def clear(self) -> None:
        """Removes every entry. Entries written while this runs may go or stay. Waits for every pin that is held."""
        self._do(lib.kv_clear)

    # Loading.

    def get_or_load(
        self,
        key: Key,
        loader: Callable[[bytes], Optional[V]],
        default: Any = None,
        *,
        expire: Expire = None,
        expire_at: Optional[ExpireAt] = None,
        fresh_for: Optional[Time] = None,
        early: float = 0.0,
        absent_for: Optional[Time] = None,
        lease: Optional[Time] = None,
    ) -> Any:
        """The value of a key; where it has none, what `loader(key)` brings, which is then set. A loader that returns None
        found nothing: `default` is given, and nothing is set.

        One loader runs for a key at a time; others that ask wait for its outcome. It runs in this thread and may use the
        store, but not close it. What it raises is raised here; those who wait get LoaderFailedError, and so does a loader
        that asks for its own key.

        `fresh_for`: for how long of its life (`expire`, or the store's default) a value counts as fresh. From then on until its end
        it is served as it is, while a thread of the store loads it anew: then the loader is called after this call has returned. What
        it raises there is told the logger, and it is tried again a second later at the earliest; None removes the entry. `close` waits
        for loaders that run. `early`: lets a value be loaded anew sooner, by what loads take lately, times this, times −ln of an
        even draw; 1 is a good value. `absent_for`: for how long it is remembered that a loader found nothing. `lease`: lets one process
        of all that share a tier load a key at a time; the others wait for the value, for twice this time at most.
        """
        name = key_bytes(key)
        how = How(expire, expire_at, fresh_for, early, absent_for, lease, self._tag)
        return self._load(name, lambda: loader(name), default, how)

    def _load(
        self, name: bytes, load: Callable[[], Any], default: Any, how: How, keeps_none: bool = False
    ) -> Any:
        if how.load:
            value, is_due = self._loaded(name, how)
            if is_due:
                self._load_behind(name, Loading(load, self._encode, keeps_none), how)
        else:
            value = self.get(name, _MISSING)
        if value is not _MISSING:
            return default if value is _NOTHING else value
        loading = Loading(load, self._encode, keeps_none)

        def call(at: Any, key: bytes, length: int, *outputs: Any) -> int:
            number = hand(loading)
            if how.load:
                released = _load.run, number, _load.release
                return int(lib.kv_get_or_load_with(at, key, length, how.load, *released, *outputs))
            try:
                return int(lib.kv_get_or_load(at, key, length, how.set(), _load.run, number, *outputs))
            finally:
                take_back(number)

        try:
            found = self._owned(call, name)
        except Exception:
            if loading.raised is not None:
                raise loading.raised from None
            raise
        return default if found is None else self._decode(found)

    def _loaded(self, name: bytes, how: How) -> Tuple[Any, bool]:
        """What needs no loader, and whether it is to be loaded anew. Never waits."""
        is_due = c_uint32()
        value, length, error = c_void_p(), c_size_t(), c_void_p()
        status = lib.kv_get_loaded(
            self._at, name, len(name), how.load, byref(value), byref(length), byref(is_due), byref(error)
        )
        if check(status, error):
            return (_NOTHING if status == _abi.NOT_FOUND else _MISSING), False
        try:
            return self._decode(_abi.bytes_at(value.value, length.value)), bool(is_due.value)
        finally:
            lib.kv_free(value)

    def _load_behind(self, name: bytes, loading: Loading, how: How) -> None:
        # What it may fail with is that the store was closed meanwhile: the value is good all the same.
        lib.kv_load_behind(self._at, name, len(name), how.load, _load.run, hand(loading), _load.release, None)

    def memoize(
        self,
        *,
        expire: Expire = None,
        key: Optional[Callable[..., bytes]] = None,
        fresh_for: Optional[Time] = None,
        early: float = 0.0,
        absent_for: Optional[Time] = None,
        lease: Optional[Time] = None,
    ) -> Callable[[Callable[..., R]], Memoized[R]]:
        """A decorator: the function's results are stored, and it runs only where there is none. One call runs for the same
        arguments at a time, as `get_or_load`, whose `fresh_for`, `early`, `absent_for` and `lease` it takes. With `absent_for` a
        result of None is not stored, but remembered for that time.

        The key is made from the function's name and its arguments, which must be None, bool, int, float, str, bytes, or
        tuples, lists and dicts of these; `key`: makes it from others.
        """
        how = How(expire, None, fresh_for, early, absent_for, lease, self._tag)
        return lambda function: Memoized(self, function, how, key, absent_for is None)

    # Reading in place.

    def pin(self) -> Pin:
        """Lets values be read in place: `with db.pin() as pin: pin.get(key)`."""
        return Pin(self._at, self._handle)

    def __enter__(self) -> Db[V]:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    # Two open stores are never the same, whatever they hold.

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__} at {self._handle.at:#x}>"
