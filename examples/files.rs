//! A store that people read and edit as a JSON file, and entries that come in as a table and go out as lines.

use kv::{Db, Format, Options, ScanOptions, TransferOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args().nth(1).ok_or("a path, please")?;
    std::fs::write(&file, r#"{"name": "Alice", "age": 30}"#)?;

    // The file is taken into the store, and written anew when that has changed: at the latest as it closes.
    let people = Options::new().json_mirror(&file).in_memory()?;
    people.increment(b"age", 1)?;
    people.set(b"city", b"Bern")?;
    people.close()?;
    print!("{}", std::fs::read_to_string(&file)?);

    let db = Db::in_memory()?;
    let table = "id,name,mail\n7,Alice,a@example.org\n8,Bob,b@example.org\n";
    let columns = TransferOptions::new(Format::Csv).key_column("id").value_column("name");
    println!("{} entries", db.import(table.as_bytes(), columns)?.entries);
    db.export(std::io::stdout(), Format::Ndjson, ScanOptions::new().ordered(true))?;
    Ok(())
}
