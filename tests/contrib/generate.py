#!/usr/bin/env python3
"""Writes models of single operators with random inputs and the outputs that ONNX Runtime gives, as cases of the form of ONNX's
own test suite: operators of the domain com.microsoft, and some of ONNX that the suite has no cases of.

    cargo xtask contrib

runs this after fetching packages, and compares. By hand: generate.py FOLDER

An operator that ONNX Runtime has no kernel of for the CPU is compared with what it is made of (`instead`).
"""
import os
import shutil
import sys
import zlib

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

MS = "com.microsoft"


class Case:
    """One model. Names of inputs and outputs are in the order of `inputs` and `outputs`."""

    def __init__(self, name):
        self.name = name
        self.random = np.random.default_rng(zlib.crc32(name.encode()))
        self.inputs, self.constants, self.nodes, self.instead, self.outputs = {}, {}, [], [], {}
        self.atol, self.rtol, self.slack, self.opset = 1e-5, 1e-4, 0, 17

    def floats(self, *shape, scale=1.0, dtype=np.float32):
        return (self.random.standard_normal(shape) * scale).astype(dtype)

    def ints(self, low, high, *shape, dtype=np.int64):
        return self.random.integers(low, high, shape).astype(dtype)

    def quantised(self, dtype, *shape):
        i = np.iinfo(dtype)
        return self.ints(i.min, i.max + 1, *shape, dtype=dtype)

    def give(self, **arrays):
        self.inputs |= arrays

    def fix(self, **arrays):
        self.constants |= {k: np.asarray(v) for k, v in arrays.items()}

    def node(self, op, inputs, outputs, domain=MS, instead=False, **attributes):
        (self.instead if instead else self.nodes).append(
            helper.make_node(op, inputs.split(","), outputs.split(","), domain=domain, **attributes))

    def gives(self, **types):
        """Outputs with their element types."""
        self.outputs |= types

    def model(self, nodes):
        info = lambda n, a: helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        outputs = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(np.dtype(t)), None)
                   for n, t in self.outputs.items()]
        constants = [numpy_helper.from_array(a, n) for n, a in self.constants.items()]
        graph = helper.make_graph(nodes, self.name, [info(n, a) for n, a in self.inputs.items()], outputs, constants)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid(MS, 1), helper.make_opsetid("ai.onnx.ml", 4)]
        return helper.make_model(graph, ir_version=9, opset_imports=opsets)

    def write(self, folder):
        options = ort.SessionOptions()
        # The operator's own kernel, not what the optimiser makes of it.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        runs = self.model(self.instead or self.nodes).SerializeToString()
        session = ort.InferenceSession(runs, options, providers=["CPUExecutionProvider"])
        wanted = session.run(None, self.inputs)
        folder = os.path.join(folder, self.name)
        data = os.path.join(folder, "test_data_set_0")
        os.makedirs(data)
        with open(os.path.join(folder, "model.onnx"), "wb") as f:
            f.write(self.model(self.nodes).SerializeToString())
        with open(os.path.join(folder, "tolerance"), "w") as f:
            f.write(f"{self.atol} {self.rtol} {self.slack}\n")
        for kind, arrays in (("input", self.inputs.values()), ("output", wanted)):
            for i, a in enumerate(arrays):
                with open(os.path.join(data, f"{kind}_{i}.pb"), "wb") as f:
                    f.write(numpy_helper.from_array(np.asarray(a)).SerializeToString())


CASES = []


def word(x):
    """An argument as part of a name."""
    if isinstance(x, type):
        return x.__name__
    if isinstance(x, (list, dict)):
        return "x".join(map(str, x.values() if isinstance(x, dict) else x)) or "none"
    return str(x).lower() or "none"


def case(*variants):
    """Makes a case of a function for every variant, a tuple of arguments."""
    def add(function):
        for v in variants or ((),):
            name = "_".join([function.__name__, *(word(x) for x in v)])
            c = Case(name)
            function(c, *v)
            CASES.append(c)
        return function
    return add


F = np.float32

# Activations and fused products.


@case(("Gelu",), ("QuickGelu",), ("FastGelu",))
def activation(c, op):
    c.give(x=c.floats(3, 5, 7, scale=3))
    c.node(op, "x", "y", **({"alpha": 1.3} if op == "QuickGelu" else {}))
    c.gives(y=F)


@case(("BiasGelu",), ("FastGelu",))
def biased_activation(c, op):
    c.give(x=c.floats(2, 5, 8, scale=2))
    c.fix(b=c.floats(8))
    c.node(op, "x,b", "y")
    c.gives(y=F)


@case()
def bias_split_gelu(c):
    c.give(x=c.floats(2, 5, 12))
    c.fix(b=c.floats(12))
    c.node("BiasSplitGelu", "x,b", "y")
    c.opset = 20
    c.node("Add", "x,b", "s", "", True)
    c.node("Split", "s", "l,r", "", True, axis=-1, num_outputs=2)
    c.node("Gelu", "r", "g", "", True)
    c.node("Mul", "l,g", "y", "", True)
    c.gives(y=F)


@case()
def bias_add(c):
    c.give(x=c.floats(2, 5, 8), skip=c.floats(2, 5, 8))
    c.fix(b=c.floats(8))
    c.node("BiasAdd", "x,b,skip", "y")
    c.node("Add", "x,b", "s", "", True)
    c.node("Add", "s,skip", "y", "", True)
    c.gives(y=F)


@case(("Relu", [], 0), ("LeakyRelu", [0.3], 1), ("Clip", [-0.5, 0.75], 1), ("HardSigmoid", [0.3, 0.4], 0), ("Tanh", [], 1),
      ("Sigmoid", [], 0), ("", [], 1))
def fused_conv(c, activation, params, residual):
    c.give(x=c.floats(2, 6, 9, 8))
    c.fix(w=c.floats(4, 3, 3, 2, scale=0.3), b=c.floats(4))
    attributes = dict(group=2, pads=[1, 0, 1, 1], strides=[2, 1])
    if activation:
        attributes |= dict(activation=activation)
    if params:
        attributes |= dict(activation_params=params)
    if residual:
        c.give(z=c.floats(2, 4, 5, 8))
    c.node("FusedConv", "x,w,b,z" if residual else "x,w,b", "y", **attributes)
    c.gives(y=F)


@case((0,), (1,))
def nhwc_conv(c, fused):
    c.give(x=c.floats(2, 7, 6, 4))
    c.fix(w=c.floats(6, 4, 3, 3, scale=0.3), b=c.floats(6))
    attributes = dict(pads=[1, 1, 1, 1], strides=[1, 2])
    c.node("Transpose", "x", "xt", "", True, perm=[0, 3, 1, 2])
    c.node("Conv", "xt,w,b", "ct", "", True, **attributes)
    c.node("Transpose", "ct", "c", "", True, perm=[0, 2, 3, 1])
    if fused:
        c.give(z=c.floats(2, 7, 3, 6))
        c.node("NhwcFusedConv", "x,w,b,z", "y", activation="Relu", **attributes)
        c.node("Add", "c,z", "s", "", True)
        c.node("Relu", "s", "y", "", True)
    else:
        c.node("NhwcConv", "x,w,b", "y", **attributes)
        c.node("Identity", "c", "y", "", True)
    c.gives(y=F)


@case()
def conv_transpose_with_dynamic_pads(c):
    c.give(x=c.floats(1, 3, 5, 4))
    c.fix(w=c.floats(3, 2, 3, 3), p=np.array([1, 0, 1, 2]), b=c.floats(2))
    c.node("ConvTransposeWithDynamicPads", "x,w,p,b", "y", strides=[2, 1], output_padding=[1, 0])
    c.gives(y=F)


@case(*[(a, b, ba, bb) for a in (0, 1) for b in (0, 1) for ba in (0, 1) for bb in (0, 1)])
def fused_matmul(c, ta, tb, ba, bb):
    m, k, n, batch = 4, 5, 3, [2, 6]
    def shape(rows, columns, transposed, first):
        # A first axis that belongs behind the batch is the last but one of what is multiplied, before transposing.
        rows, columns = (columns, rows) if transposed else (rows, columns)
        return [rows, *batch, columns] if first else [*batch, rows, columns]
    c.give(a=c.floats(*shape(m, k, ta, ba)), b=c.floats(*shape(k, n, tb, bb)))
    c.node("FusedMatMul", "a,b", "y", transA=ta, transB=tb, transBatchA=ba, transBatchB=bb, alpha=0.5)
    c.gives(y=F)


@case(([5], [5, 3], 0), ([4, 5], [5], 0), ([5], [3, 5], 1))
def fused_matmul_vector(c, a, b, tb):
    c.give(a=c.floats(*a), b=c.floats(*b))
    c.node("TransposeMatMul", "a,b", "y", transB=tb, alpha=2.0)
    c.gives(y=F)


@case(("Relu", {}), ("LeakyRelu", dict(activation_alpha=0.2)), ("Elu", dict(activation_alpha=1.5)), ("Tanh", {}),
      ("HardSigmoid", dict(activation_alpha=0.3, activation_beta=0.6)), ("Softplus", {}), ("Softsign", {}),
      ("Selu", dict(activation_alpha=1.2, activation_gamma=1.1)), ("ThresholdedRelu", dict(activation_alpha=0.7)))
def fused_gemm(c, activation, attributes):
    c.give(a=c.floats(5, 4))
    c.fix(b=c.floats(3, 5), c=c.floats(1, 3))
    c.node("FusedGemm", "a,b,c", "y", transA=1, transB=1, alpha=0.7, beta=1.3, activation=activation, **attributes)
    c.gives(y=F)


@case((1, [2, 1, 1, 6], 3), (0, [1, 1, 5, 6], 3), (1, [2, 1, 5, 6], 2))
def bias_softmax(c, inner, bias, axis):
    c.give(x=c.floats(2, 3, 5, 6), b=c.floats(*bias))
    c.node("BiasSoftmax", "x,b", "y", axis=axis, is_inner_broadcast=inner)
    c.opset = 12
    c.node("Add", "x,b", "s", "", True)
    c.node("Softmax", "s", "y", "", True, axis=axis)
    c.gives(y=F)


@case((1,), (2,), (3,), (4,))
def inverse(c, n):
    c.give(x=c.floats(3, 2, n, n) + 3 * np.eye(n, dtype=F))
    c.node("Inverse", "x", "y")
    c.atol = 1e-4
    c.gives(y=F)


@case(("Trilu",), ("ExpandDims",), ("Range",), ("Pad",))
def same_as_onnx(c, op):
    if op == "Trilu":
        c.give(x=c.floats(2, 4, 5))
        c.fix(k=np.array(1))
        c.node(op, "x,k", "y", upper=0)
    elif op == "ExpandDims":
        c.give(x=c.floats(2, 3))
        c.fix(axis=np.array(1, np.int32))
        c.node(op, "x,axis", "y")
    elif op == "Range":
        c.fix(a=np.array(1.5, F), b=np.array(7, F), d=np.array(0.75, F))
        c.give(x=c.floats(8))
        c.node(op, "a,b,d", "r")
        c.node("Add", "x,r", "y", "")
    else:
        c.give(x=c.floats(2, 3))
        c.fix(p=np.array([1, 0, 0, 2]), v=np.array(0.5, F))
        c.node(op, "x,p,v", "y", mode="constant")
    c.gives(y=F)


# Normalisations.


@case((0,), (1,))
def simplified_layer_norm(c, inverse):
    c.give(x=c.floats(2, 5, 16))
    c.fix(s=c.floats(16))
    c.node("SimplifiedLayerNormalization", "x,s", "y,inv" if inverse else "y", "", epsilon=1e-5, axis=-1, stash_type=1)
    c.gives(y=F, **({"inv": F} if inverse else {}))


@case((0, 0, [2, 5, 16]), (1, 0, [5, 16]), (1, 1, [1, 5, 16]), (0, 1, [2, 5, 16]))
def skip_layer_norm(c, beta, bias, skip):
    c.give(x=c.floats(2, 5, 16), skip=c.floats(*skip))
    c.fix(g=c.floats(16), b=c.floats(16), bias=c.floats(16))
    c.node("SkipLayerNormalization", f"x,skip,g,{'b' if beta else ''}" + (",bias" if bias else ""), "y,,,s", epsilon=1e-5)
    c.gives(y=F, s=F)


@case((0,), (1,))
def skip_simplified_layer_norm(c, bias):
    c.give(x=c.floats(2, 5, 16), skip=c.floats(2, 5, 16))
    c.fix(g=c.floats(16), bias=c.floats(16))
    c.node("SkipSimplifiedLayerNormalization", "x,skip,g" + (",bias" if bias else ""), "y,,,s", epsilon=1e-6)
    c.gives(y=F, s=F)


@case((1, 1, 0), (1, 0, 0), (0, 0, 1), (1, 1, 1))
def embed_layer_norm(c, segments, mask, positions):
    c.give(ids=c.ints(0, 30, 2, 6, dtype=np.int32))
    if segments:
        c.give(seg=c.ints(0, 2, 2, 6, dtype=np.int32))
    if mask:
        c.give(mask=np.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]], np.int32))
    if positions:
        c.give(pos=c.ints(0, 12, 2, 6, dtype=np.int32))
    c.fix(word=c.floats(30, 8), place=c.floats(12, 8), part=c.floats(2, 8), g=c.floats(8), b=c.floats(8))
    names = ["ids", "seg" if segments else "", "word", "place", "part" if segments else "", "g", "b", "mask" if mask else "",
             "pos" if positions else ""]
    c.node("EmbedLayerNormalization", ",".join(names), "y,m,s", epsilon=1e-12)
    c.gives(y=F, m=np.int32, s=F)


@case((0, 1), (1, 0), (1, 1), (0, 0))
def group_norm(c, skips, activation):
    c.give(x=c.floats(2, 4, 5, 12))
    c.fix(g=c.floats(12), b=c.floats(12), bias=c.floats(12))
    c.opset = 21
    source = "x"
    if skips:
        c.give(skip=c.floats(2, 12))
        c.node("SkipGroupNorm", "x,g,b,skip,bias", "y,s", groups=3, activation=activation, epsilon=1e-5, channels_last=1)
        c.fix(shape=np.array([2, 1, 1, 12]))
        c.node("Reshape", "skip,shape", "skip4", "", True)
        c.node("Add", "x,skip4", "xs", "", True)
        c.node("Add", "xs,bias", "s", "", True)
        source = "s"
    else:
        c.node("GroupNorm", "x,g,b", "y", groups=3, activation=activation, epsilon=1e-5, channels_last=1)
    c.node("Transpose", source, "t", "", True, perm=[0, 3, 1, 2])
    c.node("GroupNormalization", "t,g,b", "n", "", True, num_groups=3, epsilon=1e-5)
    c.node("Transpose", "n", "v" if activation else "y", "", True, perm=[0, 2, 3, 1])
    if activation:
        c.node("Sigmoid", "v", "sig", "", True)
        c.node("Mul", "v,sig", "y", "", True)
    c.gives(y=F, **({"s": F} if skips else {}))


# Attention.


@case((0, "none", 0, 0), (1, "none", 0, 0), (0, "raw2", 0, 0), (0, "raw3", 0, 1), (0, "ends", 0, 0), (0, "ends_starts", 0, 0),
      (1, "none", 3, 0), (1, "raw2", 3, 0), (0, "none", 3, 0), (1, "raw2", 0, 1))
def attention(c, causal, mask, past, bias):
    batch, length, width, heads, size = 2, 5, 12, 4, 6
    total = past + length
    c.give(x=c.floats(batch, length, width))
    c.fix(w=c.floats(width, 3 * heads * size, scale=0.3), b=c.floats(3 * heads * size))
    names = ["x", "w", "b", "", "", ""]
    if mask != "none":
        m = {
            "raw2": np.array([[1] * total, [0, 0] + [1] * (total - 2)]),
            "raw3": c.ints(0, 2, batch, length, total) | (np.arange(total) == 0),
            "ends": np.array([total, 3]),
            "ends_starts": np.array([total, 4, 0, 1]),
        }[mask]
        c.give(m=m.astype(np.int32))
        names[3] = "m"
        if causal:
            # Where all keys that a query may see are masked, scores beside -10000 keep three digits.
            c.atol = 2e-3
    if past:
        c.give(past=c.floats(2, batch, heads, past, size))
        names[4] = "past"
    if bias:
        c.give(bias=c.floats(1, heads, length, total))
        names[5] = "bias"
    c.node("Attention", ",".join(names).rstrip(","), "y,present" if past else "y", num_heads=heads, unidirectional=causal)
    c.gives(y=F, **({"present": F} if past else {}))


@case()
def attention_of_other_values(c):
    c.give(x=c.floats(2, 5, 12))
    c.fix(w=c.floats(12, 16 + 16 + 24, scale=0.3), b=c.floats(56))
    c.node("Attention", "x,w,b", "y", num_heads=4, qkv_hidden_sizes=[16, 16, 24], scale=0.2)
    c.gives(y=F)


@case(("apart", 0, "none", 0, 0), ("apart", 1, "keys", 0, 1), ("apart", 0, "lengths", 0, 0), ("apart", 0, "none", 4, 0),
      ("apart", 1, "none", 4, 0), ("apart", 0, "whole", 0, 0), ("packed", 0, "none", 0, 0), ("packed_kv", 0, "none", 0, 0),
      ("heads", 0, "none", 0, 0), ("apart", 0, "keys", 4, 0))
def multi_head_attention(c, form, causal, mask, past, bias):
    batch, length, keys, heads, size = 2, 5, 5 if causal or form == "packed" else 6, 3, 8
    width, total = heads * size, past + keys
    names = ["q", "k", "v", "", "", "", "", ""]
    def apart(packed, *to):
        c.node("Split", packed, ",".join(f"{t}5" for t in to), "", True, axis=3)
        c.fix(flat=np.array([batch, keys, width]))
        for t in to:
            c.node("Reshape", f"{t}5,flat", t, "", True)
    if form == "packed":
        c.give(p=c.floats(batch, length, heads, 3, size))
        names[:3] = ["p", "", ""]
        apart("p", "q", "k", "v")
    elif form == "packed_kv":
        c.give(q=c.floats(batch, length, width), p=c.floats(batch, keys, heads, 2, size))
        names[1:3] = ["p", ""]
        apart("p", "k", "v")
    elif form == "heads":
        c.give(q=c.floats(batch, length, width), k=c.floats(batch, heads, keys, size), v=c.floats(batch, heads, keys, size))
    else:
        c.give(q=c.floats(batch, length, width), k=c.floats(batch, keys, width), v=c.floats(batch, keys, width))
        c.fix(b=c.floats(3 * width))
        names[3] = "b"
    if mask != "none":
        m = {
            "keys": np.array([[1] * total, [1] * 3 + [0] * (total - 3)]),
            "lengths": np.array([total, 2]),
            "whole": c.ints(0, 2, batch, length, total) | (np.arange(total) == 0),
        }[mask]
        c.give(m=m.astype(np.int32))
        names[4] = "m"
    if bias:
        c.give(bias=c.floats(1, heads, length, total))
        names[5] = "bias"
    if past:
        c.give(pk=c.floats(batch, heads, past, size), pv=c.floats(batch, heads, past, size))
        names[6:8] = ["pk", "pv"]
    c.node("MultiHeadAttention", ",".join(names).rstrip(","), "y,k2,v2" if past else "y", num_heads=heads, unidirectional=causal)
    if c.instead:
        c.opset = 13
        c.node("MultiHeadAttention", "q,k,v", "y", instead=True, num_heads=heads)
    c.gives(y=F, **({"k2": F, "v2": F} if past else {}))


@case(*[(kind, *rest) for kind in ("prompt", "step", "ragged", "shared")
        for rest in ((0, 0, -1, 0.0), (1, 0, -1, 0.0), (1, 1, -1, 0.0), (0, 0, 3, 0.0), (0, 0, -1, 5.0))],
      ("chunk", 0, 0, -1, 0.0), ("chunk", 1, 0, 2, 0.0))
def group_query_attention(c, kind, rotary, packed, window, softcap):
    heads, key_heads, size, most = 4, 2, 16, 12
    batch = 1 if kind == "chunk" else 2
    length = {"prompt": 5, "chunk": 3}.get(kind, 1)
    total = 5 if kind == "prompt" else 7
    places = {"prompt": 0, "shared": most, "chunk": total - length}.get(kind, total - 1)
    filled = [total] * batch
    if kind in ("ragged", "shared"):
        filled[1] = total - 3
    names = ["q", "k", "v", "pk", "pv", "filled", "total"]
    if packed:
        c.give(q=c.floats(batch, length, (heads + 2 * key_heads) * size))
        names[1:3] = ["", ""]
    else:
        c.give(q=c.floats(batch, length, heads * size), k=c.floats(batch, length, key_heads * size),
               v=c.floats(batch, length, key_heads * size))
    if kind == "prompt":
        names[3:5] = ["", ""]
    else:
        c.give(pk=c.floats(batch, key_heads, places, size), pv=c.floats(batch, key_heads, places, size))
    c.give(filled=np.array(filled, np.int32) - 1)
    c.fix(total=np.array(total, np.int32))
    attributes = dict(num_heads=heads, kv_num_heads=key_heads, local_window_size=window, softcap=softcap)
    if rotary:
        angles = np.arange(most)[:, None] * (0.3 ** np.arange(size // 2))[None]
        c.fix(cos=np.cos(angles).astype(F), sin=np.sin(angles).astype(F))
        names += ["cos", "sin"]
        attributes |= dict(do_rotary=1, rotary_interleaved=packed)
    c.node("GroupQueryAttention", ",".join(names), "y,k2,v2", **attributes)
    # Places of the cache that nothing was written to are whatever they were.
    c.node("Slice", "k2,zero,shortest,two", "k3", "")
    c.node("Slice", "v2,zero,shortest,two", "v3", "")
    c.fix(zero=np.array([0]), shortest=np.array([min(filled)]), two=np.array([2]))
    c.gives(y=F, k3=F, v3=F)


@case((0, 0), (1, 0), (0, 1))
def group_query_attention_sink(c, given, step):
    heads, key_heads, size, length, total = 4, 2, 16, 1 if step else 5, 6 if step else 5
    c.give(q=c.floats(1, length, heads * size), k=c.floats(1, length, key_heads * size), v=c.floats(1, length, key_heads * size))
    names = ["q", "k", "v", "", "", "filled", "total"]
    if step:
        c.give(pk=c.floats(1, key_heads, 5, size), pv=c.floats(1, key_heads, 5, size))
        names[3:5] = ["pk", "pv"]
    c.give(filled=np.array([total - 1], np.int32))
    c.fix(total=np.array(total, np.int32))
    if given:
        c.fix(sink=c.floats(heads))
        names += ["", "", "", "", "sink"]
    c.node("GroupQueryAttention", ",".join(names), "y,k2,v2", num_heads=heads, kv_num_heads=key_heads,
           **({} if given else {"smooth_softmax": 1}))
    c.gives(y=F, k2=F, v2=F)


@case()
def group_query_attention_bias(c):
    heads, key_heads, size, length = 4, 2, 16, 5
    c.give(q=c.floats(2, length, heads * size), k=c.floats(2, length, key_heads * size), v=c.floats(2, length, key_heads * size),
           filled=np.array([4, 4], np.int32), bias=c.floats(1, heads, length, length))
    c.fix(total=np.array(length, np.int32))
    c.node("GroupQueryAttention", "q,k,v,,,filled,total,,,,bias", "y,k2,v2", num_heads=heads, kv_num_heads=key_heads, scale=0.3)
    c.gives(y=F, k2=F, v2=F)


@case((3, 0, 0, 0), (4, 0, 0, 0), (3, 1, 0, 0), (4, 1, 0, 1), (3, 0, 8, 0), (4, 0, 8, 1))
def rotary_embedding(c, rank, interleaved, part, offset):
    batch, heads, length, size, most = 2, 3, 5, 16, 20
    c.give(x=c.floats(batch, length, heads * size) if rank == 3 else c.floats(batch, heads, length, size))
    c.give(p=np.array([4]) if offset else c.ints(0, most, batch, length))
    width = (part or size) // 2
    c.fix(cos=c.floats(most, width), sin=c.floats(most, width))
    attributes = dict(rotary_embedding_dim=part, num_heads=heads) if part else {}
    c.node("RotaryEmbedding", "x,p,cos,sin", "y", interleaved=interleaved, **attributes)
    c.gives(y=F)


# Quantised numbers. ONNX Runtime's vector kernels multiply by a reciprocal where the definition divides, so halves may fall
# to the other side.

TYPES = ((np.uint8,), (np.int8,))


@case(*[(op, t, shape) for op in ("QLinearAdd", "QLinearMul") for (t,) in TYPES for shape in ("same", "row", "scalar")])
def qlinear(c, op, dtype, shape):
    c.give(a=c.quantised(dtype, 3, 4, 17), b=c.quantised(dtype, *{"same": [3, 4, 17], "row": [1, 17], "scalar": []}[shape]))
    c.fix(sa=F(0.021), za=dtype(3), sb=F(0.034), zb=dtype(5), sc=F(0.07 if op == "QLinearAdd" else 0.11), zc=dtype(7))
    c.node(op, "a,sa,za,b,sb,zb,sc,zc", "y")
    c.slack = 1
    c.gives(y=dtype)


@case()
def qlinear_without_zero_point(c):
    c.give(a=c.quantised(np.uint8, 3, 7), b=c.quantised(np.uint8, 3, 7))
    c.fix(sa=F(0.021), none=np.uint8(0), sb=F(0.034), zb=np.uint8(9), sc=F(0.09), zc=np.uint8(3))
    c.node("QLinearAdd", "a,sa,,b,sb,zb,sc,zc", "y")
    c.node("QLinearAdd", "a,sa,none,b,sb,zb,sc,zc", "y", instead=True)
    c.slack = 1
    c.gives(y=np.uint8)


@case(*[(op, t) for op in ("QLinearSigmoid", "QLinearLeakyRelu") for (t,) in TYPES])
def qlinear_activation(c, op, dtype):
    c.give(x=c.quantised(dtype, 3, 50))
    c.fix(sx=F(0.03), zx=dtype(4), sy=F(0.004 if op == "QLinearSigmoid" else 0.03), zy=dtype(2))
    c.node(op, "x,sx,zx,sy,zy", "y", **({"alpha": 0.15} if op == "QLinearLeakyRelu" else {}))
    c.slack = 1
    c.gives(y=dtype)


@case(*[(t, axis, opset) for (t,) in TYPES for axis, opset in ((-1, 13), (1, 13), (1, 11))])
def qlinear_softmax(c, dtype, axis, opset):
    c.give(x=c.quantised(dtype, 3, 5, 8))
    c.fix(sx=F(0.03), zx=dtype(4), sy=F(1 / 256), zy=dtype(0 if dtype == np.uint8 else -128))
    c.node("QLinearSoftmax", "x,sx,zx,sy,zy", "y", axis=axis, opset=opset)
    c.slack = 1
    c.gives(y=dtype)


@case(*TYPES)
def qlinear_concat(c, dtype):
    c.give(a=c.quantised(dtype, 2, 3, 4), b=c.quantised(dtype, 2, 5, 4))
    c.fix(sy=F(0.05), zy=dtype(1), sa=F(0.03), za=dtype(7), sb=F(0.06), zb=dtype(2))
    c.node("QLinearConcat", "sy,zy,a,sa,za,b,sb,zb", "y", axis=1)
    c.slack = 1
    c.gives(y=dtype)


@case(*TYPES)
def qlinear_where(c, dtype):
    c.give(m=c.ints(0, 2, 3, 5).astype(bool), a=c.quantised(dtype, 3, 5), b=c.quantised(dtype, 3, 5))
    c.fix(sa=F(0.03), za=dtype(7), sb=F(0.06), zb=dtype(2), sy=F(0.05), zy=dtype(1))
    c.node("QLinearWhere", "m,a,sa,za,b,sb,zb,sy,zy", "y")
    c.slack = 1
    c.gives(y=dtype)


@case(*[(t, last) for (t,) in TYPES for last in (0, 1)])
def qlinear_global_average_pool(c, dtype, last):
    c.give(x=c.quantised(dtype, *([2, 5, 7, 6] if last else [2, 6, 5, 7])))
    c.fix(sx=F(0.03), zx=dtype(4), sy=F(0.01), zy=dtype(2))
    c.node("QLinearGlobalAveragePool", "x,sx,zx,sy,zy", "y", channels_last=last)
    c.slack = 1
    c.gives(y=dtype)


@case(*[(t, last, count) for (t,) in TYPES for last, count in ((0, 0), (1, 0), (0, 1))])
def qlinear_average_pool(c, dtype, last, count):
    c.give(x=c.quantised(dtype, *([2, 7, 8, 6] if last else [2, 6, 7, 8])))
    c.fix(sx=F(0.03), zx=dtype(4), sy=F(0.02), zy=dtype(2))
    c.node("QLinearAveragePool", "x,sx,zx,sy,zy", "y", channels_last=last, count_include_pad=count, kernel_shape=[3, 2],
           pads=[1, 0, 1, 1], strides=[2, 1])
    c.slack = 1
    c.gives(y=dtype)


@case((0, 0), (1, 0), (0, 1), (1, 1))
def qlinear_conv(c, last, each):
    c.give(x=c.quantised(np.uint8, *([2, 7, 8, 4] if last else [2, 4, 7, 8])))
    c.fix(sx=F(0.03), zx=np.uint8(120), w=c.quantised(np.int8, 6, 2, 3, 3), sy=F(0.5), zy=np.uint8(110), b=c.ints(-500, 500, 6, dtype=np.int32))
    if each:
        c.fix(sw=np.linspace(0.01, 0.03, 6).astype(F), zw=np.zeros(6, np.int8))
    else:
        c.fix(sw=F(0.02), zw=np.int8(0))
    c.node("QLinearConv", "x,sx,zx,w,sw,zw,sy,zy,b", "y", channels_last=last, group=2, pads=[1, 1, 1, 1], strides=[2, 1])
    c.slack = 1
    c.gives(y=np.uint8)


@case(*[(t, quantised, each) for t in (0, 1) for quantised in (0, 1) for each in (0, 1)])
def qgemm(c, transposed, quantised, each):
    c.give(a=c.quantised(np.uint8, *([5, 4] if transposed else [4, 5])))
    c.fix(sa=F(0.02), za=np.uint8(117), b=c.quantised(np.int8, *([3, 5] if transposed else [5, 3])), c=c.ints(-900, 900, 3, dtype=np.int32))
    if each:
        c.fix(sb=np.array([0.01, 0.02, 0.03], F), zb=np.array([0, 3, -4], np.int8))
    else:
        c.fix(sb=F(0.02), zb=np.int8(2))
    names = "a,sa,za,b,sb,zb,c"
    if quantised:
        c.fix(sy=F(0.4), zy=np.uint8(100))
        names += ",sy,zy"
    c.node("QGemm", names, "y", transA=transposed, transB=transposed, alpha=0.8)
    c.slack = 1
    c.gives(y=np.uint8 if quantised else F)


@case(*[(t, each, bias) for (t,) in TYPES for each, bias in ((0, 0), (1, 1), (0, 1))])
def matmul_integer_to_float(c, dtype, each, bias):
    c.give(a=c.quantised(np.uint8, 2, 4, 7))
    c.fix(b=c.quantised(dtype, 7, 5), sa=F(0.02), za=np.uint8(117), bias=c.floats(5))
    if each:
        c.fix(sb=np.linspace(0.01, 0.05, 5).astype(F), zb=c.quantised(dtype, 5))
    else:
        c.fix(sb=F(0.02), zb=dtype(9))
    c.node("MatMulIntegerToFloat", "a,b,sa,sb,za,zb" + (",bias" if bias else ""), "y")
    c.gives(y=F)


@case(*[(t, each, bias) for (t,) in TYPES for each, bias in ((0, 0), (1, 1), (0, 1))])
def dynamic_quantize_matmul(c, dtype, each, bias):
    c.give(a=c.floats(2, 4, 7))
    c.fix(b=c.quantised(dtype, 7, 5), bias=c.floats(5))
    if each:
        c.fix(sb=np.linspace(0.01, 0.05, 5).astype(F), zb=c.quantised(dtype, 5))
    else:
        c.fix(sb=F(0.02), zb=dtype(9))
    c.node("DynamicQuantizeMatMul", "a,b,sb,zb" + (",bias" if bias else ""), "y")
    # A number that is quantised to the other side changes a sum by a step of the weights.
    c.atol = 2e-2
    c.gives(y=F)


@case(("forward", 0), ("bidirectional", 0), ("reverse", 1))
def dynamic_quantize_lstm(c, direction, each):
    cells, length, batch, width, hidden = 2 if direction == "bidirectional" else 1, 5, 2, 6, 8
    c.give(x=c.floats(length, batch, width))
    c.fix(w=c.quantised(np.int8, cells, width, 4 * hidden), r=c.quantised(np.int8, cells, hidden, 4 * hidden),
          b=c.floats(cells, 8 * hidden, scale=0.2))
    shape = [cells, 4 * hidden] if each else [cells]
    for name in "wr":
        c.fix(**{"s" + name: np.full(shape, 0.004, F), "z" + name: np.full(shape, 0, np.int8)})
    c.node("DynamicQuantizeLSTM", "x,w,r,b,,,,,sw,zw,sr,zr", "y,h,s", hidden_size=hidden, direction=direction)
    # ONNX Runtime quantises inputs and states at every step, Tactician does not.
    c.atol, c.rtol = 2e-2, 2e-2
    c.gives(y=F, h=F, s=F)


@case(*[(bits, zeros, k, bias) for bits in (4, 8) for zeros, k, bias in ((0, 64, 0), (1, 64, 0), (1, 48, 1), (2, 64, 0))
        if (bits, zeros) != (8, 2)])
def matmul_nbits(c, bits, zeros, k, bias):
    n, block = 6, 32
    blocks = (k + block - 1) // block
    c.give(a=c.floats(2, 3, k))
    c.fix(b=c.quantised(np.uint8, n, blocks, block * bits // 8), s=np.abs(c.floats(n * blocks, scale=0.05)) + F(0.01))
    names = ["a", "b", "s", "", "", ""]
    if zeros == 1:
        c.fix(z=c.quantised(np.uint8, n * ((blocks * bits + 7) // 8)))
        names[3] = "z"
    if zeros == 2:
        c.fix(z=c.floats(n * blocks, scale=2) + F(7))
        names[3] = "z"
    if bias:
        c.fix(bias=c.floats(n))
        names[5] = "bias"
    c.node("MatMulNBits", ",".join(names).rstrip(","), "y", K=k, N=n, bits=bits, block_size=block)
    c.atol, c.rtol = 1e-3, 1e-3
    c.gives(y=F)


# Operators of ONNX that its own suite has no cases of, or few.


@case(*[(t, order, ceil) for t in (np.float32, np.uint8, np.int8) for order in (0, 1) for ceil in (0, 1)])
def max_pool_places(c, dtype, order, ceil):
    x = c.floats(2, 3, 7, 6, scale=40).astype(dtype)
    # The first window lies in numbers that nothing is below.
    x[:, :, :4, :3] = np.finfo(dtype).min if dtype == np.float32 else np.iinfo(dtype).min
    if dtype == np.float32:
        x[0, 0, :4, :3] = -np.inf
    c.give(x=x)
    c.node("MaxPool", "x", "y,i", "", kernel_shape=[3, 2], pads=[1, 1, 0, 1], strides=[2, 2], dilations=[1, 2], storage_order=order,
           ceil_mode=ceil)
    c.gives(y=dtype, i=np.int64)


@case((1.0,), (0.5,))
def max_roi_pool(c, scale):
    c.give(x=c.floats(2, 3, 9, 8),
           r=np.array([[0, 0, 0, 7, 8], [1, 2.5, 1.5, 5, 4], [1, 3, 3, 2, 2], [0, 6, 6, 12, 13], [0, 1, 1, 1, 1]], F))
    c.node("MaxRoiPool", "x,r", "y", "", pooled_shape=[3, 2], spatial_scale=scale)
    c.gives(y=F)


@case(("TF",), ("IDF",), ("TFIDF",))
def tf_idf_vectorizer(c, mode):
    c.give(x=c.ints(0, 4, 3, 12, dtype=np.int32))
    c.node("TfIdfVectorizer", "x", "y", "", mode=mode, min_gram_length=1, max_gram_length=2, max_skip_count=2,
           ngram_counts=[0, 3], ngram_indexes=[4, 0, 2, 1, 5, 3], pool_int64s=[0, 2, 9, 1, 1, 2, 3, 0, 2],
           weights=[1.5, 2.5, 3.5, 4.5, 5.5, 6.5])
    c.gives(y=F)


@case(("int64", "float"), ("float", "int64"), ("int64", "int64"), ("float", "float"))
def label_encoder(c, keys, values):
    x = c.ints(0, 6, 4, 5)
    c.give(x=x if keys == "int64" else np.where(x == 4, np.nan, x).astype(F))
    some = {"int64": [5, 2, 0], "float": [2.0, float("nan"), 0.0]}[keys]
    given = {"int64": [7, -3, 11], "float": [0.5, -1.5, 8.0]}[values]
    c.node("LabelEncoder", "x", "y", "ai.onnx.ml", **{f"keys_{keys}s": some, f"values_{values}s": given,
                                                       "default_tensor": numpy_helper.from_array(np.array([-9] if values == "int64" else [-9.5], np.int64 if values == "int64" else F))})
    c.gives(y=np.int64 if values == "int64" else F)


@case(("Scaler",), ("Imputer",), ("LinearRegressor",), ("FeatureVectorizer",), ("OneHotEncoder",))
def learning(c, op):
    ml = "ai.onnx.ml"
    c.give(x=c.ints(0, 4, 5, 3) if op == "OneHotEncoder" else c.floats(5, 3))
    if op == "Scaler":
        c.node(op, "x", "y", ml, offset=[0.5, -1.0, 2.0], scale=[2.0, 0.5, 3.0])
    elif op == "Imputer":
        c.inputs["x"][1, 2] = c.inputs["x"][3, 0] = np.nan
        c.node(op, "x", "y", ml, imputed_value_floats=[1.5, 2.5, 3.5], replaced_value_float=float("nan"))
    elif op == "LinearRegressor":
        c.node(op, "x", "y", ml, coefficients=[float(v) for v in c.floats(6)], intercepts=[0.5, -0.5], targets=2)
    elif op == "FeatureVectorizer":
        c.give(z=c.floats(5, 2))
        c.node(op, "x,z", "y", ml, inputdimensions=[3, 2])
    else:
        c.node(op, "x", "y", ml, cats_int64s=[2, 0, 3], zeros=1)
    c.gives(y=F)


@case(("MAX",), ("L1",), ("L2",))
def normalizer(c, norm):
    x = c.floats(5, 4)
    x[2] = 0
    c.give(x=x)
    c.node("Normalizer", "x", "y", "ai.onnx.ml", norm=norm)
    c.gives(y=F)


@case()
def imputer_of_integers(c):
    c.give(x=c.ints(0, 3, 6, 2))
    c.node("Imputer", "x", "y", "ai.onnx.ml", imputed_value_int64s=[7, 8], replaced_value_int64=1)
    c.gives(y=np.int64)


@case((0,), (1,))
def sparse_constant(c, coordinates):
    values = helper.make_tensor("v", TensorProto.FLOAT, [3], [1.5, -2.0, 3.0])
    at = [[0, 1], [1, 3], [2, 0]]
    if coordinates:
        indices = helper.make_tensor("i", TensorProto.INT64, [3, 2], [k for pair in at for k in pair])
    else:
        indices = helper.make_tensor("i", TensorProto.INT64, [3], [4 * a + b for a, b in at])
    c.give(x=c.floats(3, 4))
    c.node("Constant", "", "s", "", sparse_value=helper.make_sparse_tensor(values, indices, [3, 4]))
    c.nodes[-1].ClearField("input")
    c.node("Add", "x,s", "y", "")
    c.gives(y=F)


def main():
    folder = sys.argv[1]
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    failed = 0
    for c in CASES:
        try:
            c.write(folder)
        except Exception as e:
            failed += 1
            print(f"{c.name}: {str(e).splitlines()[0][:300]}", file=sys.stderr)
    print(f"{len(CASES)} cases with ONNX Runtime {ort.__version__} and ONNX {onnx.__version__}")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
