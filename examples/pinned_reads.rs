//! Reads in place: no copy, however large the value is.

use kv::Db;

const VALUE_BYTES: usize = 8 << 20;

fn main() -> kv::Result<()> {
    let db = Db::in_memory()?;
    db.set(b"image", &vec![b'i'; VALUE_BYTES])?;
    {
        let pin = db.pin()?;
        let value = pin.get(b"image")?;
        // An overwrite does not disturb what is pinned.
        db.set(b"image", b"new")?;
        let sum = value.iter().flat_map(|value| value.iter()).filter(|byte| **byte == b'i').count();
        println!("{sum} of {VALUE_BYTES} bytes read in place");
    }
    db.close()
}
