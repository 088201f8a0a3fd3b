"""A stand-in for tinycudann: its modules' flat parameters read by its documentation, on the CPU, slowly."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Network(nn.Module):
    def __init__(self, n_input_dims: int, n_output_dims: int, network_config: dict, seed: int = 1337) -> None:
        super().__init__()
        assert network_config["otype"] == "FullyFusedMLP" and network_config["activation"] == "ReLU"
        assert network_config["output_activation"] == "None" and n_input_dims % 16 == 0
        width = network_config["n_neurons"]
        outputs = math.ceil(n_output_dims / 16) * 16
        self.n_output_dims = n_output_dims
        hidden = [(width, width)] * (network_config["n_hidden_layers"] - 1)
        self.shapes = [(width, n_input_dims), *hidden, (outputs, width)]
        self.params = nn.Parameter(torch.zeros(sum(rows * columns for rows, columns in self.shapes)))

    def forward(self, value: Tensor) -> Tensor:
        begin = 0
        for number, (rows, columns) in enumerate(self.shapes):
            weight = self.params[begin : begin + rows * columns].reshape(rows, columns)
            value = value @ weight.T
            begin += rows * columns
            if number + 1 < len(self.shapes):
                value = value.clamp(min=0)
        return value[:, : self.n_output_dims].half()  # as on a GPU


class Encoding(nn.Module):
    def __init__(self, n_input_dims: int, encoding_config: dict) -> None:
        super().__init__()
        self.encoding = encoding_config
        assert encoding_config["otype"] == "Grid" and n_input_dims == 3
        rows = sum(entries for _, _, entries in self.levels())
        self.params = nn.Parameter(torch.zeros(rows * self.encoding["n_features_per_level"]))

    def levels(self) -> list[tuple[float, int, int]]:
        """Returns (scale, resolution, entries) of every level."""
        found = []
        for level in range(self.encoding["n_levels"]):
            scale = 2 ** (level * math.log2(self.encoding["per_level_scale"])) * self.encoding["base_resolution"] - 1
            resolution = math.ceil(scale) + 1
            entries = min(math.ceil(resolution**3 / 8) * 8, 2 ** self.encoding["log2_hashmap_size"])
            found.append((scale, resolution, entries))
        return found

    def forward(self, position: Tensor) -> Tensor:
        features, begin, width = [], 0, self.encoding["n_features_per_level"]
        for scale, resolution, entries in self.levels():
            table = self.params[begin : begin + entries * width].reshape(entries, width)
            begin += entries * width
            place = position * scale + 0.5
            low = place.floor().long()
            part, total = place - low, 0
            for corner in range(8):
                upper = torch.tensor([corner & 1, corner >> 1 & 1, corner >> 2 & 1])
                x, y, z = (low + upper).unbind(1)
                if resolution**3 <= entries:
                    row = x + y * resolution + z * resolution**2
                else:
                    row = x ^ (y * 2654435761 & 0xFFFFFFFF) ^ (z * 805459861 & 0xFFFFFFFF)
                weight = torch.where(upper.bool(), part, 1 - part).prod(1)
                total = total + weight[:, None] * table[row % entries]
            features.append(total)
        return torch.cat(features, dim=1).half()  # as on a GPU
