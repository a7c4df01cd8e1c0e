"""When an entry expires."""

from __future__ import annotations

import enum
from datetime import datetime, timedelta
from typing import Optional, Tuple, Union

from . import _abi
from ._options import milliseconds


class Expiry(enum.Enum):
    """What an expiry can be besides a length of time."""

    NEVER = _abi.EXPIRE_NEVER
    KEEP = _abi.EXPIRE_KEEP


#: The entry does not expire, whatever the store's default is.
NEVER = Expiry.NEVER
#: The entry keeps the expiry of the value that it replaces.
KEEP = Expiry.KEEP

#: Seconds, a timedelta, NEVER, KEEP; None: the store's default time to live.
Expire = Union[float, timedelta, Expiry, None]
#: Seconds since 1970, or a datetime.
ExpireAt = Union[float, datetime]


def moment(when: ExpireAt) -> int:
    """Milliseconds since 1970."""
    return milliseconds(when.timestamp() if isinstance(when, datetime) else when)


def expiry_of(expire: Expire, expire_at: Optional[ExpireAt]) -> Tuple[int, int]:
    """The kind of an expiry in the C ABI, and its milliseconds."""
    if expire_at is not None:
        if expire is not None:
            raise TypeError("expire and expire_at exclude each other")
        return _abi.EXPIRE_AT, moment(expire_at)
    if expire is None:
        return _abi.EXPIRE_DEFAULT, 0
    if isinstance(expire, Expiry):
        return expire.value, 0
    return _abi.EXPIRE_AFTER, milliseconds(expire)
