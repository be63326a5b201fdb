"""The networks of the comparison: torchvision's and transformers' architectures and a recurrent one, with seeded weights, batch
norms calibrated and folded."""
import os
import time

import torch
import torchvision

IMAGES = ("resnet50", "vgg16", "mobilenet_v2", "efficientnet_b0", "vit_b_16")
# Tokens of a text.
TEXTS = ("bert_base", "gpt2")
# 100 vectors of 256 elements.
SEQUENCES = ("lstm",)
NAMES = (*IMAGES, *TEXTS, *SEQUENCES)
INPUT = "input"
SIZES = (3, 224, 224)
TOKENS = 128
STEPS, WIDTH = 100, 256


def images(count, seed):
    return torch.randn(count, *SIZES, generator=torch.Generator().manual_seed(seed))


def example(name, batch, seed):
    """An input: images, tokens, or sequences of vectors."""
    generator = torch.Generator().manual_seed(seed)
    if name in TEXTS:
        return torch.randint(1000, 20000, (batch, TOKENS), generator=generator)
    if name in SEQUENCES:
        return torch.randn(batch, STEPS, WIDTH, generator=generator)
    return images(batch, seed)


class First(torch.nn.Module):
    """The first output of a network, which is all that is compared."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)[0]


def of_sequences(name):
    """A network of texts or sequences."""
    if name == "lstm":
        return First(torch.nn.LSTM(WIDTH, WIDTH, num_layers=2, bidirectional=True, batch_first=True))
    import transformers

    if name == "bert_base":
        return First(transformers.BertModel(transformers.BertConfig()))
    return First(transformers.GPT2Model(transformers.GPT2Config(use_cache=False)))


def fold(module):
    """Folds every batch norm into the convolution that its module has right before it."""
    before = None
    for name, child in list(module.named_children()):
        if isinstance(child, torch.nn.BatchNorm2d) and isinstance(before, tuple):
            conv = torch.nn.utils.fusion.fuse_conv_bn_eval(before[1], child)
            setattr(module, before[0], conv)
            setattr(module, name, torch.nn.Identity())
        fold(child)
        before = (name, child) if isinstance(child, torch.nn.Conv2d) else None


def make(name):
    """The network with its batch norms folded, on the CPU. Statistics are those of seeded noise, so that activations
    neither vanish nor overflow on their way through random weights."""
    torch.manual_seed(1)
    if name not in IMAGES:
        return of_sequences(name).eval()
    net = getattr(torchvision.models, name)(weights=None)
    if name.startswith("vit"):
        # torchvision begins with a head of zeros, whose output would prove nothing.
        torch.nn.init.trunc_normal_(net.heads.head.weight, std=0.05)
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    if norms:
        net.eval()
        for m in norms:
            m.train()
            m.momentum = 1.0
        with torch.no_grad():
            net(images(4, 0))
    net.eval()
    with torch.no_grad():
        x = images(1, 1)
        want = net(x)
        fold(net)
        error = (net(x) - want).norm() / want.norm()
    left = [n for n, m in net.named_modules() if isinstance(m, torch.nn.BatchNorm2d)]
    if left or not error < 1e-3:
        raise RuntimeError(f"{name}: folding left {left} and changed outputs by {float(error):.1e}")
    return net


def load(name, folder):
    """The network and its ONNX file, both kept in a folder, so that all runs have the same weights."""
    os.makedirs(folder, exist_ok=True)
    weights, model = os.path.join(folder, f"{name}.pt"), os.path.join(folder, f"{name}.onnx")
    if os.path.exists(weights) and os.path.exists(model):
        return torch.load(weights, weights_only=False), model
    start = time.monotonic()
    net = make(name)
    export(net, name, model)
    torch.save(net, weights)
    print(f"{name}: made and exported in {time.monotonic() - start:.1f} s", flush=True)
    return net, model


def export(net, name, path):
    """Writes the ONNX file, its batch open."""
    x = example(name, 2, 0)
    try:
        torch.onnx.export(net, (x,), path, input_names=[INPUT], output_names=["output"], dynamo=False,
                          dynamic_axes={INPUT: {0: "batch"}, "output": {0: "batch"}}, opset_version=17)
    except Exception as e:  # The older exporter is quick, and may be gone.
        print(f"exporting again, for: {str(e)[:200]}", flush=True)
        batch = {"x": {0: torch.export.Dim("batch")}}
        torch.onnx.export(net, (x,), path, input_names=[INPUT], output_names=["output"], dynamo=True,
                          dynamic_shapes=batch, verbose=False)
