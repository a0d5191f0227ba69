"""Features, maps of them, and how similar they are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._errors import Error, in_python
from ._html import Page, escaped
from ._results import Result, new_axes, pandas_module

if TYPE_CHECKING:
    import numpy
    import pandas


@dataclass(frozen=True, repr=False, eq=False)
class Features:
    """Features of images at a layer. `numpy.asarray` gives their values, so every library takes them."""

    #: `[n, width]`, float32.
    values: numpy.ndarray[Any, Any]
    #: Positions in `classes`, int64; −1 where unknown.
    labels: numpy.ndarray[Any, Any]
    #: What each image is called.
    paths: tuple[str, ...]
    classes: tuple[str, ...]
    layer: str

    @classmethod
    def _of_shards(cls, shards: Sequence[str], layer: str) -> Features:
        """The features of all .npz files of an extraction, in their order."""
        import numpy

        parts = [numpy.load(shard) for shard in shards]
        values, labels = (numpy.concatenate([part[key] for part in parts]) for key in ("features", "labels"))
        paths = tuple(str(path) for part in parts for path in part["paths"])
        return cls(values, labels, paths, tuple(str(name) for name in parts[0]["classes"]), layer)

    @classmethod
    def _of_folder(cls, folder: str, layer: str) -> Features:
        """The features of a folder of Parquet files, or of a location with them."""
        import numpy
        from pyarrow import fs, parquet

        system, place = fs.FileSystem.from_uri(folder)
        files = sorted(file.path for file in system.get_file_info(fs.FileSelector(place)) if file.extension == "parquet")
        table = parquet.read_table(files, filesystem=system)
        values = table.column("features").combine_chunks().flatten().to_numpy().reshape(len(table), -1)
        labels = table.column("label").to_numpy().astype(numpy.int64)
        classes = tuple(json.loads(parquet.read_schema(files[0], filesystem=system).metadata[b"classes"]))
        return cls(values, labels, tuple(table.column("path").to_pylist()), classes, layer)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        import numpy

        return numpy.array(self.values, dtype=dtype) if copy else numpy.asarray(self.values, dtype=dtype)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def shape(self) -> tuple[int, int]:
        """Images and values of each."""
        n, width = self.values.shape
        return n, width

    def class_names(self) -> list[str | None]:
        """The class of each image by its name."""
        return [self.classes[label] if 0 <= label < len(self.classes) else None for label in self.labels]

    def save(self, path: str | Path) -> Path:
        """Writes an .npz file as `retune features` does; `retune umap` and `retune knn` read it."""
        import numpy

        path = Path(path)
        if path.suffix != ".npz":
            raise Error(f"{path} must end with .npz; `retune.features(…, out=…)` also writes .parquet and .safetensors")
        numpy.savez(
            path, features=self.values, labels=self.labels, paths=numpy.array(self.paths), classes=numpy.array(self.classes)
        )
        return path

    def to_pandas(self) -> pandas.DataFrame:
        """One row for each image: its path, its class, and its values."""
        frame = pandas_module().DataFrame(self.values)
        frame.insert(0, "class", self.class_names())
        frame.insert(0, "path", list(self.paths))
        return frame

    def __repr__(self) -> str:
        n, width = self.shape
        return f"Features(n={n}, width={width}, layer={self.layer!r}, classes={len(self.classes)})"


@dataclass(frozen=True, repr=False, eq=False)
class Map:
    """Images in two dimensions, from UMAP. `numpy.asarray` gives the points."""

    #: `[n, 2]`, float32.
    points: numpy.ndarray[Any, Any]
    #: The class of each image, where it is known.
    labels: tuple[str | None, ...]
    #: What each image is called.
    paths: tuple[str, ...]
    #: How far neighbors on the map are neighbors by their features, over 15 neighbors; None for many images.
    trustworthiness: float | None
    #: The file that `out` named.
    path: Path | None = None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        import numpy

        return numpy.array(self.points, dtype=dtype) if copy else numpy.asarray(self.points, dtype=dtype)

    def __len__(self) -> int:
        return len(self.points)

    def to_pandas(self) -> pandas.DataFrame:
        """One row for each image: x, y, label and path."""
        columns = {"x": self.points[:, 0], "y": self.points[:, 1], "label": self.labels, "path": self.paths}
        return pandas_module().DataFrame(columns)

    def plot(self, axes: Any = None, **scatter: Any) -> Any:
        """Draws the map with matplotlib, a color for each class, and returns the axes."""
        axes = new_axes(axes, 6.0, 5.0)
        options = {"s": 8, "linewidths": 0, **scatter}
        names = sorted({str(label) for label in self.labels if label is not None})
        for name in [*names, None]:
            chosen = [index for index, label in enumerate(self.labels) if (None if label is None else str(label)) == name]
            if chosen:
                known = {} if name is not None else {"color": "0.7"}
                axes.scatter(*self.points[chosen].T, label=name, **{**options, **known})
        if 1 < len(names) <= 20:
            axes.legend(markerscale=2, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        axes.set(xticks=[], yticks=[], title=f"UMAP of {len(self)} images")
        axes.set_aspect("equal", adjustable="datalim")
        return axes

    @property
    def page(self) -> Page:
        """The interactive map, if `out` named an .html file."""
        if self.path is None or self.path.suffix != ".html":
            raise Error("name a file to write with out=…, one that ends in .html")
        return Page(self.path.read_text())

    def __repr__(self) -> str:
        trust = "" if self.trustworthiness is None else f", trustworthiness={self.trustworthiness:.4f}"
        return f"Map(n={len(self)}{trust})"


@dataclass(frozen=True, repr=False, eq=False)
class Similarity(Result):
    """CKA between ways of resizing, layers, or models: a matrix, or one for each layer."""

    @cached_property
    def matrices(self) -> list[Mapping[str, Any]]:
        """Each with `names`, `columns` (of another model), `matrix`, `intervals`, `layer` and `n`."""
        return self.document["matrices"] if "matrices" in self.document else [self.document]

    def to_pandas(self, layer: str | None = None) -> pandas.DataFrame:
        """The matrix, or that of a layer."""
        found = self._matrix(layer)
        return pandas_module().DataFrame(found["matrix"], index=found["names"], columns=found.get("columns") or found["names"])

    def _matrix(self, layer: str | None) -> Mapping[str, Any]:
        for found in self.matrices:
            if layer is None or found.get("layer") == layer:
                return found
        raise Error(f"there is no matrix of layer {layer!r}; there are {', '.join(str(m.get('layer')) for m in self.matrices)}")

    def plot(self, axes: Any = None, layer: str | None = None) -> Any:
        """Draws the matrix with matplotlib; of several layers without a choice, each layer's similarity to the model's own
        way of resizing. Returns the axes."""
        if layer is None and len(self.matrices) > 1:
            rows, columns = [found["layer"] for found in self.matrices], self.matrices[0]["names"][1:]
            values = [found["matrix"][0][1:] for found in self.matrices]
            title = f"CKA with {self.matrices[0]['names'][0]}"
        else:
            found = self._matrix(layer)
            rows, columns, values = found["names"], found.get("columns") or found["names"], found["matrix"]
            title = f"CKA{' at ' + found['layer'] if found.get('layer') else ''}"
        axes = new_axes(axes, 2.5 + 0.5 * len(columns), 1.8 + 0.4 * len(rows))
        shown = [[float("nan") if value is None else value for value in row] for row in values]
        lowest = min((value for row in shown for value in row if value == value), default=0.0)
        image = axes.imshow(shown, vmin=min(lowest, 0.99), vmax=1.0, cmap="viridis", aspect="auto")
        axes.set(title=f"{title}, {self.matrices[0]['n']} images")
        axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right")
        axes.set_yticks(range(len(rows)), rows)
        if len(rows) * len(columns) <= 150:
            middle = (min(lowest, 0.99) + 1.0) / 2
            for y, row in enumerate(shown):
                for x, value in enumerate(row):
                    color = "black" if value > middle else "white"
                    axes.text(x, y, f"{value:.3f}", ha="center", va="center", fontsize=7, color=color)
        axes.figure.colorbar(image, ax=axes, label="CKA")
        return axes

    def _repr_html_(self) -> str:
        return f"<pre>{escaped(in_python(self.text))}</pre>"
