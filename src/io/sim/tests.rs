use super::super::create_dirs;
use super::*;

const DIR: &str = "d";

fn disk_with(name: &str, bytes: u64) -> (Arc<SimDisk>, Box<dyn File>, PathBuf) {
    let disk = SimDisk::new();
    create_dirs(disk.as_ref(), Path::new(DIR)).unwrap();
    let path = Path::new(DIR).join(name);
    let file = disk.create(&path, bytes).unwrap();
    (disk, file, path)
}

#[test]
fn what_was_synced_is_in_every_image_and_the_rest_only_where_it_is_taken() {
    let (disk, file, path) = disk_with("a", 8192);
    let map = file.map().unwrap();
    map.word(0).unwrap().store(1, Ordering::Release);
    file.sync().unwrap();
    assert!(disk.image(Choice::Nothing, 1).read(&path).is_none(), "the name is not synced");
    disk.sync_dir(Path::new(DIR)).unwrap();
    map.word(0).unwrap().store(2, Ordering::Release);
    map.word(4096).unwrap().store(3, Ordering::Release);
    let first = |image: Arc<SimDisk>| {
        let bytes = image.read(&path).unwrap();
        (bytes[0], bytes[4096])
    };
    assert_eq!(first(disk.image(Choice::Nothing, 1)), (1, 0));
    assert_eq!(first(disk.image(Choice::Everything, 1)), (2, 3));
    assert_eq!(first(disk.image(Choice::LastSector, 1)), (1, 3));
    assert_eq!(first(disk.image(Choice::FirstPage, 1)), (2, 0));
    let seen: std::collections::BTreeSet<_> =
        (0..50).map(|seed| first(disk.image(Choice::Percent(50), seed))).collect();
    assert_eq!(seen.len(), 4, "each sector on its own: {seen:?}");
    assert_ne!(disk.image(Choice::Nothing, 1).boot_id().unwrap(), disk.boot_id().unwrap());
}

#[test]
fn a_copy_shows_everything_and_has_on_its_disk_what_was_synced() {
    let (disk, file, path) = disk_with("a", 4096);
    let map = file.map().unwrap();
    map.word(0).unwrap().store(1, Ordering::Release);
    file.sync().unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    map.word(0).unwrap().store(2, Ordering::Release);
    let renamed = Path::new(DIR).join("b");
    disk.rename(&path, &renamed).unwrap();
    let copy = disk.copy();
    map.word(0).unwrap().store(3, Ordering::Release);
    let first = |of: &SimDisk, path: &Path| of.read(path).map(|bytes| bytes[0]);
    assert_eq!((first(&copy, &path), first(&copy, &renamed)), (None, Some(2)));
    let lost = |choice| {
        let image = copy.image(choice, 1);
        (first(&image, &path), first(&image, &renamed))
    };
    assert_eq!(lost(Choice::Nothing), (Some(1), None));
    assert_eq!(lost(Choice::Everything), (None, Some(2)));
    copy.open(&renamed, Access::ReadWrite).unwrap().sync().unwrap();
    assert_eq!(lost(Choice::Nothing), (Some(2), None), "the name is of the same file");
    copy.sync_dir(Path::new(DIR)).unwrap();
    assert_eq!(lost(Choice::Nothing), (None, Some(2)));
    assert_eq!(first(&disk.image(Choice::Nothing, 1), &path), Some(1), "a disk of its own");
    assert_eq!(copy.boot_id().unwrap(), disk.boot_id().unwrap());
}

#[test]
fn what_was_synced_survives_zeros_and_garbage_and_what_was_not_need_not() {
    let (disk, file, path) = disk_with("a", 8192);
    let map = file.map().unwrap();
    map.word(0).unwrap().store(1, Ordering::Release);
    file.sync().unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    // Beside what was synced, and in a sector of its own.
    map.word(8).unwrap().store(2, Ordering::Release);
    map.word(4096).unwrap().store(3, Ordering::Release);
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..50 {
        for choice in [Choice::Zeros, Choice::Garbage] {
            let bytes = disk.image(choice, seed).read(&path).unwrap();
            assert_eq!((bytes[0], bytes[1..8].iter().max()), (1, Some(&0)), "{choice:?}");
            assert!(bytes[8] == 0 || bytes[8] == 2, "{choice:?}");
            seen.insert(bytes[4096]);
        }
    }
    assert!(seen.len() > 5, "{seen:?}");
    // What is written over, not stored, may be lost in whole.
    file.write_at(0, &[4; 16]).unwrap();
    assert!((0..50).any(|seed| disk.image(Choice::Garbage, seed).read(&path).unwrap()[100] != 0));
}

#[test]
fn a_directory_whose_name_was_not_synced_may_be_gone() {
    let disk = SimDisk::new();
    disk.create_dir(Path::new(DIR)).unwrap();
    disk.create(&Path::new(DIR).join("a"), 10).unwrap().sync().unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    assert!(disk.image(Choice::Nothing, 1).list(Path::new(DIR)).is_err());
    disk.sync_dir(Path::new(".")).unwrap();
    assert_eq!(disk.image(Choice::Nothing, 1).names(Path::new(DIR)).len(), 1);
    // A process that made it and died leaves that to whoever makes something in it.
    disk.create_dir(Path::new("above")).unwrap();
    let (disk, below) = (disk.copy(), Path::new("above/below"));
    create_dirs(disk.as_ref(), below).unwrap();
    assert!(disk.image(Choice::Nothing, 1).list(below).is_ok());
}

#[test]
fn a_read_or_write_that_is_interrupted_or_cut_short_goes_on_to_its_end() {
    let (disk, file, _) = disk_with("a", 8192);
    let (bytes, mut found) = ((0..5000).map(|n| n as u8).collect::<Vec<_>>(), vec![0; 5000]);
    for call in [Call::Read, Call::Write] {
        disk.cut_short(call, 0, 3);
        disk.fail(call, libc::EINTR, 0, 1);
    }
    file.write_at(100, &bytes).unwrap();
    file.read_at(100, &mut found).unwrap();
    assert_eq!((bytes == found, disk.failed()), (true, 8));
    disk.fail(Call::Write, libc::ENOSPC, 0, 1);
    assert_eq!(file.write_at(0, &bytes).unwrap_err().raw_os_error(), Some(libc::ENOSPC));
}

#[test]
fn a_failed_sync_leaves_pages_that_no_later_sync_writes() {
    let (disk, file, path) = disk_with("a", 4096);
    file.sync().unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    file.map().unwrap().word(0).unwrap().store(1, Ordering::Release);
    disk.fail(Call::Sync, libc::EIO, 0, 1);
    assert!(file.sync().is_err() && file.sync().is_ok());
    assert_eq!(disk.image(Choice::Nothing, 1).read(&path).unwrap()[0], 0);
}

#[test]
fn a_full_disk_refuses_until_something_goes() {
    let (disk, file, path) = disk_with("a", 4096);
    disk.limit(Some(8192));
    let other = Path::new(DIR).join("b");
    assert!(disk.create(&other, 8192).is_err());
    disk.remove(&path).unwrap();
    assert!(disk.create(&other, 8192).is_err(), "an open file keeps its space");
    let map = file.map().unwrap();
    drop(file);
    assert!(disk.create(&other, 8192).is_err(), "and so does one that is mapped");
    drop(map);
    assert!(disk.create(&other, 8192).is_ok());
}

#[test]
fn without_a_descriptor_nothing_is_opened_or_made_and_what_is_open_or_mapped_can_be_synced() {
    let (disk, file, path) = disk_with("a", 4096);
    let (map, dir) = (file.map().unwrap(), disk.open_dir(Path::new(DIR)).unwrap());
    file.sync().unwrap();
    drop(file);
    assert_eq!(disk.descriptors(), 1);
    disk.limit_descriptors(Some(1));
    let lacking = |result: Result<()>| assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EMFILE));
    lacking(disk.open(&path, Access::Read).map(drop));
    lacking(disk.open_dir(Path::new(DIR)).map(drop));
    lacking(disk.create(&Path::new(DIR).join("b"), 1).map(drop));
    lacking(disk.lock(&path, LockKind::Shared).map(drop));
    lacking(disk.list(Path::new(DIR)).map(drop));
    map.word(0).unwrap().store(1, Ordering::Release);
    map.sync().unwrap();
    dir.sync().unwrap();
    assert_eq!(disk.image(Choice::Nothing, 1).read(&path).unwrap()[0], 1);
    disk.fail(Call::Sync, libc::EIO, 0, 1);
    map.word(0).unwrap().store(2, Ordering::Release);
    assert!(map.sync().is_err() && map.sync().is_ok());
    assert_eq!(disk.image(Choice::Nothing, 1).read(&path).unwrap()[0], 1, "the failed sync lost it");
    drop(dir);
    assert!(disk.names(Path::new(DIR)).len() == 1 && disk.open(&path, Access::Read).is_ok());
}
