#!/usr/bin/env python3
"""Exports small versions of many architectures with random weights: architectures.py FOLDER [NAME...]

    cargo xtask models --run FOLDER

then runs each against ONNX Runtime. Classifiers, segmentation, detectors, video and optical flow are torchvision's in their
own sizes, on small images; language, speech, vision and mixed models are those of transformers, two layers deep. Detectors
end in loops, branches and suppressed boxes, so that their sizes depend on data.

Needs PyTorch 1.13 or later, torchvision and transformers (4.36: later ones trace some of these no more). With Debian's
packages: apt install python3-torch python3-torchvision; pip install --target FOLDER transformers==4.36.2
tokenizers==0.15.2 safetensors==0.4.5 huggingface-hub==0.20.3, and PYTHONPATH=FOLDER.
"""
import os
import sys
import warnings

import numpy as np
import torch
import transformers as T
from torch import nn
from torchvision import models as V

SMALL = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)
WORDS = dict(SMALL, vocab_size=99)
IMAGE = dict(SMALL, image_size=64, patch_size=16)
CODERS = dict(d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
              encoder_ffn_dim=48, decoder_ffn_dim=48, vocab_size=99)
STAGES = dict(hidden_sizes=[16, 32, 48, 64], depths=[1] * 4)


def ids(batch=2, length=12, most=99):
    return torch.randint(3, most, (batch, length))


def text(batch=2, length=12):
    mask = torch.cat([torch.ones(batch, length - 3), torch.zeros(batch, 3)], 1).long()
    return {"input_ids": ids(batch, length), "attention_mask": mask}


def both():
    return {**text(), "decoder_input_ids": ids(2, 7)}


def pixels(size=64, batch=2):
    return {"pixel_values": torch.rand(batch, 3, size, size)}


def image(height=96, width=96, batch=2):
    return {"x": torch.rand(batch, 3, height, width)}


class Flat(nn.Module):
    """A model of transformers, its inputs given by position, its tensors as a flat list."""

    def __init__(self, model, names):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs):
        found = []

        def walk(value):
            if torch.is_tensor(value):
                found.append(value)
            elif isinstance(value, (tuple, list)):
                for v in value:
                    walk(v)

        walk(self.model(**dict(zip(self.names, inputs)), return_dict=False))
        return tuple(found[:12])


class Part(nn.Module):
    """What a function makes of a model's result."""

    def __init__(self, model, of, **options):
        super().__init__()
        self.model, self.of, self.options = model, of, options

    def forward(self, *inputs):
        return self.of(self.model(*inputs, **self.options))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 16, 2, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(32, 8)

    def forward(self, x):
        return self.gru(self.lstm(x)[0])


def spread(detector, images):
    """Random weights give all boxes nearly one score, whose order rounding decides: these are scaled to logits that differ."""
    sizes = {}
    heads = [m for n, m in detector.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))
             and any(part in n for part in ("cls_logits", "cls_score", "classification_head.module_list"))]

    def note(module, _, result):  # What it returns would be the result.
        sizes.setdefault(module, float(result.std()))

    hooks = [m.register_forward_hook(note) for m in heads]
    detector.eval()
    with torch.no_grad():
        detector(images["x"])
    for hook in hooks:
        hook.remove()
    for head in heads:
        head.weight.data.mul_(2 / sizes[head])
    return detector


def torchvision():
    """Name: what makes a model, and its inputs."""
    out = {}
    sizes = dict(densenet121=64, googlenet=96, inception_v3=128, mnasnet0_5=96, mobilenet_v3_small=96,
                 mobilenet_v3_large=96, regnet_y_400mf=96, regnet_x_400mf=96, resnext50_32x4d=96, shufflenet_v2_x0_5=96,
                 squeezenet1_1=96, convnext_tiny=64, swin_t=96, maxvit_t=224, efficientnet_v2_s=96)
    for name, size in sizes.items():
        out[name] = (lambda n=name: getattr(V, n)(weights=None), image(size, size))
    for name in ["deeplabv3_mobilenet_v3_large", "fcn_resnet50", "lraspp_mobilenet_v3_large"]:
        make = getattr(V.segmentation, name)
        out[name] = (lambda m=make: Part(m(weights=None, weights_backbone=None), lambda r: r["out"]), image(128, 128, 1))
    for name in ["fasterrcnn_resnet50_fpn", "retinanet_resnet50_fpn", "fcos_resnet50_fpn",
                 "maskrcnn_resnet50_fpn", "keypointrcnn_resnet50_fpn", "ssdlite320_mobilenet_v3_large", "ssd300_vgg16"]:
        sized = {} if name.startswith("ssd") else dict(min_size=128, max_size=160)
        # Of random weights every box has a low score: all are kept.
        sized["box_score_thresh" if "rcnn" in name else "score_thresh"] = 0.0
        make = getattr(V.detection, name)
        seen = image(128, 160, 1)
        out[name] = (lambda m=make, s=sized, i=seen: spread(m(weights=None, weights_backbone=None, **s), i), seen)
    for name in ["r3d_18", "mc3_18", "r2plus1d_18"]:
        out[name] = (lambda n=name: getattr(V.video, n)(weights=None), {"x": torch.rand(1, 3, 8, 56, 56)})
    if hasattr(V.video, "mvit_v1_b"):
        out["mvit_v1_b"] = (lambda: V.video.mvit_v1_b(weights=None), {"x": torch.rand(1, 3, 16, 224, 224)})
    flow = lambda: Part(V.optical_flow.raft_small(weights=None), lambda r: r[-1], num_flow_updates=3)  # noqa: E731
    out["raft_small"] = (flow, {"a": torch.rand(1, 3, 128, 128), "b": torch.rand(1, 3, 128, 128)})
    out["lstm_and_gru"] = (Recurrent, {"x": torch.randn(2, 5, 8)})
    return out


def language():
    """Name: class of the model, its configuration, its inputs."""
    out = {}
    for name in ["Bert", "Roberta", "Electra", "Albert", "MPNet", "Nystromformer", "ConvBert", "MobileBert", "Ernie",
                 "RoFormer", "XLMRoberta", "Splinter", "MegatronBert", "IBert", "Yoso", "Deberta", "DebertaV2", "Longformer",
                 "GPTNeoX", "Phi", "Persimmon", "Llama", "Mistral", "Mixtral"]:
        own = {}
        if name.startswith("Deberta"):
            own = dict(relative_attention=True, pos_att_type=["c2p", "p2c"], max_relative_positions=-1)
        elif name == "Longformer":
            own = dict(attention_window=4)
        elif name in ("Llama", "Mistral", "Mixtral"):
            own = dict(num_key_value_heads=2, max_position_embeddings=64)
        out[name.lower()] = (name + "Model", name + "Config", dict(WORDS, **own), text())
    out["llama_lm"] = ("LlamaForCausalLM", "LlamaConfig", dict(WORDS, num_key_value_heads=2), text())
    out["distilbert"] = ("DistilBertModel", "DistilBertConfig",
                         dict(dim=32, n_layers=2, n_heads=4, hidden_dim=48, vocab_size=99), text())
    heads = dict(n_embd=32, n_layer=2, n_head=4, vocab_size=99)
    out["gpt2"] = ("GPT2LMHeadModel", "GPT2Config", heads, text())
    for name in ["GPTJ", "CodeGen"]:
        out[name.lower()] = (name + "Model", name + "Config", dict(heads, rotary_dim=4, n_positions=64), text())
    out["gptneo"] = ("GPTNeoModel", "GPTNeoConfig",
                     dict(hidden_size=32, num_layers=2, num_heads=4, vocab_size=99, window_size=4,
                          attention_types=[[["global", "local"], 1]], max_position_embeddings=64), text())
    out["opt"] = ("OPTModel", "OPTConfig",
                  dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, ffn_dim=48, vocab_size=99,
                       word_embed_proj_dim=32), text())
    for name in ["Bloom", "Falcon"]:
        out[name.lower()] = (name + "Model", name + "Config",
                             dict(hidden_size=32, n_layer=2, n_head=4, num_hidden_layers=2, num_attention_heads=4,
                                  vocab_size=99), text())
    t5 = dict(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, vocab_size=99)
    out["t5"] = ("T5Model", "T5Config", t5, both())
    out["t5_encoder"] = ("T5EncoderModel", "T5Config", t5, text())
    for name in ["Bart", "Pegasus", "Marian", "MBart", "M2M100", "Blenderbot"]:
        out[name.lower()] = (name + "Model", name + "Config",
                             dict(CODERS, max_position_embeddings=64, pad_token_id=1), both())
    out["xlnet"] = ("XLNetModel", "XLNetConfig", dict(d_model=32, n_layer=2, n_head=4, d_inner=48, vocab_size=99), text())
    return out


def speech():
    out = {}
    out["whisper"] = ("WhisperModel", "WhisperConfig",
                      dict(CODERS, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
                           max_source_positions=50, num_mel_bins=20),
                      {"input_features": torch.randn(2, 20, 100), "decoder_input_ids": ids(2, 7)})
    waves = dict(SMALL, conv_dim=(16, 16, 16), conv_stride=(5, 2, 2), conv_kernel=(10, 3, 3), num_conv_pos_embeddings=16,
                 num_conv_pos_embedding_groups=4, vocab_size=32)
    for name in ["Wav2Vec2", "Hubert", "UniSpeechSat", "WavLM"]:
        out[name.lower()] = (name + "Model", name + "Config", waves, {"input_values": torch.randn(2, 2000)})
    # Without its noise, which every engine draws for itself.
    out["vits"] = ("VitsModel", "VitsConfig",
                   dict(vocab_size=38, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, ffn_dim=32, flow_size=16,
                        spectrogram_bins=32, upsample_initial_channel=32, duration_predictor_num_flows=1,
                        depth_separable_num_layers=1, wavenet_dilation_rate=1, prior_encoder_num_flows=1,
                        prior_encoder_num_wavenet_layers=1, noise_scale=0.0, noise_scale_duration=0.0),
                   {"input_ids": ids(1, 12, 37)})
    out["timeseries"] = ("TimeSeriesTransformerModel", "TimeSeriesTransformerConfig",
                         dict(prediction_length=4, context_length=8, d_model=16, lags_sequence=[1, 2], num_time_features=1,
                              encoder_layers=1, decoder_layers=1),
                         {"past_values": torch.rand(2, 10), "past_time_features": torch.rand(2, 10, 1),
                          "past_observed_mask": torch.ones(2, 10), "future_values": torch.rand(2, 4),
                          "future_time_features": torch.rand(2, 4, 1)})
    return out


def vision():
    out = {}
    for name in ["ViT", "DeiT", "Beit", "Dinov2", "ViTMSN", "Data2VecVision"]:
        out[name.lower()] = (name + "Model", name + "Config", IMAGE, pixels())
    out["yolos"] = ("YolosModel", "YolosConfig", dict(IMAGE, image_size=[64, 64]), pixels())
    words_and_images = dict(text_config=dict(WORDS, max_position_embeddings=32), vision_config=IMAGE, projection_dim=24)
    mixed = {"input_ids": ids(), **pixels(), "attention_mask": text()["attention_mask"]}
    out["clip"] = ("CLIPModel", "CLIPConfig", words_and_images, mixed)
    words_and_images = dict(words_and_images, text_config=dict(WORDS, max_position_embeddings=12))
    out["owlvit"] = ("OwlViTModel", "OwlViTConfig", words_and_images, mixed)
    pyramid = dict(hidden_sizes=[16, 32, 40, 64], depths=[1] * 4)
    out["segformer"] = ("SegformerForSemanticSegmentation", "SegformerConfig", dict(pyramid, decoder_hidden_size=32), pixels())
    out["pvt"] = ("PvtModel", "PvtConfig", dict(pyramid, image_size=64), pixels())
    out["glpn"] = ("GLPNForDepthEstimation", "GLPNConfig", dict(pyramid, decoder_hidden_size=16), pixels())
    windows = dict(image_size=64, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4)
    out["swin"] = ("SwinModel", "SwinConfig", windows, pixels())
    out["swin2sr"] = ("Swin2SRForImageSuperResolution", "Swin2SRConfig",
                      dict(image_size=32, embed_dim=32, depths=[2], num_heads=[4], window_size=8), pixels(32))
    out["convnextv2"] = ("ConvNextV2Model", "ConvNextV2Config", STAGES, pixels())
    out["poolformer"] = ("PoolFormerModel", "PoolFormerConfig", STAGES, pixels())
    out["van"] = ("VanModel", "VanConfig", STAGES, pixels())
    out["mobilevit"] = ("MobileViTModel", "MobileViTConfig", dict(image_size=64), pixels())
    out["efficientformer"] = ("EfficientFormerModel", "EfficientFormerConfig",
                              dict(depths=[1, 1, 2, 2], hidden_sizes=[16, 32, 48, 64], dim=64, num_meta3d_blocks=1),
                              pixels(224, 1))
    out["levit"] = ("LevitModel", "LevitConfig",
                    dict(image_size=64, hidden_sizes=[32, 48, 64], num_attention_heads=[2, 2, 2], depths=[1, 1, 1],
                         key_dim=[8, 8, 8]), pixels())
    out["focalnet"] = ("FocalNetModel", "FocalNetConfig", dict(image_size=64, embed_dim=16, depths=[1] * 4), pixels())
    out["dpt"] = ("DPTForDepthEstimation", "DPTConfig",
                  dict(IMAGE, num_hidden_layers=4, backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[16] * 4,
                       fusion_hidden_size=16), pixels())
    frames = dict(SMALL, image_size=32, patch_size=8, num_frames=4)
    for name in ["Timesformer", "VideoMAE"]:
        out[name.lower()] = (name + "Model", name + "Config", frames, {"pixel_values": torch.rand(1, 4, 3, 32, 32)})
    out["perceiver"] = ("PerceiverModel", "PerceiverConfig",
                        dict(num_latents=8, d_latents=32, d_model=16, num_self_attends_per_block=2,
                             num_self_attention_heads=4, num_cross_attention_heads=2, vocab_size=99),
                        {"inputs": torch.randn(2, 10, 16)})
    backbone = dict(embedding_size=16, hidden_sizes=[16, 32, 48, 64], depths=[1] * 4, layer_type="basic")
    detr = dict(use_timm_backbone=False, d_model=32, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=48,
                decoder_ffn_dim=48, encoder_attention_heads=4, decoder_attention_heads=4, num_queries=5)
    out["detr"] = ("DetrModel", "DetrConfig",
                   dict(detr, backbone_config=T.ResNetConfig(**backbone, out_features=["stage4"])), pixels())
    return out


def export(folder, name, model, inputs, opset):
    path = os.path.join(folder, name)
    model.eval()
    with torch.no_grad():
        torch.onnx.export(model, tuple(inputs.values()), path + ".part", input_names=list(inputs), opset_version=opset)
    os.replace(path + ".part", path + ".onnx")
    np.savez(path + ".npz", **{f"first/{k}": v.numpy() for k, v in inputs.items()})
    print(f"{name}: {os.path.getsize(path + '.onnx') / 1e6:.1f} MB", flush=True)


def main():
    warnings.filterwarnings("ignore")
    folder, names = sys.argv[1], sys.argv[2:]
    os.makedirs(folder, exist_ok=True)
    torch.manual_seed(0)
    transformer = lambda cls, config, options, inputs: (  # noqa: E731
        lambda: Flat(getattr(T, cls)(getattr(T, config)(**options)), list(inputs)), inputs)
    models = {n: transformer(*m) for group in (language(), speech(), vision()) for n, m in group.items()}
    models.update(torchvision())
    failed = 0
    for name, (make, inputs) in models.items():
        if names and name not in names or os.path.exists(os.path.join(folder, name + ".npz")):
            continue
        try:
            export(folder, name, make(), inputs, 16)
        except Exception as e:  # What this version of a package cannot trace is left out.
            print(f"{name}: {type(e).__name__}: {str(e).splitlines()[0][:120]}", file=sys.stderr, flush=True)
            failed += 1
    print(f"{failed} could not be exported")


if __name__ == "__main__":
    main()
