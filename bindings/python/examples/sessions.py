"""Orders, each edited by one worker at a time and seen by all others as it was committed last."""

import libkv


def yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


with libkv.open_in_memory() as db:
    # A key that was never given before; the entry is there with the commit.
    with db.create_generated_and_lock(initial=b"apples", prefix="order:", base=36, width=8) as order:
        order.metadata["by"] = b"Alice"
        key = order.key
        print("there before the commit:", yes(key in db))

    # Readers see what was committed last, and another worker is told that the order is taken.
    with db.get_and_lock(key) as order:
        order.value += b", pears"
        print("seen meanwhile:", db[key].decode())
        try:
            db.get_and_lock(key, timeout=0)
        except libkv.KeyLockedError:
            print("taken: yes")

        # A plain write is not held up. The commit says so, and the edit is made anew on what stands there now.
        db[key] = b"plums"
        try:
            order.commit(keep_on_failure=True)
        except libkv.ConflictError:
            print("conflict: yes")
        order.reload()
        order.value += b", pears"
        order.metadata["by"] = b"Bob"
    found = db.get_with_metadata(key)
    assert found is not None
    value, metadata = found
    print(f"{value.decode()}, by {metadata['by'].decode()}")

    # One that sees to it that nothing stays.
    db.create_and_lock(key, allow_existing=True).commit(delete=True)
    print("left:", len(db))
