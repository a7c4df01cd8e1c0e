"""Being told what changes, and going on later where one stood."""

import libkv


def tell(watch: libkv.Watch) -> None:
    while (change := watch.next(0)) is not None:
        if change.kind == "put":
            print(f"{change.key.decode()} is {change.value}")
        elif change.kind == "removed":
            print(f"{change.key.decode()} is gone")
        else:
            print("all are gone")


with libkv.open_in_memory(codec="text") as db:
    with db.watch("user:") as watch:
        db["user:7"] = "Alice"
        db["order:1"] = "tea"
        del db["user:7"]
        tell(watch)
        # To be kept with what was made of the changes: in a store in a directory it counts after a restart too.
        position = watch.position

    db["user:8"] = "Bob"
    with db.watch("user:", after=position) as later:
        print("later:")
        tell(later)
        db.clear()
        tell(later)
