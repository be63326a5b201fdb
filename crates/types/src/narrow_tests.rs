//! Codes against tables written down from the formats' definitions, and rounding against a search over all codes.

use super::*;

/// Every code of a format with the number that it stands for, made from the definition by counting.
fn table(t: NarrowFloat) -> Vec<(u8, f64)> {
    use NarrowFloat::*;
    if t == E8M0 {
        return (0..255u8).map(|c| (c, 2f64.powi(i32::from(c) - 127))).collect();
    }
    let (exponents, mantissas, bias) = match t {
        E4M3FN => (16, 8, 7),
        E4M3FNUZ => (16, 8, 8),
        E5M2 => (32, 4, 15),
        E5M2FNUZ => (32, 4, 16),
        E2M1 | E8M0 => (4, 2, 1),
    };
    let mut out = Vec::new();
    let mut code = 0u8;
    for exponent in 0..exponents {
        for m in 0..mantissas {
            let part = f64::from(m) / f64::from(mantissas);
            let value = match exponent {
                0 => part * 2f64.powi(1 - bias),
                e => (1.0 + part) * 2f64.powi(e - bias),
            };
            let special = match t {
                E4M3FN => code == 0x7f,
                E5M2 => exponent == 31,
                _ => false,
            };
            if !special {
                out.push((code, value));
            }
            code += 1;
        }
    }
    let sign = code;
    let negative: Vec<(u8, f64)> = out.iter().map(|&(c, v)| (c | sign, -v)).collect();
    // The code of the negative zero is NaN.
    let unsigned = matches!(t, E4M3FNUZ | E5M2FNUZ);
    out.extend(negative.into_iter().filter(|&(c, _)| !(unsigned && c == sign)));
    out
}

#[test]
fn every_code_has_its_value() {
    let mut numbers = Vec::new();
    for t in NarrowFloat::ALL {
        let table = table(t);
        for &(code, value) in &table {
            assert_eq!(t.value(code).to_bits(), value.to_bits(), "{t:?} {code:#x}");
            // And back: the code of the value is the code.
            assert_eq!(t.code(value), code, "{t:?} {code:#x}");
        }
        let width = if t == NarrowFloat::E2M1 { 16u16 } else { 256 };
        for code in (0..width).map(|c| c as u8).filter(|c| table.iter().all(|(t, _)| t != c)) {
            let v = t.value(code);
            let infinite = t == NarrowFloat::E5M2 && code & 0x7f == 0x7c;
            assert!(if infinite { v.is_infinite() } else { v.is_nan() }, "{t:?} {code:#x} is {v}");
            assert!(v.is_nan() || v.is_sign_negative() == (code >= 0x80));
        }
        assert_eq!(NarrowFloat::of(t.dtype()), Some(t));
        numbers.push((table.len(), table.iter().map(|t| t.1).fold(0.0, f64::max)));
    }
    let large = 2f64.powi(127);
    assert_eq!(
        numbers,
        [(254, 448.0), (255, 240.0), (248, 57344.0), (255, 57344.0), (255, large), (16, 6.0)]
    );
}

/// The code nearest to a number, found among all; of two the one whose last bit is zero.
fn nearest(table: &[(u8, f64)], x: f64) -> u8 {
    let most = table.iter().map(|t| t.1).fold(0.0, f64::max);
    let x = x.clamp(-most, most);
    // Of two zeros the one with the number's sign.
    let signed = table.iter().any(|(_, v)| *v == 0.0 && v.is_sign_negative());
    let table = || {
        let fits = move |v: f64| v != 0.0 || !signed || v.is_sign_negative() == x.is_sign_negative();
        table.iter().filter(move |t| fits(t.1))
    };
    let best = table().map(|(_, v)| (v - x).abs()).fold(f64::INFINITY, f64::min);
    let found: Vec<u8> = table().filter(|(_, v)| (v - x).abs() == best).map(|t| t.0).collect();
    found.iter().copied().find(|c| c % 2 == 0).unwrap_or(found[0])
}

/// All values, the middles between neighbours, and both next to each; then numbers of every magnitude.
#[test]
fn rounds_to_the_nearest_code_ties_to_even() {
    for t in NarrowFloat::ALL.into_iter().filter(|&t| t != NarrowFloat::E8M0) {
        let table = table(t);
        let mut values: Vec<f64> = table.iter().map(|t| t.1).collect();
        values.sort_by(f64::total_cmp);
        let middles: Vec<f64> = values.windows(2).map(|w| (w[0] + w[1]) / 2.0).collect();
        let mut tried = values.clone();
        for m in values.iter().chain(&middles) {
            tried.extend([
                m.next_down(),
                *m,
                m.next_up(),
                *m * (1.0 + 2f64.powi(-30)),
                *m * (1.0 - 2f64.powi(-30)),
            ]);
        }
        for k in -1074..1024 {
            let x = 2f64.powi(k);
            tried.extend([x, -x, 1.4 * x, -1.9 * x]);
        }
        for x in tried.into_iter().filter(|x| x.is_finite()) {
            assert_eq!(t.code(x), nearest(&table, x), "{t:?} {x:e}");
        }
    }
}

#[test]
fn what_is_no_number_or_too_large() {
    use NarrowFloat::*;
    // The first column of ONNX's tables for `Cast`: `Inf`, `-Inf`, NaN and -NaN with `saturate`.
    let all = |t: NarrowFloat| [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -f64::NAN].map(|x| t.code(x));
    assert_eq!(all(E4M3FN), [0x7e, 0xfe, 0x7f, 0xff]);
    assert_eq!(all(E4M3FNUZ), [0x7f, 0xff, 0x80, 0x80]);
    assert_eq!(all(E5M2), [0x7b, 0xfb, 0x7e, 0xfe]);
    assert_eq!(all(E5M2FNUZ), [0x7f, 0xff, 0x80, 0x80]);
    assert_eq!(all(E2M1), [0x07, 0x0f, 0x08, 0x00]);
    assert_eq!(all(E8M0), [0xfe, 0xff, 0xff, 0xff]);
    for t in NarrowFloat::ALL {
        assert_eq!(t.code(f64::MAX), t.parts().largest, "{t:?}");
        assert_eq!(t.code(0.0), 0, "{t:?}");
    }
    assert_eq!(
        [E4M3FN, E4M3FNUZ, E5M2, E5M2FNUZ, E2M1, E8M0].map(|t| t.code(-0.0)),
        [0x80, 0, 0x80, 0, 8, 0]
    );
}

#[test]
fn text_reads_back() {
    for t in NarrowFloat::ALL {
        for code in 0..=255u8 {
            let text = t.text(code);
            let (text, negative) = text.strip_prefix('-').map_or((text.as_str(), false), |t| (t, true));
            assert_eq!(t.parse(text, negative), Some(code), "{t:?} {code:#x} {text}");
        }
        for bad in ["0.3", "1e9", "0x100", "0x", "", "inf", "0x1g"] {
            assert_eq!(t.parse(bad, false), None, "{t:?} {bad}");
        }
        assert_eq!(t.parse("0x1", true), None);
    }
    assert_eq!(NarrowFloat::E4M3FN.text(0xd0), "-8.0");
    assert_eq!(NarrowFloat::E2M1.parse("nan", false), None);
    assert_eq!(NarrowFloat::E5M2.text(0x7c), "0x7c");
}

#[test]
fn powers_of_two_round_up() {
    let t = NarrowFloat::E8M0;
    for code in 0..255u8 {
        let v = t.value(code);
        let above = (code + 1).min(254);
        assert_eq!(
            [v, v.next_up(), 1.5 * v, 2.0 * v.next_down()].map(|x| t.code(x)),
            [code, above, above, above]
        );
        assert_eq!(t.code(-v), 255);
    }
    for tiny in [0.0, f64::MIN_POSITIVE, 5e-324, 2f64.powi(-128)] {
        assert_eq!(t.code(tiny), 0, "{tiny:e}");
    }
}

#[test]
fn integers_wrap() {
    for (t, least, most) in [(DType::I4, -8, 7), (DType::U4, 0, 15), (DType::I2, -2, 1), (DType::U2, 0, 3)] {
        let width = most - least + 1;
        for v in -300..300i64 {
            let want = (v - least).rem_euclid(width) + least;
            assert_eq!(t.wrapped(v), Some(want), "{t} {v}");
            let part = if v < 0 { -0.7 } else { 0.7 };
            assert_eq!(narrow_integer(t, v as f64 + part), Some(want), "{t} {v}");
        }
        for v in [i64::MIN, i64::MAX] {
            let want = (i128::from(v) - i128::from(least)).rem_euclid(i128::from(width)) + i128::from(least);
            assert_eq!(t.wrapped(v).map(i128::from), Some(want), "{t} {v}");
        }
        for v in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -2f64.powi(63), 2f64.powi(57)] {
            assert_eq!(narrow_integer(t, v), Some(0), "{t} {v}");
        }
    }
    assert_eq!(DType::I8.wrapped(1), None);
}
