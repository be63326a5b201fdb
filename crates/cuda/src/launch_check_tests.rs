use super::*;

const HOPPER: Limits = Limits { capability: (9, 0), shared_bytes: 232_448 };

fn sample() -> Launch {
    Launch {
        entry: "add".into(),
        grid: [4, 2, 1],
        block: [128, 1, 1],
        cluster: [1, 1, 1],
        shared: 1024,
        overlaps: false,
        args: vec![LaunchArg::Span(0), LaunchArg::Span(1), LaunchArg::Bytes(vec![1, 0, 0, 0])],
    }
}

fn map() -> TensorMap {
    TensorMap { span: 0, element: 2, sizes: vec![64, 8], steps: vec![128], tile: vec![64, 8], swizzle: 128 }
}

/// Decodes launches as the only step over one input and one output of 1024 bytes each.
fn decoded(launches: Vec<Launch>, limits: Limits) -> Result<Launches, String> {
    let params = postcard::to_stdvec(&Launches(launches)).unwrap();
    decode(&desc(&params), limits)
}

fn desc(params: &[u8]) -> StepDesc<'_> {
    StepDesc { kernel: Launches::NAME, params, inputs: &[1024], outputs: &[1024], scratch: 0, code: None }
}

#[track_caller]
fn refused(change: impl Fn(&mut Launch), limits: Limits, what: &str) {
    let mut l = sample();
    change(&mut l);
    let e = decoded(vec![l], limits).unwrap_err();
    assert!(e.contains(what), "{e}");
}

#[track_caller]
fn map_refused(change: impl Fn(&mut TensorMap), what: &str) {
    let mut m = map();
    change(&mut m);
    refused(move |l| l.args[0] = LaunchArg::TensorMap(m.clone()), HOPPER, what);
}

#[test]
fn sound_launches_pass() {
    let mut mapped = sample();
    mapped.args[0] = LaunchArg::TensorMap(map());
    mapped.cluster = [2, 1, 1];
    let list = vec![sample(), mapped];
    assert_eq!(decoded(list.clone(), HOPPER).unwrap().0, list);
}

#[test]
fn shapes_outside_the_limits_are_refused() {
    refused(|l| l.entry.clear(), HOPPER, "no name");
    refused(|l| l.grid[1] = 0, HOPPER, "grid");
    refused(|l| l.grid[2] = 65536, HOPPER, "grid");
    refused(|l| l.block[2] = 65, HOPPER, "block");
    refused(|l| l.block = [64, 32, 1], HOPPER, "2048 threads");
    refused(|l| l.cluster = [4, 4, 2], HOPPER, "cluster");
    refused(|l| l.cluster = [3, 1, 1], HOPPER, "no multiple");
    refused(|l| l.cluster = [2, 1, 1], Limits { capability: (8, 9), ..HOPPER }, "does not have");
    refused(|l| l.shared = 232_449, HOPPER, "shared memory");
    assert!(decoded(vec![], HOPPER).unwrap_err().contains("0 launches"));
    assert!(decoded(vec![sample(); Launches::MOST + 1], HOPPER).unwrap_err().contains("1025 launches"));
}

#[test]
fn parameters_outside_the_limits_are_refused() {
    refused(|l| l.args[0] = LaunchArg::Span(3), HOPPER, "argument 3 does not exist, the step has 3");
    refused(|l| l.args[2] = LaunchArg::Bytes(vec![]), HOPPER, "no bytes");
    refused(|l| l.args = vec![LaunchArg::Span(0); 65], HOPPER, "65 parameters");
    refused(|l| l.args = vec![LaunchArg::Bytes(vec![0; 5000])], HOPPER, "5000 bytes");
    refused(|l| l.args = vec![LaunchArg::TensorMap(map()); 9], HOPPER, "9 tensor maps");
    refused(
        |l| l.args[0] = LaunchArg::TensorMap(map()),
        Limits { capability: (8, 0), ..HOPPER },
        "does not have",
    );
}

#[test]
fn tensor_maps_stay_inside_their_argument() {
    map_refused(|m| m.span = 9, "argument 9");
    map_refused(|m| m.span = 2, "reaches 1024 bytes into an argument of 0");
    map_refused(|m| m.element = 8, "8 bytes");
    map_refused(|m| m.sizes.clear(), "rank");
    map_refused(|m| m.steps.push(16), "rank");
    map_refused(|m| m.sizes[1] = 0, "sizes");
    map_refused(|m| m.steps[0] = 120, "multiples of 16");
    map_refused(|m| m.tile[0] = 257, "256");
    map_refused(|m| m.tile[0] = 4, "row of 8 bytes");
    map_refused(|m| m.tile[0] = 128, "exceeds the swizzle");
    map_refused(|m| m.swizzle = 16, "no swizzle of 16");
    map_refused(|m| m.sizes[1] = 9, "reaches 1152 bytes");
    map_refused(|m| m.sizes = vec![1 << 32; 2], "reaches");
    map_refused(
        |m| {
            *m = TensorMap {
                sizes: vec![1 << 32; 5],
                steps: vec![(1 << 40) - 16; 4],
                tile: vec![16; 5],
                ..map()
            }
        },
        "reaches",
    );
}

fn windows() -> WindowMap {
    WindowMap {
        span: 0,
        element: 2,
        sizes: [8, 4, 4, 4],
        first: [-1, -1],
        last: [-1, -1],
        strides: [1, 2],
        channels: 8,
        pixels: 64,
        swizzle: 128,
    }
}

#[track_caller]
fn windows_refused(change: impl Fn(&mut WindowMap), what: &str) {
    let mut m = windows();
    change(&mut m);
    refused(move |l| l.args[0] = LaunchArg::WindowMap(m.clone()), HOPPER, what);
}

#[test]
fn maps_of_windows_stay_inside_their_argument() {
    let mut sound = sample();
    sound.args[0] = LaunchArg::WindowMap(windows());
    assert_eq!(decoded(vec![sound.clone()], HOPPER).unwrap().0, [sound.clone()]);
    let old = Limits { capability: (8, 9), ..HOPPER };
    assert!(decoded(vec![sound], old).unwrap_err().contains("does not have"));
    windows_refused(|m| m.span = 7, "argument 7");
    windows_refused(|m| m.element = 3, "3 bytes");
    windows_refused(|m| m.sizes[3] = 0, "sizes");
    windows_refused(|m| m.sizes[3] = 5, "reach beyond an argument of 1024");
    windows_refused(|m| m.sizes = [1 << 32; 4], "reach beyond");
    windows_refused(|m| m.sizes = [4, 4, 4, 4], "multiples of 16");
    windows_refused(|m| m.channels = 257, "257 channels");
    windows_refused(|m| m.channels = 4, "row of 8 bytes");
    windows_refused(|m| m.channels = 72, "exceeds the swizzle");
    windows_refused(|m| m.pixels = 0, "0 pixels");
    windows_refused(|m| m.swizzle = 7, "no swizzle of 7");
    windows_refused(|m| m.strides[1] = 9, "strides");
    windows_refused(|m| m.strides[0] = 0, "strides");
    windows_refused(|m| m.first[0] = -129, "leave -128");
    windows_refused(|m| m.last[1] = 128, "leave -128");
    windows_refused(|m| m.last[1] = -5, "no windows");
}

#[test]
fn damaged_parameters_never_panic() {
    let params = postcard::to_stdvec(&Launches(vec![sample(), sample()])).unwrap();
    for n in 0..params.len() {
        assert!(decode(&desc(&params[..n]), HOPPER).is_err(), "{n}");
    }
    for at in 0..params.len() {
        for bit in 0..8 {
            let mut p = params.clone();
            p[at] ^= 1 << bit;
            let _ = decode(&desc(&p), HOPPER);
        }
    }
    let mut stray = params;
    stray.push(0);
    assert!(decode(&desc(&stray), HOPPER).unwrap_err().contains("stray"));
}
