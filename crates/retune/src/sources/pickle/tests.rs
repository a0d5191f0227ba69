use proptest::prelude::*;

use super::*;

/// Written by `tests/fixtures/datasets/generate.py`.
const PROTOCOLS: [&[u8]; 4] = [
    include_bytes!("../../../tests/fixtures/datasets/pickles/protocol2.pickle"),
    include_bytes!("../../../tests/fixtures/datasets/pickles/protocol3.pickle"),
    include_bytes!("../../../tests/fixtures/datasets/pickles/protocol4.pickle"),
    include_bytes!("../../../tests/fixtures/datasets/pickles/protocol5.pickle"),
];

/// As Python 2 and NumPy 1 wrote the published files.
const PUBLISHED: &[u8] = include_bytes!("../../../tests/fixtures/datasets/cifar-10-batches-py/data_batch_2");

fn elements(file: &[u8], key: &str) -> Vec<u8> {
    let pickle = Pickle::read(file).unwrap();
    match pickle.elements(pickle.array(key).unwrap()) {
        Bytes::InFile(range) => file[range].to_vec(),
        Bytes::Decoded(bytes) => bytes,
    }
}

#[test]
fn every_protocol_gives_the_values_that_were_written() {
    for file in PROTOCOLS {
        let pickle = Pickle::read(file).unwrap();
        let data = pickle.array("data").unwrap();
        assert_eq!(data.shape, [2, 125]);
        assert!(data.has_bytes());
        assert_eq!(elements(file, "data"), (0..250).collect::<Vec<u8>>());
        assert_eq!(pickle.integers("labels").unwrap(), [3, -1]);
        assert_eq!(pickle.integers("array").unwrap(), [1, -(1 << 40)]);
        assert_eq!(pickle.integers("big").unwrap(), [258]);
        assert_eq!(pickle.integers("scalars").unwrap(), [7, -7]);
        assert_eq!(pickle.texts("names").unwrap(), ["ant", "ameise ß"]);
        assert_eq!(pickle.first_of(&["absent", "names", "data"]), Some("names"));
        assert!(pickle.integers("names").is_err() && pickle.texts("labels").is_err() && pickle.array("names").is_err());
    }
}

#[test]
fn pixels_of_the_published_files_are_found_by_their_place() {
    let pickle = Pickle::read(PUBLISHED).unwrap();
    let data = pickle.array("data").unwrap();
    assert_eq!(data.shape, [1, 3072]);
    assert!(matches!(pickle.elements(data), Bytes::InFile(_)));
    assert_eq!(elements(PUBLISHED, "data")[..3], [7, 18, 29]);
}

/// `pickle.dumps` of an object whose `__reduce__` is `(os.system, ("echo",))`, and of things that no data set holds.
#[test]
fn what_would_run_a_program_is_refused_by_its_name() {
    let attack =
        b"\x80\x04\x95\x1f\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x04echo\x94\x85\x94R\x94.";
    let error = Pickle::read(attack).err().unwrap();
    assert!(error.contains("posix.system") && error.contains("nothing of it was run"), "{error}");
    let attack = b"\x80\x02cposix\nsystem\nq\0X\x04\0\0\0echoq\x01\x85q\x02Rq\x03.";
    assert!(Pickle::read(attack).err().unwrap().contains("posix.system"));
    let others: [(&[u8], &str); 5] = [
        (b"", "does not begin"),
        (b"(dp0\n.", "does not begin"),
        (b"\x80\x02K\x01.", "holds no dictionary"),
        (b"\x80\x02}", "ends early"),
        (b"\x80\x02\x81.", "instruction 0x81"),
    ];
    for (file, expected) in others {
        let error = Pickle::read(file).err().unwrap();
        assert!(error.contains(expected), "{file:?}: {error}");
    }
}

/// A file of 1 kB must not claim much more memory: lengths are checked against the file before anything is taken, and one
/// text cannot be decoded again and again.
#[test]
fn small_files_cannot_claim_large_memory() {
    for text in [
        &b"\x80\x02T\xff\xff\xff\x7f"[..],
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x80\x05\x96\0\0\0\0\0\0\0\x80",
    ] {
        assert_eq!(Pickle::read(text).err().unwrap(), "it ends early");
    }
    let mut again = b"\x80\x02c_codecs\nencode\nq\0X\x64\x00\x00\x00".to_vec();
    again.extend("ÿ".repeat(50).bytes());
    again.extend(b"q\x01X\x06\0\0\0latin1q\x02");
    for _ in 0..100 {
        again.extend(b"h\0h\x01h\x02\x86R");
    }
    assert!(Pickle::read(&again).err().unwrap().contains("one text many times"));
}

#[test]
fn every_truncation_is_an_error() {
    for file in PROTOCOLS.into_iter().chain([PUBLISHED]) {
        for length in 0..file.len() {
            assert!(Pickle::read(&file[..length]).is_err(), "{length}");
        }
    }
}

/// Reads everything that a data set asks for.
fn use_all(file: &[u8]) {
    let Ok(pickle) = Pickle::read(file) else { return };
    for key in ["data", "labels", "array", "big", "scalars", "names"] {
        let _ = (pickle.integers(key), pickle.texts(key));
        if let Ok(array) = pickle.array(key)
            && let Bytes::InFile(range) = pickle.elements(array)
        {
            assert!(range.end <= file.len());
        }
    }
}

proptest! {
    #[test]
    fn changed_bytes_never_panic(which in 0usize..5, at in any::<proptest::sample::Index>(), bytes in proptest::collection::vec(any::<u8>(), 1..4)) {
        let mut file = PROTOCOLS.into_iter().chain([PUBLISHED]).nth(which).unwrap().to_vec();
        // Most bytes are pixels; what matters is before them.
        let at = at.index(file.len().min(900));
        for (place, byte) in file[at..].iter_mut().zip(bytes) {
            *place = byte;
        }
        use_all(&file);
    }

    #[test]
    fn arbitrary_programs_never_panic(program in proptest::collection::vec(
        prop_oneof![any::<u8>().boxed(), proptest::sample::select(b"(012NJKMGTBXUC]})tldaesuqrhjcRb.\x8c\x8e\x96\x85\x86\x87\x88\x89\x8a\x93\x94".to_vec()).boxed()],
        0..200,
    )) {
        use_all(&[b"\x80\x04", &program[..]].concat());
    }
}
