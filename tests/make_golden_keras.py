"""Makes tests/golden/densenet_keras.safetensors with Keras 3: KERAS_BACKEND=jax python -m tests.make_golden_keras

Keras is not among the project's test tools; install it beside them to run this.
"""

import json
import tempfile
from pathlib import Path

import h5py
import keras
from keras.src.applications.densenet import DenseNet
from safetensors.numpy import save_file

from tests.backbone_cases import KERAS_FRAMES, KERAS_SHAPE, frames, keras_value

network = DenseNet(list(KERAS_SHAPE.layers), weights=None, classes=10)
for layer in network.layers:
    values = [keras_value(f"{layer.name}/{variable.name}", variable.shape) for variable in layer.variables]
    layer.set_weights(values)
# With its classifier Keras takes 224x224 only; the weights do not depend on it.
body = DenseNet(list(KERAS_SHAPE.layers), weights=None, include_top=False, pooling="avg", input_shape=(64, 64, 3))
for layer in body.layers:
    if layer.variables:
        layer.set_weights(network.get_layer(layer.name).get_weights())
pixels = keras.applications.densenet.preprocess_input(frames(KERAS_FRAMES).astype("float32"))
golden = body.predict(pixels, verbose=0)

sizes: dict[str, list[int]] = {}
with tempfile.TemporaryDirectory() as folder:
    network.save(Path(folder) / "model.h5")
    with h5py.File(Path(folder) / "model.h5") as file:
        file.visititems(lambda name, node: sizes.update({name: node.shape}) if hasattr(node, "shape") else None)
save_file(
    {"features": golden},
    Path(__file__).parent / "golden" / "densenet_keras.safetensors",
    {"sizes": json.dumps(sizes), "keras": keras.__version__},
)
print(golden.shape, golden.mean(), golden.std())
