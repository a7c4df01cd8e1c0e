"""A store as a whole: what concerns no key."""

from __future__ import annotations

import json
from ctypes import byref, c_uint64, c_void_p
from datetime import timedelta
from typing import IO, Any, Callable, Dict, List, Optional, Union, cast

from . import _abi, _preload, _transfer
from ._batch import Key, key_bytes
from ._errors import check
from ._handle import Handle, Path, path_bytes
from ._options import milliseconds
from ._preload import Preloaded
from ._scan import Selection
from ._transfer import How, Progress, Transferred, take_text

lib = _abi.lib


class Store:
    """What `Db` does besides reading and writing entries."""

    _handle: Handle
    #: The handle as an argument.
    _at: Any

    def _do(self, call: Callable[..., int]) -> None:
        error = c_void_p()
        check(call(self._at, byref(error)), error)

    def _figure(self, call: Callable[..., int], *args: Any) -> int:
        figure, error = c_uint64(), c_void_p()
        check(call(self._at, *args, byref(figure), byref(error)), error)
        return figure.value

    def sync(self) -> None:
        """Waits until every write that was acknowledged before is on disk."""
        self._do(lib.kv_sync)

    def flush(self, timeout: Union[float, timedelta]) -> None:
        """Waits until Redis has acknowledged every change that was made before, for `timeout` seconds at most: then it raises
        TierError with what keeps Redis from it, and the changes are still sent. Without a tier: nothing to wait for."""
        ms = milliseconds(timeout)
        self._do(lambda at, error: lib.kv_flush(at, ms, error))

    def preload(
        self,
        pattern: Key = b"*",
        cursor: int = 0,
        progress: Optional[Callable[[Preloaded], Optional[bool]]] = None,
    ) -> Preloaded:
        """Copies what Redis holds under the keys of a pattern (as Redis' own: `*`, `?`, `[a-c]`, a backslash before what is meant
        literally; without `tier_prefix`), with the time that is left, and then removes what stands here under such keys and
        Redis does not hold any more. Changes of this store are not overwritten, and no read waits.

        `progress` hears after each portion how far it came, in this thread; if it returns False (None goes on) the preload is
        broken off. `cursor`: where an earlier call came to; it is good as long as Redis runs.

        Raises TierError when Redis fails (what `progress` heard last is where to go on; of several shards the others were gone
        through, the message says which failed, and the cursor leads to these alone), without a tier, and when no copies are kept
        because changes by others are not heard. What `progress` raises is raised here.
        """
        return _preload.preload(self._at, key_bytes(pattern), cursor, progress)

    def compact(self) -> None:
        """Rewrites the log so that it holds little but what lives. Compaction also runs by itself."""
        self._do(lib.kv_compact)

    def sweep(self) -> None:
        """Removes everything that has expired by now, without waiting for the background to get to it."""
        self._do(lib.kv_sweep)

    def pause(self) -> None:
        """Stops expiry and compaction until `resume`. Expired entries stay invisible."""
        self._do(lib.kv_pause)

    def resume(self) -> None:
        """Lets expiry and compaction run again."""
        self._do(lib.kv_resume)

    def now(self) -> float:
        """The store's time, in seconds since 1970: it never runs backwards."""
        return self._figure(lib.kv_now) / 1000

    def backup(self, to: Path) -> None:
        """Writes a copy of the store, as of one moment, into a directory that is empty or does not exist."""
        target = path_bytes(to)
        self._do(lambda at, error: lib.kv_backup(at, target, error))

    def export(
        self,
        to: Union[Path, IO[bytes]],
        format: str = "ndjson",
        *,
        prefix: Key = b"",
        start: Key = b"",
        end: Key = b"",
        limit: Optional[int] = None,
        ordered: bool = False,
        reverse: bool = False,
        snapshot: bool = False,
        key_column: str = "key",
        value_column: str = "value",
        progress: Optional[Progress] = None,
    ) -> Transferred:
        """Writes entries, selected as `scan` does, as text into a file, or a file object that is open for bytes: "ndjson",
        "json" for one object (text and JSON, without expiries), "csv" or "resp" (Redis commands). Values as the store holds them: no
        codec is applied. As of one moment only with `snapshot`. `progress` hears how far it has come; False ends it with
        CancelledError."""
        if limit is not None and limit < 1:
            raise ValueError(f"a limit of {limit}")
        keys = key_bytes(prefix), key_bytes(start), key_bytes(end)
        selection = Selection(*keys, limit, ordered, reverse, snapshot)
        how = How(progress, key_column, value_column)
        return _transfer.export(self._at, to, format, selection, how)

    def import_(
        self,
        source: Union[Path, IO[bytes]],
        format: str = "ndjson",
        *,
        key_column: str = "key",
        value_column: str = "value",
        database: int = 0,
        skip_unknown: bool = False,
        progress: Optional[Progress] = None,
    ) -> Transferred:
        """Sets entries from text, in batches, of the formats of `export`. Entries whose time is over are left out. Of "resp" one
        `database` is taken, and commands that are not on strings end it, unless `skip_unknown` has them counted. `progress` hears
        after each batch, and at the end, how far it has come; False ends it with CancelledError.

        Raises BadImportError with the line; batches before that are set.
        """
        how = How(progress, key_column, value_column, database, skip_unknown)
        return _transfer.import_(self._at, source, format, how)

    def stats(self) -> Dict[str, int]:
        """All figures of the store, by name."""
        return cast(Dict[str, int], json.loads(self.stats_json()))

    def figure(self, name: str) -> int:
        """One figure of the store by its name, as `stats` has it."""
        return self._figure(lib.kv_stats_get, name.encode())

    def stats_json(self) -> str:
        """All figures as one JSON object."""
        return take_text(lib.kv_stats_json, self._at)

    def stats_prometheus(self) -> str:
        """All figures in Prometheus' text format, names beginning with kv_."""
        return take_text(lib.kv_stats_prometheus, self._at)

    def tier_stats(self) -> Optional[Dict[str, Any]]:
        """Figures of the tier by name; None for a store without one. "unsent_keys", "unsent_bytes" and "unsent_for_ms" are how
        far Redis is behind; "hears": whether changes by others are heard; "failing": why Redis cannot be reached, or None."""
        return cast(Optional[Dict[str, Any]], json.loads(take_text(lib.kv_tier_stats_json, self._at)))

    def tier_stats_prometheus(self) -> str:
        """They in Prometheus' text format, names beginning with kv_tier_; empty for a store without a tier."""
        return take_text(lib.kv_tier_stats_prometheus, self._at)

    def damage(self) -> List[Dict[str, Any]]:
        """What could not be recovered at open, each with "path", "offset" and "reason"."""
        return cast(List[Dict[str, Any]], json.loads(take_text(lib.kv_damage_json, self._at)))

    def close(self) -> None:
        """Ends the store: waits for writes that run, makes all durable, releases the directory. Calls that come later, or
        run in other threads, raise ClosedError; pins go on until they are released. A second close does nothing."""
        self._handle.close()

