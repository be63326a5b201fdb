use super::*;
use crate::meta::{Choice, Constant, Place, Port, SizeRange, Step, Target, ValueLife};
use tactician_types::DType;

pub(crate) fn sample() -> Plan {
    let step = |name: &str, inputs, outputs, scratch| Step {
        name: name.into(),
        op: "conv + relu".into(),
        problem: "conv".into(),
        tactic: "conv.cpu.direct/14x2".into(),
        kernel: "conv.direct".into(),
        params: vec![1, 2, 3],
        inputs,
        outputs,
        scratch,
        code: None,
        predicted_us: 12.5,
    };
    let port = |name: &str| Port { name: name.into(), dtype: DType::F32, shape: vec![1, 3, 4] };
    let meta = PlanMeta {
        network: "net".into(),
        producer: "tactician 0.1.0".into(),
        target: Target { kind: "cpu".into(), isa: "avx2".into(), threads: 2, ..Target::default() },
        options: [("workspace".to_owned(), "4096".to_owned())].into(),
        inputs: vec![port("x")],
        outputs: vec![port("y")],
        constants: vec![
            Constant { note: "w".into(), offset: 0, len: 100 },
            Constant { note: "b".into(), offset: 256, len: 16 },
        ],
        arena_bytes: 1024,
        scratch_bytes: 512,
        predicted_us: 25.0,
        steps: vec![
            step(
                "a",
                vec![Place::Input { index: 0 }, Place::Constant { index: 0 }],
                vec![Place::Arena { offset: 0, len: 48 }],
                Some(Place::Arena { offset: 512, len: 512 }),
            ),
            step(
                "b",
                vec![Place::Arena { offset: 0, len: 48 }, Place::Constant { index: 1 }],
                vec![Place::Output { index: 0 }],
                None,
            ),
        ],
        values: vec![ValueLife { name: "a".into(), offset: 0, bytes: 48, first: 0, last: 1 }],
        ..PlanMeta::default()
    };
    let constants = (0..272).map(|i| i as u8).collect();
    Plan::new(meta, constants).unwrap()
}

/// A file around metadata, with a right checksum.
fn sealed(meta: &PlanMeta, constants: &[u8]) -> Vec<u8> {
    let mut text = postcard::to_stdvec(meta).unwrap();
    let meta_len = text.len() as u64;
    let start = (HEADER_LEN as u64 + meta_len).next_multiple_of(ALIGNMENT);
    text.resize(start as usize - HEADER_LEN, 0);
    text.extend(constants);
    let mut h = Header {
        meta_len,
        constants_start: start,
        file_len: (HEADER_LEN + text.len()) as u64,
        hash: [0; 32],
    };
    h.hash = hash_of(&h.bytes(), &text);
    [&h.bytes()[..], &text].concat()
}

#[test]
fn round_trips_through_bytes_and_file() {
    let plan = sample();
    let bytes = plan.to_bytes().unwrap();
    assert_eq!(bytes, sealed(&plan.meta, plan.constants().bytes()));
    let again = Plan::from_bytes(bytes.clone()).unwrap();
    assert_eq!(
        (again.meta.clone(), again.constants().bytes()),
        (plan.meta.clone(), plan.constants().bytes())
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.plan");
    plan.save(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);
    let mapped = Plan::open(&path).unwrap();
    assert_eq!((mapped.meta, mapped.constants.bytes()), (plan.meta.clone(), plan.constants().bytes()));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn every_flipped_byte_is_noticed() {
    let bytes = sample().to_bytes().unwrap();
    for i in 0..bytes.len() {
        for bit in [0x01, 0x80] {
            let mut bad = bytes.clone();
            bad[i] ^= bit;
            assert!(Plan::from_bytes(bad).is_err(), "byte {i}");
        }
    }
}

#[test]
fn every_truncation_is_noticed() {
    let bytes = sample().to_bytes().unwrap();
    for n in 0..bytes.len() {
        assert!(Plan::from_bytes(bytes[..n].to_vec()).is_err(), "length {n}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(Plan::from_bytes(longer), Err(LoadError::Length { .. })));
}

#[test]
fn header_fields_have_errors_of_their_own() {
    let bytes = sample().to_bytes().unwrap();
    let with = |at: usize, value: u8| {
        let mut b = bytes.clone();
        b[at] = value;
        Plan::from_bytes(b).map(|_| ()).unwrap_err()
    };
    assert!(matches!(with(0, b'X'), LoadError::NotAPlan));
    assert!(matches!(with(8, 9), LoadError::Version { found: 9 }));
    assert!(matches!(with(26, 9), LoadError::Length { .. }));
    assert!(matches!(with(40, !bytes[40]), LoadError::Checksum));
}

#[test]
fn damaged_metadata_is_refused_field_by_field() {
    let plan = sample();
    let cases: [(&str, fn(&mut PlanMeta)); 15] = [
        ("constant 1", |m| m.constants[1].offset = 300),
        ("constant 0", |m| m.constants[0].len = u64::MAX),
        ("step 0", |m| m.steps[0].inputs[1] = Place::Constant { index: 9 }),
        ("step 0", |m| m.steps[0].inputs[0] = Place::Input { index: 1 }),
        ("step 0", |m| m.steps[0].outputs[0] = Place::Arena { offset: 1024, len: 1 }),
        ("step 0", |m| m.steps[0].outputs[0] = Place::Arena { offset: 1, len: 1 }),
        ("step 0", |m| m.steps[0].outputs[0] = Place::Arena { offset: 512, len: 48 }),
        ("step 0", |m| m.steps[0].outputs[0] = Place::Input { index: 0 }),
        ("step 1", |m| m.steps[1].inputs[0] = Place::Output { index: 0 }),
        ("step 0", |m| m.steps[0].code = Some(9)),
        ("step 0", |m| m.steps[0].scratch = Some(Place::Output { index: 0 })),
        ("output `y`", |m| {
            m.steps.pop();
        }),
        ("input `x`", |m| m.inputs[0].shape = vec![u64::MAX, 2]),
        ("arena", |m| m.arena_bytes = u64::MAX),
        ("value 0", |m| m.values[0].bytes = 5000),
    ];
    for (place, damage) in cases {
        let mut meta = plan.meta.clone();
        damage(&mut meta);
        let text =
            Plan::from_bytes(sealed(&meta, plan.constants().bytes())).map(|_| ()).unwrap_err().to_string();
        assert!(text.contains(place), "{place}: {text}");
    }
}

#[test]
fn random_metadata_never_panics() {
    let good = postcard::to_stdvec(&sample().meta).unwrap();
    let mut seed = 5u64;
    let mut next = move || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize
    };
    for _ in 0..3000 {
        let mut text = good.clone();
        for _ in 0..1 + next() % 4 {
            let at = next() % text.len();
            text[at] = next() as u8;
        }
        let meta_len = text.len() as u64;
        let start = (HEADER_LEN as u64 + meta_len).next_multiple_of(ALIGNMENT);
        text.resize(start as usize - HEADER_LEN + 272, 0);
        let mut h = Header {
            meta_len,
            constants_start: start,
            file_len: (HEADER_LEN + text.len()) as u64,
            hash: [0; 32],
        };
        h.hash = hash_of(&h.bytes(), &text);
        // Whatever comes out, it comes out as a value.
        let _ = Plan::from_bytes([&h.bytes()[..], &text].concat()).map(|p| p.meta);
    }
}

#[test]
fn a_failed_save_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("no/p.plan");
    assert!(sample().save(&missing).unwrap_err().to_string().contains("no/p.plan"));
    let taken = dir.path().join("folder");
    fs::create_dir(&taken).unwrap();
    assert!(sample().save(&taken).is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_draft_is_verified_once_and_before_it_is_a_plan() {
    let plan = sample();
    let bytes = plan.to_bytes().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.plan");
    fs::write(&path, &bytes).unwrap();
    let draft = Draft::open(&path).unwrap();
    assert_eq!(draft.meta(), &plan.meta);
    draft.verify().unwrap();
    assert_eq!(draft.finish().unwrap().meta, plan.meta);
    // The last constant is damaged: the metadata can be read, a plan never comes of it.
    let mut bad = bytes.clone();
    *bad.last_mut().unwrap() ^= 1;
    fs::write(&path, &bad).unwrap();
    let draft = Draft::open(&path).unwrap();
    assert_eq!(draft.meta(), &plan.meta);
    assert!(matches!(draft.verify(), Err(LoadError::Checksum)));
    assert!(matches!(draft.finish(), Err(LoadError::Checksum)));
    // Metadata that does not even decode is called damaged where it is.
    let mut bad = bytes;
    bad[HEADER_LEN..HEADER_LEN + 40].fill(0xff);
    assert!(matches!(Plan::from_bytes(bad), Err(LoadError::Checksum)));
}

/// Found by the fuzzer: metadata may be asked for sizes before it was checked.
#[test]
fn sizes_of_unchecked_metadata_do_not_overflow() {
    let mut meta = sample().meta;
    let huge = Constant { note: "huge".into(), offset: 0, len: u64::MAX - 1 };
    meta.constants.extend([huge.clone(), huge]);
    assert_eq!(meta.constant_bytes(), u64::MAX);
    assert!(Plan::new(meta, vec![]).is_err());
}

#[test]
fn the_record_comes_back() {
    let bare = sample();
    assert!(bare.record().is_empty());
    for len in [1, 100, 255, 256, 5000] {
        let record: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let bytes = sample().with_record(record.clone()).to_bytes().unwrap();
        let plan = Plan::from_bytes(bytes.clone()).unwrap();
        assert_eq!((plan.record(), plan.meta.record_bytes), (&record[..], len));
        assert_eq!(plan.constants().bytes(), bare.constants().bytes());
        assert_eq!(plan.to_bytes().unwrap(), bytes);
    }
}

#[test]
fn a_record_that_is_not_there_is_refused() {
    let plan = sample();
    for record_bytes in [1 << 20, u64::MAX] {
        let meta = PlanMeta { record_bytes, ..plan.meta.clone() };
        let e = Plan::from_bytes(sealed(&meta, plan.constants().bytes())).unwrap_err();
        assert!(matches!(&e, LoadError::Invalid { place, .. } if place == "record"), "{e}");
        assert!(Plan::new(meta, plan.constants().bytes().to_vec()).is_err());
    }
}

/// A profile of the sample's input, whose sizes it has at `opt`.
fn profile(meta: &PlanMeta, max: u64) -> Profile {
    let range = |&n: &u64| SizeRange { min: 1, opt: n, max: n.max(max) };
    Profile {
        inputs: meta.inputs.iter().map(|p| p.shape.iter().map(range).collect()).collect(),
        arena_bytes: 4096,
        scratch_bytes: 512,
        choices: vec![Choice { nodes: vec!["a".into(), "b".into()], tactic: "t".into() }],
    }
}

#[test]
fn profiles_and_the_network_come_back() {
    let bare = sample();
    let profiles = vec![profile(&bare.meta, 64), profile(&bare.meta, 128)];
    for len in [1, 255, 256, 5000] {
        let network: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let plan = sample().with_record(vec![7; 300]);
        let plan = plan.with_profiles(profiles.clone(), NetworkForm::Onnx, network.clone()).unwrap();
        let bytes = plan.to_bytes().unwrap();
        let again = Plan::from_bytes(bytes.clone()).unwrap();
        assert_eq!(again.meta.profiles, profiles);
        assert_eq!((again.network().bytes(), again.record()), (&network[..], &[7; 300][..]));
        assert_eq!(again.constants().bytes(), bare.constants().bytes());
        assert_eq!(again.to_bytes().unwrap(), bytes);
        let dir = tempfile::tempdir().unwrap();
        plan.save(dir.path().join("p")).unwrap();
        assert_eq!(Plan::open(&dir.path().join("p")).unwrap().network().bytes(), network);
    }
}

#[test]
fn profiles_that_contradict_the_plan_are_refused() {
    let refused = |change: &dyn Fn(&mut Profile)| {
        let mut p = profile(&sample().meta, 64);
        change(&mut p);
        let e = sample().with_profiles(vec![p], NetworkForm::Onnx, vec![1]).unwrap_err();
        assert!(matches!(&e, LoadError::Invalid { place, .. } if place == "profile 0"), "{e}");
    };
    refused(&|p| p.inputs.clear());
    refused(&|p| p.inputs[0].clear());
    refused(&|p| p.inputs[0][0].min = p.inputs[0][0].opt + 1);
    refused(&|p| p.inputs[0][0].max = 0);
    refused(&|p| p.inputs[0][0] = SizeRange { min: 99, opt: 99, max: 99 });
    refused(&|p| p.inputs[0][0].max = u64::MAX);
    refused(&|p| p.arena_bytes = u64::MAX);
    refused(&|p| p.scratch_bytes = p.arena_bytes + 1);
    let good = || vec![profile(&sample().meta, 64)];
    assert!(sample().with_profiles(good(), NetworkForm::None, vec![1]).is_err());
    assert!(sample().with_profiles(good(), NetworkForm::Graph, vec![]).is_err());
    assert!(sample().with_profiles(vec![], NetworkForm::Graph, vec![1]).is_err());
    let meta = PlanMeta {
        profiles: good(),
        network_form: NetworkForm::Onnx,
        network_bytes: u64::MAX,
        ..sample().meta
    };
    let e = Plan::from_bytes(sealed(&meta, sample().constants().bytes())).unwrap_err();
    assert!(matches!(&e, LoadError::Invalid { place, .. } if place == "network"), "{e}");
}
