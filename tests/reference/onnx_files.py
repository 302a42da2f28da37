"""ONNX files of CAM++ and PyanNet: small ones with random weights, by both exporters of PyTorch; with a folder as argument, exports of
the published networks like those in circulation.

The files in circulation are not available everywhere. This script exports with the same calls, opsets and input names (3D-Speaker
`export_speaker_embedding_onnx.py`; sherpa-onnx `scripts/3dspeaker/export-onnx.py`, `scripts/pyannote/segmentation/export-onnx.py`;
WeSpeaker `bin/export_onnx.py`). Needs torch, onnx, onnxscript, pyannote.audio, and checkouts of 3D-Speaker in $SPEAKERLAB and, for
the folder, of WeSpeaker in $WESPEAKER. The published weights (tests/real/fetch.sh) are in $DIARIST_REAL.
"""

import os
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import nn

import golden
import seeded

sys.path.insert(0, os.environ["SPEAKERLAB"])
from speakerlab.models.campplus import DTDNN, layers  # noqa: E402

warnings.filterwarnings("ignore")
FOLDER = golden.DATA / "onnx"


class Narrow(DTDNN.CAMPPlus):
    """CAM++ with fewer layers and channels than its constructor allows."""

    def __init__(self):
        nn.Module.__init__(self)
        self.head = DTDNN.FCM(m_channels=16, feat_dim=16)
        norm = "batchnorm-relu"
        self.xvector = nn.Sequential()
        self.xvector.add_module("tdnn", layers.TDNNLayer(self.head.out_channels, 32, 5, stride=2, padding=-1, config_str=norm))
        channels = 32
        for i, (count, dilation) in enumerate(zip((2, 1, 2), (1, 2, 2))):
            block = layers.CAMDenseTDNNBlock(count, channels, 8, 16, 3, dilation=dilation, config_str=norm)
            self.xvector.add_module(f"block{i + 1}", block)
            channels += 8 * count
            self.xvector.add_module(f"transit{i + 1}", layers.TransitLayer(channels, channels // 2, bias=False, config_str=norm))
            channels //= 2
        self.xvector.add_module("out_nonlinear", layers.get_nonlinear(norm, channels))
        self.xvector.add_module("stats", layers.StatsPool())
        self.xvector.add_module("dense", layers.DenseLayer(channels * 2, 12, config_str="batchnorm_"))


def randomise(model, seed):
    for name, tensor in model.state_dict().items():
        if name.endswith(("num_batches_tracked", "window_", "n_", "low_hz_", "band_hz_")):
            continue
        if name.endswith("running_var"):
            center, scale = 1.0, 0.5
        elif tensor.dim() == 1:
            center, scale = (0.7, 0.3) if name.endswith("weight") else (0.0, 0.2)
        else:
            center, scale = 0.0, (6.0 / np.prod(tensor.shape[1:])) ** 0.5
        values = seeded.values(seed, name, np.arange(tensor.numel()), center, scale)
        tensor.copy_(torch.from_numpy(values.reshape(tensor.shape)))
    return model.eval()


def export(model, example, target, **options):
    torch.onnx.export(model, example, target, **options)
    target.chmod(0o644)
    print(target.name, target.stat().st_size, "bytes")


def describe(target, **said):
    """Adds metadata to an ONNX file, as sherpa-onnx does."""
    model = onnx.load(target)
    for key, value in said.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, str(value)
    onnx.save(model, target)


def without_traces(target):
    """Removes the Python stack traces that the dynamo exporter stores at each node."""
    model = onnx.load(target)
    for node in model.graph.node:
        del node.metadata_props[:]
    for entries in (model.graph.value_info, model.graph.metadata_props, model.metadata_props):
        del entries[:]
    onnx.save(model, target)
    print(target.name, target.stat().st_size, "bytes without traces")


def bake(target):
    """Replaces the computation of the sinc filters by a constant weight, as the exporters of 2024 did: runs the model up to the
    convolution."""
    from onnx.reference import ReferenceEvaluator

    model = onnx.load(target)
    graph = model.graph
    condition = next(node for node in graph.node if node.op_type == "If")
    inner = next(node for branch in condition.attribute for node in branch.g.node if node.op_type == "Conv")
    name = inner.input[1]
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [80, 1, 251]))
    filters = ReferenceEvaluator(probe).run(None, {graph.input[0].name: np.zeros((1, 1, 16000), dtype=np.float32)})[0]
    graph.initializer.append(onnx.numpy_helper.from_array(filters.astype(np.float32), "onnx::Conv_filters"))
    convolution = onnx.helper.make_node("Conv", [graph.node[0].output[0], "onnx::Conv_filters"], list(condition.output),
                                        kernel_shape=[251], strides=[10])
    kept = []
    for node in graph.node:
        if node is condition or node.op_type == "If":
            kept.append(convolution)
        elif not any(output.startswith("/sincnet/conv1d.0/") or output.startswith("onnx::") for output in node.output) \
                or node.op_type == "Constant":
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    for tensor in [tensor for tensor in graph.initializer if "filterbank" in tensor.name or tensor.name.startswith("onnx::Div")]:
        graph.initializer.remove(tensor)
    onnx.save(model, target)
    print("baked", target.stat().st_size, "bytes")


@torch.no_grad()
def small():
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.segmentation import PyanNet

    FOLDER.mkdir(exist_ok=True)
    meta = {"script": "onnx_files.py", **golden.versions("torch", "onnx", "onnxscript", "pyannote.audio", "numpy")}
    tensors = {}
    model = randomise(Narrow(), 720)
    example = torch.rand(1, 100, 16)
    dynamic = {"x": {0: "N", 1: "T"}}
    export(model, example, FOLDER / "campplus-13.onnx", opset_version=13, input_names=["x"], output_names=["embedding"],
           dynamic_axes=dynamic)
    export(model, example, FOLDER / "campplus-14-unfolded.onnx", opset_version=14, do_constant_folding=False,
           training=torch.onnx.TrainingMode.PRESERVE, input_names=["x"], output_names=["embedding"], dynamic_axes=dynamic)
    export(model, (example,), FOLDER / "campplus-dynamo.onnx", dynamo=True, external_data=False)
    without_traces(FOLDER / "campplus-dynamo.onnx")
    from campplus import features

    audio = seeded.audio_f32(721, 24000)
    tensors["campplus"] = model(features(audio, 16)[None])[0].numpy()
    meta["campplus"] = {"audio_seed": 721, "samples": 24000}

    network = PyanNet(sincnet={"stride": 10}, lstm={"hidden_size": 16, "num_layers": 2, "bidirectional": True, "monolithic": True},
                      linear={"hidden_size": 32, "num_layers": 2})
    network.specifications = Specifications(problem=Problem.MONO_LABEL_CLASSIFICATION, resolution=Resolution.FRAME, duration=2.0,
                                            classes=["a", "b", "c"], powerset_max_classes=2, permutation_invariant=True)
    network.build()
    randomise(network, 722)
    example = torch.zeros(1, 1, 32000)
    target = FOLDER / "pyannet-13.onnx"
    export(network, example, target, opset_version=13, input_names=["x"], output_names=["y"],
           dynamic_axes={"x": {0: "N", 2: "T"}, "y": {0: "N", 1: "T"}})
    describe(target, num_speakers=3, powerset_max_classes=2, num_classes=7, sample_rate=16000, window_size=32000)
    audio = seeded.audio_f32(723, 32000)
    tensors["pyannet"] = network(torch.from_numpy(audio)[None, None])[0].numpy()
    meta["pyannet"] = {"audio_seed": 723, "samples": 32000}
    golden.write_tensors("onnx/results.safetensors", tensors, meta)


@torch.no_grad()
def circulating(folder):
    from pyannote.audio import Model

    folder.mkdir(exist_ok=True)
    real = Path(os.environ["DIARIST_REAL"])
    model = DTDNN.CAMPPlus(80, 192)
    model.load_state_dict(torch.load(real / "campplus/campplus_cn_en_common.pt", weights_only=True))
    export(model.eval(), torch.rand(1, 100, 80), folder / "campplus.onnx", opset_version=13, input_names=["x"],
           output_names=["embedding"], dynamic_axes={"x": {0: "N", 1: "T"}, "embeddings": {0: "N"}})
    model = Model.from_pretrained(real / "segmentation-3.0/pytorch_model.bin").eval()
    for name in ["segmentation.onnx", "segmentation-baked.onnx"]:
        export(model, model.example_input_array, folder / name, opset_version=13, input_names=["x"], output_names=["y"],
               dynamic_axes={"x": {0: "N", 2: "T"}, "y": {0: "N", 1: "T"}})
    describe(folder / "segmentation.onnx", num_speakers=3, powerset_max_classes=2, num_classes=7, sample_rate=16000, window_size=160000)
    bake(folder / "segmentation-baked.onnx")
    sys.modules["wespeaker"] = types.ModuleType("wespeaker")
    sys.modules["wespeaker"].__path__ = [os.path.join(os.environ["WESPEAKER"], "wespeaker")]
    from wespeaker.models.resnet import ResNet34

    class WithMean(nn.Module):
        def __init__(self, model, mean):
            super().__init__()
            self.model = model
            self.register_buffer("mean_vec", mean)

        def forward(self, feats):
            return self.model(feats)[-1] - self.mean_vec

    model = randomise(ResNet34(80, 256, "TSTP", False), 724)
    torch.save(model.state_dict(), folder / "avg_model.pt")
    mean = torch.from_numpy(seeded.values(724, "mean_vec", np.arange(256), 0.0, 0.1))
    export(WithMean(model, mean).eval(), torch.ones(1, 200, 80), folder / "resnet34.onnx", opset_version=14,
           do_constant_folding=True, input_names=["feats"], output_names=["embs"], dynamic_axes={"feats": {0: "B", 1: "T"}})
    import torchaudio.compliance.kaldi as kaldi

    audio = torch.from_numpy(seeded.audio_f32(725, 40000))[None] * (1 << 15)
    fbank = kaldi.fbank(audio, num_mel_bins=80, dither=0.0, window_type="hamming")
    found = model(fbank[None] - fbank.mean(0))[-1][0]
    golden.write_tensors("onnx/resnet34.safetensors", {"plain": found.numpy(), "mean": (found - mean).numpy()},
                         {"script": "onnx_files.py", **golden.versions("torch"), "audio_seed": 725, "samples": 40000})


if __name__ == "__main__":
    torch.set_num_threads(1)
    circulating(Path(sys.argv[1])) if len(sys.argv) > 1 else small()
