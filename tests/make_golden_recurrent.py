"""Makes golden/recurrent.npz with PyTorch: outputs of its LSTM and GRU on clips of different lengths.

    python tests/make_golden_recurrent.py

Weights and inputs are drawn by NumPy from a fixed seed, in this file, so that the tests draw the same.
"""

from pathlib import Path

import numpy as np

KINDS = ("lstm", "bilstm", "gru")
FEATURES, HIDDEN, LENGTHS = 12, 7, (5, 1, 3, 5, 2)
GOLDEN = Path(__file__).parent / "golden" / "recurrent.npz"


def draw(kind: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Weights in PyTorch's names, and inputs [b t d] that are noise behind a clip's end."""
    rng = np.random.default_rng(KINDS.index(kind))
    gates = 3 if kind == "gru" else 4
    shapes = {
        "weight_ih_l0": (gates * HIDDEN, FEATURES),
        "weight_hh_l0": (gates * HIDDEN, HIDDEN),
        "bias_ih_l0": (gates * HIDDEN,),
        "bias_hh_l0": (gates * HIDDEN,),
    }
    if kind == "bilstm":
        shapes |= {f"{name}_reverse": shape for name, shape in shapes.items()}
    weights = {name: rng.normal(scale=0.5, size=shape).astype(np.float32) for name, shape in shapes.items()}
    return weights, rng.normal(size=(len(LENGTHS), max(LENGTHS), FEATURES)).astype(np.float32)


def outputs_of_torch(kind: str) -> np.ndarray:
    """Hidden states [b t h] of PyTorch's layer on packed sequences, zero behind a clip's end."""
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    weights, inputs = draw(kind)
    layer = (torch.nn.GRU if kind == "gru" else torch.nn.LSTM)(
        FEATURES, HIDDEN, batch_first=True, bidirectional=kind == "bilstm"
    )
    layer.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    packed = pack_padded_sequence(torch.from_numpy(inputs), list(LENGTHS), batch_first=True, enforce_sorted=False)
    with torch.no_grad():
        states, _ = pad_packed_sequence(layer(packed)[0], batch_first=True)
    return states.numpy()


if __name__ == "__main__":
    np.savez_compressed(GOLDEN, **{kind: outputs_of_torch(kind) for kind in KINDS})
