//! Users, as values of a type, which programs in other languages read.

use kv::{Db, Error, Store, Tag, Text, Wait};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct User {
    name: String,
    age: u32,
}

fn main() -> kv::Result<()> {
    let db = Db::in_memory()?;
    let users: Store<User> = db.typed();
    users.set(b"user:1", &User { name: "Alice".into(), age: 30 })?;

    // The value itself is edited, locked for whoever does.
    let mut session = users.get_and_lock(b"user:1", Wait::Forever)?.expect("it was set");
    session.value_mut().age += 1;
    session.commit()?;
    let alice = users.get(b"user:1")?.expect("it was committed");
    println!("{} is {}", alice.name, alice.age);

    // What stands there is JSON, and is marked so. Whoever expects another codec is told.
    println!("{}", String::from_utf8_lossy(&db.get(b"user:1")?.unwrap_or_default()));
    println!("codec: {}", db.codec(b"user:1")?.unwrap_or(Tag::RAW));
    let as_text = db.typed::<String, Text>().get(b"user:1");
    println!("as text: {}", outcome(&as_text));

    // A plain write marks nothing, so that is no user.
    db.set(b"user:2", b"{}")?;
    println!("raw bytes as JSON: {}", outcome(&users.get(b"user:2")));
    db.close()
}

fn outcome<T>(read: &kv::Result<T>) -> &'static str {
    match read {
        Err(Error::WrongCodec { .. }) => "of another codec",
        Err(_) => "failed",
        Ok(_) => "read",
    }
}
