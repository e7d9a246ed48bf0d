//! Real pickles in every protocol, and hostile ones. `tests/fixtures/make_pickles.py` makes the files.

use std::convert::Infallible;

use super::array::{NumpyArray, NumpyDtype, NumpyObject};
use super::{Heap, Pickle, PickleValue, PlainDialect, ValueId, load};
use crate::error::{ErrorKind, Result};

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../tests/fixtures/pickle/", $name, ".pkl")).as_slice()
    };
}

const BATCHES: [(&str, &[u8]); 5] = [
    ("python2", fixture!("batch_python2")),
    ("0", fixture!("batch_0")),
    ("2", fixture!("batch_2")),
    ("4", fixture!("batch_4")),
    ("5", fixture!("batch_5")),
];

fn unfold(input: &[u8]) -> Result<Pickle<Infallible>> {
    load(input, &mut PlainDialect)
}

/// The message of the error, which must be of kind `Missing` and have a hint.
fn refusal(input: &[u8]) -> String {
    let error = unfold(input).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    assert!(error.hint_text().is_some());
    error.message().to_string()
}

fn ints(heap: &Heap<Infallible>, id: ValueId) -> Vec<i128> {
    heap.items(id).unwrap().iter().map(|&id| heap.int(id).unwrap()).collect()
}

fn array(pickle: &Pickle<Infallible>, key: &str) -> NumpyArray {
    match pickle.heap.get(pickle.heap.entry(pickle.root, key).unwrap()) {
        PickleValue::Numpy(NumpyObject::Array(array)) => array.clone(),
        other => panic!("{key} is a {}", other.type_name()),
    }
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn plain_data_in_every_protocol() {
    for (protocol, input) in [
        fixture!("plain_0"),
        fixture!("plain_1"),
        fixture!("plain_2"),
        fixture!("plain_3"),
        fixture!("plain_4"),
        fixture!("plain_5"),
    ]
    .into_iter()
    .enumerate()
    {
        let Pickle { heap, root, length } = unfold(input).unwrap_or_else(|e| panic!("protocol {protocol}: {e}"));
        assert_eq!(length, input.len());
        let id = |key| heap.entry(root, key).unwrap_or_else(|| panic!("protocol {protocol}: no {key}"));
        let get = |key| heap.get(id(key));
        let member = |key, i: usize| heap.get(heap.items(id(key)).unwrap()[i]);

        assert!(matches!(get("none"), PickleValue::None));
        assert!(matches!(member("booleans", 0), PickleValue::Bool(true)));
        assert!(matches!(member("booleans", 1), PickleValue::Bool(false)));
        let integers = [0, 255, 256, 65535, 65536, -1, -(1 << 31), 1 << 40, -(1 << 100)];
        assert_eq!(ints(&heap, id("integers")), integers);
        for (i, wanted) in [1.5_f64, -0.0, 1e300].into_iter().enumerate() {
            let PickleValue::Float(value) = member("floats", i) else { panic!("protocol {protocol}: no float") };
            assert_eq!(value.to_bits(), wanted.to_bits());
        }
        assert_eq!(heap.text(id("text")), Some("grün €\n\\u0041"));
        let all: Vec<u8> = (0..=255).collect();
        for (key, wanted) in [("bytes", all.as_slice()), ("no bytes", b""), ("bytearray", b"ab")] {
            let PickleValue::Bytes(bytes) = get(key) else { panic!("protocol {protocol}: {key} is no bytes") };
            assert_eq!(**bytes, *wanted);
        }
        for (i, &tuple) in heap.items(id("tuples")).unwrap().iter().enumerate() {
            assert!(matches!(heap.get(tuple), PickleValue::Tuple(_)));
            assert_eq!(ints(&heap, tuple), (1..=i as i128).collect::<Vec<_>>());
        }
        for (key, wanted) in [("set", 7), ("frozenset", 8)] {
            let PickleValue::Set(members) = get(key) else { panic!("protocol {protocol}: {key} is no set") };
            assert_eq!(members.iter().map(|&id| heap.int(id)).collect::<Vec<_>>(), [Some(wanted)]);
        }
        let PickleValue::Dict(ordered) = get("ordered") else { panic!("protocol {protocol}: no OrderedDict") };
        let ordered: Vec<_> = ordered.iter().map(|&(k, v)| (heap.text(k), heap.int(v))).collect();
        assert_eq!(ordered, [(Some("b"), Some(1)), (Some("a"), Some(2))]);
        let shared = heap.items(id("shared")).unwrap();
        assert_eq!(shared[0], shared[1]);
        assert_eq!(heap.items(heap.entry(id("cycle"), "self").unwrap()), Some([id("cycle")].as_slice()));
        assert_eq!(ints(&heap, id("many")), (0..2500).collect::<Vec<_>>());
        assert!(heap.entry(root, "absent").is_none());
    }
}

#[test]
fn cifar_batches_in_every_protocol() {
    let pixels: Vec<u8> = (0..3).flat_map(|i| (0..3072).map(move |j| (31 * i + j) as u8)).collect();
    for (protocol, input) in BATCHES {
        let batch = unfold(input).unwrap_or_else(|e| panic!("protocol {protocol}: {e}"));
        let data = array(&batch, "data");
        assert_eq!((data.dtype, data.shape.as_slice()), (NumpyDtype::U8, [3, 3072].as_slice()));
        assert_eq!(*data.row_major(), *pixels, "protocol {protocol}");
        assert_eq!(ints(&batch.heap, batch.heap.entry(batch.root, "labels").unwrap()), [3, 0, 9]);
    }
}

#[test]
fn arrays_of_other_types_and_orders() {
    let arrays = unfold(fixture!("arrays")).unwrap();
    let fortran = array(&arrays, "fortran");
    assert_eq!((fortran.dtype.to_string().as_str(), fortran.shape.as_slice()), ("i2", [2, 3, 4].as_slice()));
    let wanted: Vec<u8> = (0..24_i16).flat_map(i16::to_le_bytes).collect();
    assert_eq!(*fortran.row_major(), *wanted);
    let big = array(&arrays, "big_endian");
    assert_eq!((big.dtype.to_string().as_str(), &*big.row_major()), (">i4", [0, 0, 0, 1, 0, 0, 0, 2].as_slice()));
    assert_eq!(*array(&arrays, "float").row_major(), 0.5_f32.to_le_bytes());
    assert_eq!((array(&arrays, "scalar").shape, &*array(&arrays, "scalar").row_major()), (vec![], [7].as_slice()));
    assert_eq!((array(&arrays, "empty").shape, &*array(&arrays, "empty").row_major()), (vec![0, 3], [].as_slice()));
    let same = arrays.heap.items(arrays.heap.entry(arrays.root, "same").unwrap()).unwrap();
    assert_eq!(same[0], same[1]);
    assert!(matches!(arrays.heap.get(same[0]), PickleValue::Numpy(NumpyObject::Array(_))));
}

#[test]
fn a_command_is_named_and_not_run() {
    for (input, name) in [(fixture!("system_2"), "posix.system"), (fixture!("system_4"), "posix.system")] {
        assert!(refusal(input).contains(name), "{}", refusal(input));
    }
    for (input, name) in [
        (b"cos\nsystem\n(S'ls'\ntR.".as_slice(), "os.system"),
        (b"(cos\nsystem\nS'ls'\no.", "os.system"),
        (b"(S'ls'\nios\nsystem\n.", "os.system"),
        (b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85\x81.", "builtins.eval"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93)}\x92.", "os.system"),
        (b"cnumpy.core.multiarray\n_reconstruct\n(cos\nsystem\n(tS'b'\ntR.", "os.system"),
    ] {
        assert!(refusal(input).contains(name), "{}", refusal(input));
    }
    // A name that is not called is harmless. A call of a value that is no name is an error.
    assert!(matches!(
        unfold(b"cos\nsystem\n.").unwrap().heap.get(unfold(b"cos\nsystem\n.").unwrap().root),
        PickleValue::Global(_)
    ));
    assert!(refusal(b"I1\n(tR.").contains("calls a int"));
    // Names that act, below harmless ones and in the arguments of harmless calls.
    for (input, name) in [
        (b"\x80\x04\x8c\x0bcollections\x8c\x09os.system\x93)R.".as_slice(), "collections.os.system"),
        (b"\x80\x04\x8c\x05torch\x8c\x09os.system\x93)R.", "torch.os.system"),
        (b"cfunctools\npartial\n(cos\nsystem\ntR.", "os.system"),
        (b"cfunctools\npartial\n(cany\nthing\ntR(cos\nsystem\nN(dNtb.", "os.system"),
        (b"ccopyreg\n__newobj__\n(cos\nsystem\ntR.", "os.system"),
        (b"ccopy_reg\n_reconstructor\n(csubprocess\nPopen\nc__builtin__\nobject\nNtR.", "subprocess.Popen"),
        (b"c__builtin__\ngetattr\n(cos\nenviron\nVpop\ntR.", "__builtin__.getattr"),
        (b"cbuiltins\ngetattr\n(cany\nThing\nV__globals__\ntR.", "builtins.getattr"),
        (b"cbuiltins\ngetattr\n(cbuiltins\ndict\nVget\ntR.", "builtins.getattr"),
        (b"cbuiltins\ngetattr\n(Vtext\nVformat\ntR.", "builtins.getattr"),
        (b"coperator\nattrgetter\n(Vsystem\ntR.", "operator.attrgetter"),
    ] {
        assert!(refusal(input).contains(name), "{}", refusal(input));
    }
    // A name from the input must not send control characters to the terminal.
    assert!(!refusal(b"co\x1b[2Js\nsystem\n(tR.").contains('\x1b'));
}

#[test]
fn every_truncation_is_refused() {
    for (protocol, input) in BATCHES {
        for end in 0..input.len() {
            assert!(unfold(&input[..end]).is_err(), "protocol {protocol} cut at {end}");
        }
    }
}

/// No single flipped byte may cause a panic, a hang or unbounded allocation. Many flips stay undetected: those of
/// pixels.
#[test]
fn no_flipped_byte_panics() {
    for (_, input) in BATCHES.into_iter().chain([("", fixture!("arrays")), ("", fixture!("plain_0"))]) {
        // Only the bytes around the pixels are flipped: pixels have no structure.
        for at in (0..input.len()).filter(|&at| at < 400 || at + 400 > input.len()) {
            for flip in [0x01, 0x08, 0x80, 0xff] {
                let mut damaged = input.to_vec();
                damaged[at] ^= flip;
                if let Ok(pickle) = unfold(&damaged) {
                    drop(pickle);
                }
            }
        }
    }
}

#[test]
fn claimed_lengths_are_not_believed() {
    let huge = u64::MAX.to_le_bytes();
    for opcode in [0x8d, 0x8e, 0x95, 0x96] {
        assert!(refusal(&joined(&[b"\x80\x05", &[opcode], &huge, b"abc."])).contains("ends too early"));
    }
    for opcode in [b'T', b'B', b'X', 0x8b] {
        assert!(refusal(&joined(&[b"\x80\x03", &[opcode], &[0xff; 4], b"abc."])).contains("ends too early"));
    }
    // A memo key is a key, not a size.
    assert!(unfold(b"Nr\xff\xff\xff\xff0j\xff\xff\xff\xff.").is_ok());
    assert!(refusal(b"h\x07.").contains("never stored"));
    // A shape with fewer bytes than it needs, and sizes with a product that overflows.
    let shaped =
        |shape: &str| format!("cnumpy.core.numeric\n_frombuffer\n(S'abc'\ncnumpy\ndtype\n(S'u1'\ntR({shape}tS'C'\ntR.");
    assert!(unfold(shaped("I3\n").as_bytes()).is_ok());
    assert!(refusal(shaped("I4\n").as_bytes()).contains("has 3 bytes, wanted 4"));
    assert!(refusal(shaped(&"I4294967296\n".repeat(3)).as_bytes()).contains("more than memory can hold"));
    assert!(refusal(shaped("I-3\n").as_bytes()).contains("shape"));
    assert!(refusal(shaped(&"I1\n".repeat(65)).as_bytes()).contains("up to 64"));
}

#[test]
fn deep_nesting_and_cycles_cost_no_stack() {
    let depth = 1_000_000;
    let nested = joined(&[b"]", &b"\x85".repeat(depth), b"."]);
    let Pickle { heap, root, .. } = unfold(&nested).unwrap();
    let mut id = root;
    for _ in 0..depth {
        id = heap.items(id).unwrap()[0];
    }
    assert!(matches!(heap.get(id), PickleValue::List(items) if items.is_empty()));
    drop(heap);

    // A list that holds itself, and a tuple that holds the list that holds the tuple.
    let Pickle { heap, root, .. } = unfold(b"]q\x00h\x00a.").unwrap();
    assert_eq!(heap.items(root), Some([root].as_slice()));
    let Pickle { heap, root, .. } = unfold(b"]q\x00h\x00\x85a.").unwrap();
    let tuple = heap.items(root).unwrap()[0];
    assert_eq!(heap.items(tuple), Some([root].as_slice()));
}

#[test]
fn small_inputs_do_not_unfold_to_large_ones() {
    // One text of 1 MiB, encoded a thousand times.
    let text = vec![b'a'; 1 << 20];
    let once = b"h\x00h\x01X\x06\x00\x00\x00latin1\x86R0";
    let bomb = joined(&[
        b"\x80\x02c_codecs\nencode\nq\x00X",
        &(text.len() as u32).to_le_bytes(),
        &text,
        b"q\x01",
        &once.repeat(1000),
        b"N.",
    ]);
    assert!(refusal(&bomb).contains("unfold to more than"), "{}", refusal(&bomb));
    assert!(refusal(&b"N".repeat(5_000_000)).contains("opcodes"));

    // Tuples that hold the previous one twice: 2^60 elements when written out, but 60 values in memory.
    let doubled = joined(&[b"]", &b"2\x86".repeat(60), b"."]);
    assert!(unfold(&doubled).is_ok());
}

/// Objects of any class are kept, with everything that the pickle says of them.
#[test]
fn objects_of_unknown_classes_are_records() {
    let record = |input: &[u8]| {
        let Pickle { heap, root, .. } = unfold(input).unwrap_or_else(|error| panic!("{error}"));
        let PickleValue::Record(record) = heap.get(root).clone() else { panic!("{}", heap.get(root).type_name()) };
        let attributes = heap.attributes(root).len();
        (record.class.to_string(), record.args.len(), attributes, record.items.len(), record.entries.len())
    };
    let wanted = |class: &str, counts: [usize; 4]| (class.to_owned(), counts[0], counts[1], counts[2], counts[3]);
    // NEWOBJ with attributes, slots, keywords; subclasses of list, set, dict; the forms of older protocols.
    assert_eq!(record(b"\x80\x02cany\nThing\nI1\n\x85\x81}b."), wanted("any.Thing", [1, 1, 0, 0]));
    assert_eq!(record(b"\x80\x02cany\nThing\n)\x81N}\x86b."), wanted("any.Thing", [0, 1, 0, 0]));
    assert_eq!(record(b"\x80\x04cany\nThing\n)}VK\nI1\ns\x92."), wanted("any.Thing", [0, 1, 0, 0]));
    assert_eq!(record(b"\x80\x02cany\nList\n)\x81(I1\nI2\ne."), wanted("any.List", [0, 0, 2, 0]));
    assert_eq!(record(b"\x80\x04cany\nSet\n)\x81(I1\n\x90."), wanted("any.Set", [0, 0, 1, 0]));
    assert_eq!(record(b"\x80\x02ceasydict\nEasyDict\n)\x81}b(Va\nI1\nu."), wanted("easydict.EasyDict", [0, 1, 0, 1]));
    assert_eq!(
        record(b"ccopy_reg\n_reconstructor\n(cany\nDict\nc__builtin__\ndict\n(Va\nI1\ndtR."),
        wanted("any.Dict", [1, 0, 0, 1])
    );
    assert_eq!(record(b"(cany\nThing\nI1\no."), wanted("any.Thing", [1, 0, 0, 0]));
    // A nested class, and a method: both were written with `getattr` before protocol 4.
    assert_eq!(
        record(b"cbuiltins\ngetattr\n(cany\nOuter\nVInner\ntR(I1\ntR."),
        wanted("any.Outer.Inner", [1, 0, 0, 0])
    );
    assert_eq!(record(b"cbuiltins\ngetattr\n(cany\nOuter\n)\x81V_step\ntR."), wanted("any.Outer._step", [1, 0, 0, 0]));
    // Elements that are no numbers: objects, text, dates, records.
    for dtype in ["O8", "U3", "M8[ns]", "V16"] {
        let input = format!("cnumpy\ndtype\n(S'{dtype}'\ntR.");
        assert_eq!(record(input.as_bytes()), wanted("numpy.dtype", [1, 0, 0, 0]));
    }
}

/// numpy's scalars become plain numbers and text, under the names of numpy 1 and 2.
#[test]
fn numpy_scalars_are_plain() {
    let scalar = |module: &str, dtype: &str, state: &str, bytes: &str| {
        let dtype = format!("cnumpy\ndtype\n(V{dtype}\ntR(I3\nV{state}\nNNNI-1\nI-1\nI0\ntb");
        let bytes = format!("c_codecs\nencode\n(V{bytes}\nVlatin1\ntR");
        let input = format!("cnumpy.{module}.multiarray\nscalar\n({dtype}{bytes}tR.");
        let Pickle { heap, root, .. } = unfold(input.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        format!("{:?}", heap.get(root))
    };
    for module in ["core", "_core"] {
        assert_eq!(scalar(module, "f8", "<", "\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000\\u00f8?"), "Float(1.5)");
        assert_eq!(scalar(module, "f4", "<", "\\u0000\\u0000\\u00c0?"), "Float(1.5)");
        assert_eq!(scalar(module, "i2", ">", "\\u00ff\\u00fe"), "Int(-2)");
        assert_eq!(scalar(module, "u2", "<", "\\u00fe\\u00ff"), "Int(65534)");
        assert_eq!(scalar(module, "b1", "|", "\\u0001"), "Bool(true)");
        assert_eq!(scalar(module, "U2", "<", "a\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000"), "Str(\"a\")");
        assert!(scalar(module, "M8", "<", "\\u0000").contains("Record"));
    }
}

#[test]
fn nonsense_is_refused() {
    for (input, what) in [
        (b"".as_slice(), "ends too early"),
        (b".", "empty stack"),
        (b"\x80\x06N.", "protocol 6"),
        (b"\xff.", "no opcode"),
        (b"t.", "never set"),
        (b"N(\x85.", "no 1 values"),
        (b"N(R.", "empty stack"),
        (b"NNa.", "appends to a None"),
        (b"NNs.", "empty stack"),
        (b"NNNs.", "sets items of a None"),
        (b"}(Nu.", "without a value"),
        (b"NNb.", "state of a None"),
        (b"I12x\n.", "integer"),
        (b"I12", "within a line"),
        (b"S'abc\n.", "quoted string"),
        (b"S'a\\q'\n.", "quoted string"),
        (b"V\\u12\n.", "text line"),
        (b"X\x01\x00\x00\x00\xff.", "UTF-8"),
        (b"\x82\x01.", "extension"),
        (b"\x97.", "outside"),
        (b"Pname\n.", "outside of itself"),
        (b"c_codecs\nencode\n(VA\nVrot13\ntR.", "_codecs.encode"),
        (b"c_codecs\nencode\n(V\\u20ac\nVlatin1\ntR.", "_codecs.encode"),
        (b"cnumpy\ndtype\n(S'f4'\ntR(I3\nS'<'\nN(S'x'\ntNtb.", "records"),
    ] {
        assert!(refusal(input).contains(what), "{:?}: {}", String::from_utf8_lossy(input), refusal(input));
    }
    // POP also removes a mark, if one is on top.
    assert!(unfold(b"N(0.").is_ok());
    // The bytes after STOP are not read.
    let Pickle { heap, root, length } = unfold(b"U\x02ab.trailing").unwrap();
    assert!(matches!(heap.get(root), PickleValue::Bytes(bytes) if **bytes == *b"ab"));
    assert_eq!(length, 5);
}
