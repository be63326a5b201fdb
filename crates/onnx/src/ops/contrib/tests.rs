//! What is refused of `com.microsoft`, and that it says why. What is imported is compared with ONNX Runtime's outputs by
//! `cargo xtask contrib`.

use crate::ShapeBindings;
use crate::proto::*;
use crate::tests::*;

fn microsoft(op: &str, inputs: &[&str]) -> NodeProto {
    NodeProto { domain: "com.microsoft".into(), ..node(op, inputs, "y") }
}

fn refused(inputs: Vec<ValueInfo>, tensors: Vec<TensorProto>, n: NodeProto) -> String {
    let m = model(inputs, tensors, vec![n], "y");
    graph(&m, ShapeBindings::default()).map(|g| format!("{g:?}")).unwrap_err().to_string()
}

#[track_caller]
fn names(text: &str, parts: &[&str]) {
    parts.iter().for_each(|p| assert!(text.contains(p), "`{p}` is missing: {text}"));
}

#[test]
fn what_a_cache_holds_must_be_known() {
    let inputs = || {
        vec![
            value("q", &["2", "1", "8"]),
            value("k", &["2", "1", "8"]),
            value("p", &["2", "1", "4", "8"]),
            value("t", &[]),
        ]
    };
    let n = || {
        let n = microsoft("GroupQueryAttention", &["q", "k", "k", "p", "p", "s", "t"]);
        with_int(with_int(n, "num_heads", 1), "kv_num_heads", 1)
    };
    names(&refused(inputs(), vec![longs("s", &[3, 3])], n()), &["GroupQueryAttention", "operand 6"]);
    let fixed = |t: i64| {
        let mut list = inputs();
        list.pop();
        refused(list, vec![longs("s", &[3, 3]), longs("t", &[t])], n())
    };
    names(&fixed(0), &["total_sequence_length"]);
    names(&fixed(i64::MAX), &["total_sequence_length"]);
    let mut list = inputs();
    list.pop();
    let quantised = with_int(n(), "sliding_window_cache", 1);
    names(&refused(list, vec![longs("s", &[3, 3]), longs("t", &[4])], quantised), &["slides"]);
}

#[test]
fn packings_that_do_not_fit_are_named() {
    let n = |heads: i64| with_int(microsoft("MultiHeadAttention", &["x", "x", "x"]), "num_heads", heads);
    let x = || vec![value("x", &["1", "2", "6"])];
    names(&refused(x(), vec![], n(4)), &["hidden size of 6"]);
    names(&refused(x(), vec![], n(0)), &["hidden size of 6"]);
    names(
        &refused(x(), vec![], with_int(microsoft("MultiHeadAttention", &["x"]), "num_heads", 2)),
        &["packed"],
    );
    let five = vec![value("x", &["1", "2", "2", "4", "6"])];
    let packed = with_int(microsoft("MultiHeadAttention", &["x"]), "num_heads", 2);
    names(&refused(five, vec![], packed), &["does not hold 3 parts"]);
    let gqa = |heads: i64| {
        let n = microsoft("GroupQueryAttention", &["x", "", "", "", "", "s", "s"]);
        with_int(with_int(n, "num_heads", heads), "kv_num_heads", heads)
    };
    names(&refused(x(), vec![longs("s", &[2])], gqa(4)), &["do not divide"]);
    names(&refused(x(), vec![longs("s", &[2])], gqa(i64::MAX)), &["positive"]);
    let w = with_ints(
        with_int(microsoft("Attention", &["x", "w"]), "num_heads", 1),
        "qkv_hidden_sizes",
        &[1, 2, 3],
    );
    names(&refused(x(), vec![floats("w", &[6, 9])], w), &["qkv_hidden_sizes", "9"]);
}

#[test]
fn what_is_not_supported_is_named() {
    let x = || vec![value("x", &["2", "5", "5"])];
    names(&refused(x(), vec![], microsoft("Inverse", &["x"])), &["5 by 5", "up to 4 rows"]);
    let mut conv = microsoft("FusedConv", &["x", "w"]);
    conv.attribute.push(AttributeProto {
        name: "activation".into(),
        s: Some(bytes::Bytes::from_static(b"Nonsense")),
        ..Default::default()
    });
    names(&refused(x(), vec![floats("w", &[3, 5, 2])], conv), &["activation `Nonsense`"]);
    let mut norm = microsoft("SkipLayerNormalization", &["x", "x", "g"]);
    norm.output.push("mean".into());
    names(&refused(x(), vec![floats("g", &[5])], norm), &["for training"]);
    let bits = |k: i64, v: i64| {
        let n = with_int(with_int(microsoft("MatMulNBits", &["x", "b", "g"]), "K", k), "N", 3);
        let mut n = with_int(with_int(n, "block_size", 32), "bits", v);
        n.input.truncate(3);
        n
    };
    let tensors = || vec![floats("g", &[3]), floats("b", &[3, 1, 16])];
    names(&refused(x(), tensors(), bits(5, 3)), &["3 bits"]);
    names(&refused(x(), tensors(), bits(-5, 4)), &["`K` is -5"]);
}
