//! Hostile files that try to run code, fill the memory, loop or crash. Each is refused with a clear error.

use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::Path;

use regun::checkpoint;
use regun::error::ErrorKind;
use regun::pickle::PickleWriter;
use regun::random::RandomStream;
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// A zip in the layout of torch.save.
fn archive(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let records = storages.iter().map(|(key, bytes)| (format!("data/{key}"), *bytes, CompressionMethod::Stored));
    packed([("data.pkl".to_owned(), pickle, CompressionMethod::Stored)].into_iter().chain(records))
}

fn packed<'a>(records: impl Iterator<Item = (String, &'a [u8], CompressionMethod)>) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes, method) in records {
        let options = SimpleFileOptions::default().compression_method(method);
        zip.start_file(format!("archive/{name}"), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// The description in a pickle of a tensor called "w".
struct Told {
    class: &'static str,
    elements: i64,
    offset: i64,
    shape: Vec<i64>,
    strides: Vec<i64>,
}

/// The description of a vector of four floats that matches its storage.
fn honest() -> Told {
    Told { class: "FloatStorage", elements: 4, offset: 0, shape: vec![4], strides: vec![1] }
}

fn write_tensor(writer: &mut PickleWriter, told: &Told) {
    writer.global("torch._utils", "_rebuild_tensor_v2");
    writer.tuple(|writer| {
        writer.tuple(|writer| {
            writer.text("storage");
            writer.global("torch", told.class);
            writer.text("0");
            writer.text("cpu");
            writer.int(told.elements);
        });
        writer.persistent_id();
        writer.int(told.offset);
        writer.tuple(|writer| told.shape.iter().for_each(|&n| writer.int(n)));
        writer.tuple(|writer| told.strides.iter().for_each(|&n| writer.int(n)));
        writer.bool(false);
        writer.dict(|_| {});
    });
    writer.call();
}

/// The pickle of `{"w": tensor, ..more}`.
fn state_dict(told: &Told, more: impl FnOnce(&mut PickleWriter)) -> Vec<u8> {
    let mut writer = PickleWriter::default();
    writer.dict(|writer| {
        writer.text("w");
        write_tensor(writer, told);
        more(writer);
    });
    writer.finish()
}

/// Writes `contents` to a file and loads it. Returns the number of tensors.
fn load(folder: &TempDir, contents: &[u8]) -> regun::error::Result<usize> {
    let path = folder.path().join("hostile.ckpt");
    // Some file systems flush an overwritten file, which is slow, but not a new one.
    let _ = fs::remove_file(&path);
    fs::write(&path, contents).unwrap();
    checkpoint::load(&path).map(|checkpoint| checkpoint.tensors.len())
}

/// The message of the error with which `contents` is refused.
#[track_caller]
fn refusal(contents: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let error = load(&folder, contents).expect_err("a hostile file was read");
    assert_eq!(error.kind(), ErrorKind::Missing, "{error}");
    assert!(error.message().contains("hostile.ckpt") && error.hint_text().is_some(), "{error}");
    assert!(error.message().len() < 1000 && !error.message().contains('\x1b'), "{error}");
    error.message().to_owned()
}

#[track_caller]
fn refused(contents: &[u8], part: &str) {
    let said = refusal(contents);
    assert!(said.contains(part), "no {part:?} in: {said}");
}

const FOUR: &[u8] = &[0; 16];

#[test]
fn commands_are_named_and_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("executed");
    let command = format!("touch {}", trace.display());
    for (module, name) in [("os", "system"), ("posix", "system"), ("builtins", "eval"), ("torch.hub", "load")] {
        let mut writer = PickleWriter::default();
        writer.global(module, name);
        writer.tuple(|writer| writer.text(&command));
        writer.call();
        let pickle = writer.finish();
        refused(&archive(&pickle, &[]), &format!("wants to call {module}.{name}"));
        refused(&pickle, &format!("wants to call {module}.{name}"));
    }
    // Deep in the hyper-parameters, and below names of plain data.
    for (module, name) in [
        ("torch._utils", "_import_dotted_name"),
        ("torch", "load"),
        ("torch.storage", "_load_from_bytes"),
        ("collections", "os.system"),
        ("pickle", "loads"),
        ("builtins", "getattr"),
        ("operator", "attrgetter"),
    ] {
        let contents = state_dict(&honest(), |writer| {
            writer.text("hyper_parameters");
            writer.list(|writer| {
                writer.global(module, name);
                writer.tuple(|writer| writer.text(&command));
                writer.call();
            });
        });
        refused(&archive(&contents, &[("0", FOUR)]), &format!("wants to call {module}.{name}"));
    }
    assert!(!trace.exists());
}

#[test]
fn tensors_lie_in_their_storages_and_storages_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(load(&folder, &archive(&state_dict(&honest(), |_| {}), &[("0", FOUR)])).unwrap(), 1);
    let with = |told: Told| archive(&state_dict(&told, |_| {}), &[("0", FOUR)]);
    let misfit = "does not fit its storage of 4 elements";
    refused(&with(Told { offset: 1, ..honest() }), misfit);
    refused(&with(Told { offset: 5, shape: vec![0], ..honest() }), misfit);
    refused(&with(Told { shape: vec![5], ..honest() }), misfit);
    refused(&with(Told { strides: vec![2], ..honest() }), misfit);
    refused(&with(Told { shape: vec![1 << 40], strides: vec![0], ..honest() }), misfit);
    refused(&with(Told { shape: vec![1 << 33; 2], strides: vec![0, 0], ..honest() }), misfit);
    refused(&with(Told { offset: i64::MAX, ..honest() }), misfit);
    refused(&with(Told { shape: vec![2], strides: vec![i64::MAX], ..honest() }), misfit);
    refused(&with(Told { shape: vec![4, 1], ..honest() }), misfit);
    refused(&with(Told { offset: -1, ..honest() }), "up to 8 sizes");
    refused(&with(Told { strides: vec![-1], ..honest() }), "up to 8 sizes");
    refused(&with(Told { shape: vec![1; 9], strides: vec![1; 9], ..honest() }), "up to 8 sizes");
    refused(&with(Told { elements: 5, ..honest() }), "has 16 bytes, wanted 20");
    refused(&with(Told { elements: i64::MAX, ..honest() }), "larger than memory");
    refused(&with(Told { elements: 1 << 45, ..honest() }), "has 16 bytes, wanted");
    refused(&with(Told { elements: -1, ..honest() }), "impossible size");
    refused(&with(Told { class: "QInt8Storage", ..honest() }), "QInt8Storage");
    refused(&archive(&state_dict(&honest(), |_| {}), &[]), "no record \"data/0\"");
    // One storage and many tensors: a small pickle that unfolds to many bytes.
    let many = state_dict(&honest(), |writer| {
        for number in 0..100 {
            writer.text(&format!("w{number}"));
            write_tensor(writer, &honest());
        }
    });
    refused(&archive(&many, &[("0", FOUR)]), "unfold to tensors");
    let twice = state_dict(&honest(), |writer| {
        writer.text("w");
        write_tensor(writer, &honest());
    });
    refused(&archive(&twice, &[("0", FOUR)]), "twice");
    let two_types = state_dict(&honest(), |writer| {
        writer.text("v");
        write_tensor(writer, &Told { class: "IntStorage", ..honest() });
    });
    refused(&archive(&two_types, &[("0", FOUR)]), "two types");
}

#[test]
fn the_other_byte_order_is_turned() {
    let folder = tempfile::tempdir().unwrap();
    let numbers: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0].into_iter().flat_map(f32::to_be_bytes).collect();
    let pickle = state_dict(&honest(), |_| {});
    let with = |order: &'static [u8]| {
        let records = [("data.pkl", pickle.as_slice()), ("byteorder", order), ("data/0", &numbers)];
        packed(records.into_iter().map(|(name, bytes)| (name.to_owned(), bytes, CompressionMethod::Stored)))
    };
    let path = folder.path().join("big.pth");
    fs::write(&path, with(b"big")).unwrap();
    let tensors = checkpoint::load(&path).unwrap().tensors;
    assert_eq!(Vec::<f32>::try_from(&tensors[0].1).unwrap(), [1.0, 2.0, 3.0, 4.0]);
    refused(&with(b"middle"), "byte order");
}

/// Names and contents of the records of a fixture archive.
fn records_of(name: &str) -> Vec<(String, Vec<u8>)> {
    let mut zip = ZipArchive::new(Cursor::new(fs::read(fixture(name)).unwrap())).unwrap();
    let count = zip.len();
    let record = |index| {
        let mut record = zip.by_index(index).unwrap();
        let mut bytes = Vec::new();
        record.read_to_end(&mut bytes).unwrap();
        (record.name().unwrap().split_once('/').unwrap().1.to_owned(), bytes)
    };
    (0..count).map(record).collect()
}

#[test]
fn archives_do_not_unpack_to_more_than_they_are() {
    let zeros = vec![0; 64 << 20];
    let told = Told { elements: 16 << 20, shape: vec![16 << 20], ..honest() };
    let pickle = state_dict(&told, |_| {});
    let records = [("data.pkl", pickle.as_slice()), ("data/0", &zeros)];
    let bomb = packed(records.into_iter().map(|(name, bytes)| (name.to_owned(), bytes, CompressionMethod::Deflated)));
    assert!(bomb.len() < 200_000);
    refused(&bomb, "unpack to");

    // A record whose directory entry states too small a size is refused.
    let honest = archive(&state_dict(&honest(), |_| {}), &[("0", FOUR)]);
    let sizes = honest.windows(8).rposition(|bytes| bytes == [16, 0, 0, 0, 16, 0, 0, 0]).unwrap();
    let mut lying = honest.clone();
    lying[sizes + 4] = 12;
    refusal(&lying);

    // An honest file that a tool has repacked with compression is read.
    let folder = tempfile::tempdir().unwrap();
    let records = records_of("zip.pth");
    let records = records.iter().map(|(name, bytes)| (name.clone(), bytes.as_slice(), CompressionMethod::Deflated));
    assert_eq!(load(&folder, &packed(records)).unwrap(), 14);
}

#[test]
fn hyper_parameters_may_be_deep_shared_or_endless() {
    let folder = tempfile::tempdir().unwrap();
    // {"w": .., "hyper_parameters": X}, with X in opcodes.
    let with = |opcodes: &[u8]| {
        let whole = state_dict(&honest(), |writer| {
            writer.text("hyper_parameters");
            writer.text("HERE");
        });
        let mark = b"X\x04\0\0\0HERE";
        let at = whole.windows(mark.len()).position(|bytes| bytes == mark).unwrap();
        archive(&[&whole[..at], opcodes, &whole[at + mark.len()..]].concat(), &[("0", FOUR)])
    };
    // Values among the weights that are no tensors are passed over.
    assert_eq!(load(&folder, &with(b"}")).unwrap(), 1);
    let nested = |opcodes: &[u8]| {
        let mut writer = PickleWriter::default();
        writer.dict(|writer| {
            writer.text("state_dict");
            writer.dict(|writer| {
                writer.text("w");
                write_tensor(writer, &honest());
            });
            writer.text("hyper_parameters");
            writer.text("HERE");
        });
        let whole = writer.finish();
        let mark = b"X\x04\0\0\0HERE";
        let at = whole.windows(mark.len()).position(|bytes| bytes == mark).unwrap();
        archive(&[&whole[..at], opcodes, &whole[at + mark.len()..]].concat(), &[("0", FOUR)])
    };
    assert_eq!(load(&folder, &nested(b"}")).unwrap(), 1);
    // d = {"k": d}
    refused(&nested(b"}q\x01X\x01\0\0\0kh\x01s"), "hold themselves");
    // {"k": {"k": ..}}, a million times.
    let depth = 1_000_000;
    let deep = [b"}X\x01\0\0\0k".repeat(depth), b"N".to_vec(), b"s".repeat(depth)].concat();
    refused(&nested(&deep), "too deep");
    // {"a": x, "b": x}, with x of the same form: 2^20 values when written out.
    let shared = b"}q\x01X\x01\0\0\0ah\x00sX\x01\0\0\0bh\x00sq\x000".repeat(20);
    refused(&nested(&[b"Nq\x000".as_slice(), &shared, b"h\x00"].concat()), "too large");
    // An omegaconf node that is its own parent.
    let own_parent = b"comegaconf.dictconfig\nDictConfig\n)\x81q\x01}X\x07\0\0\0_parenth\x01sb";
    assert_eq!(load(&folder, &nested(own_parent)).unwrap(), 1);
    // One that is its own content, and an object of another class that holds itself, which is left out.
    let own_content = b"comegaconf.dictconfig\nDictConfig\n)\x81q\x01}X\x08\0\0\0_contenth\x01sb";
    refused(&nested(own_content), "hold themselves");
    let callback = b"cany\nCallback\n)\x81q\x01}X\x05\0\0\0ownerh\x01sb";
    assert_eq!(load(&folder, &nested(callback)).unwrap(), 1);
    // A million marks, and five million values.
    refused(&nested(&b"(".repeat(1_000_000)), "");
    refused(&nested(&b"]".repeat(5_000_000)), "opcodes");
}

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoints").join(name)
}

#[test]
fn every_truncation_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["zip.pth", "legacy.pth", "lightning.ckpt"] {
        let whole = fs::read(fixture(name)).unwrap();
        for end in 0..whole.len() {
            assert!(load(&folder, &whole[..end]).is_err(), "{name} cut at {end}");
        }
    }
}

/// Peak memory of this process in bytes.
fn peak_memory() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    1024 * line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap()
}

/// Thousands of slightly damaged files cause no panic, no endless loop and no large allocation.
#[test]
fn mutations_neither_panic_nor_fill_the_memory() {
    const ROUNDS: u64 = 10_000;
    let folder = tempfile::tempdir().unwrap();
    let records = records_of("lightning.ckpt");
    let (pickles, storages): (Vec<_>, Vec<_>) = records.into_iter().partition(|(name, _)| name == "data.pkl");
    let repacked = |pickle: &[u8]| {
        let pickle = [("data.pkl".to_owned(), pickle.to_vec())];
        let records = pickle.iter().chain(&storages);
        packed(records.map(|(name, bytes)| (name.clone(), bytes.as_slice(), CompressionMethod::Stored)))
    };
    let as_it_is = |file: &[u8]| file.to_vec();
    // A mutated pickle in an intact archive (whose checksums would detect a change), a file of before PyTorch 1.6, and
    // an archive with mutated bytes.
    type Wrap<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;
    let targets: [(Vec<u8>, Wrap); 3] = [
        (pickles[0].1.clone(), &repacked),
        (fs::read(fixture("legacy.pth")).unwrap(), &as_it_is),
        (fs::read(fixture("zip.pth")).unwrap(), &as_it_is),
    ];
    let before = peak_memory();
    for (target, (original, wrap)) in targets.iter().enumerate() {
        let (mut read, mut refused) = (0, 0);
        for round in 0..ROUNDS {
            let mut draws = RandomStream::new(round, "fuzz").at(target as u64, 0);
            let mut mutant = original.clone();
            for _ in 0..1 + draws.next_u32() % 4 {
                mutate(&mut mutant, || draws.next_u32() as usize);
            }
            match load(&folder, &wrap(&mutant)) {
                Ok(_) => read += 1,
                Err(error) => {
                    assert!(error.kind() == ErrorKind::Missing && error.message().len() < 2000, "{error}");
                    refused += 1;
                }
            }
        }
        // Enough mutants must pass the first checks, or the test covers little.
        assert!(read > ROUNDS / 100 && refused > ROUNDS / 5, "target {target}: {read} read, {refused} refused");
    }
    let grown = peak_memory() - before;
    assert!(grown < 400 << 20, "the memory grew by {} MiB", grown >> 20);
}

/// Flips a bit, writes an opcode, fills a piece with 0xff or zeros, copies a piece, or cuts one out.
fn mutate(bytes: &mut Vec<u8>, mut draw: impl FnMut() -> usize) {
    let at = draw() % bytes.len();
    let piece = at..(at + 1 + draw() % 40).min(bytes.len());
    match draw() % 6 {
        0 => bytes[at] ^= 1 << (draw() % 8),
        1 => bytes[at] = b".()]}0123NRbtuesahjqrcoiQXBTG\x80\x81\x85\x8a\x8b\x8c\x8d\x8e\x93\x94\x95"[draw() % 40],
        2 => bytes[piece].fill(0xff),
        3 => bytes[piece].fill(0),
        4 => {
            let copy = bytes[piece].to_vec();
            let to = draw() % bytes.len();
            bytes.splice(to..to, copy);
        }
        _ if bytes.len() > 100 => drop(bytes.drain(piece)),
        _ => {}
    }
}
