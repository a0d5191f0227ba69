"""Features on Ray Data: https://docs.ray.io/en/latest/data/data.html

>>> import ray, retune
>>> photos = ray.data.read_binary_files("s3://bucket/photos", include_paths=True)  # doctest: +SKIP
>>> photos.map_batches(  # doctest: +SKIP
...     retune.ray.Extractor, fn_constructor_args=["timm/resnet18.a1_in1k"], batch_size=32, concurrency=4
... ).write_parquet("s3://bucket/features")
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ._arguments import line
from ._data import Images, located
from ._errors import Error
from ._model import load

__all__ = ["Extractor"]

#: Columns with images, in the order in which they are looked for: pixels or encoded images, then paths.
_COLUMNS = ("image", "img", "bytes", "jpg", "jpeg", "png", "webp", "path", "file", "file_name")
#: Columns with labels.
_LABELS = ("label", "labels", "class", "cls", "target", "fine_label", "category")
#: Names of image files.
_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff")
#: The file that says that a folder is complete.
_SUCCESS = "_SUCCESS"
#: Columns of paths, which stay beside the features.
_PATHS = ("path", "file", "file_name")


class Extractor:
    """Extracts the features of batches of images, for `ray.data.Dataset.map_batches`, which calls it in an actor.

    A batch has its images in `column`: arrays of pixels as `ray.data.read_images` gives them, encoded images as
    `read_binary_files` and `read_parquet` give them (as bytes, or as a mapping with `bytes` or `path`), or paths. Its features
    are those of `retune.features`, to the bit.

    Parameters
    ----------
    model
        As that of `retune.load`, a place that every machine finds.
    layer
        A block or stage of the model's `layers`, `input`, `pooled` (what the head sees), or `logits`.
    column
        Where the images are; without it, the first of image, img, bytes, jpg, jpeg, png, webp, path, file, and file_name.
    output
        The column for the features, float32.
    threads
        Processors of the actor, as `num_cpus` of `map_batches`.
    batch_size
        Images that the model computes at a time.
    precision
        `float32`, `bfloat16`, or `auto`, as that of `retune.features`; on a cluster of different machines, `auto` may mix both.
    options
        Those of `retune.load`.
    """

    def __init__(
        self,
        model: Any,
        layer: str = "pooled",
        *,
        column: str | None = None,
        output: str = "features",
        threads: int = 1,
        batch_size: int = 32,
        precision: str = "float32",
        **options: Any,
    ) -> None:
        self._model = load(model, **{"quiet": True, "threads": threads, **options})
        self._column, self._output = column, output
        self._options = {"layer": layer, "batch_size": batch_size, "precision": precision, "threads": threads, "quiet": True}

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The batch with its features and without its images; paths stay.

        Raises `retune.Error` for a batch without images, and for an image that cannot be read.
        """
        column = self._column or next((name for name in _COLUMNS if name in batch), None)
        if column is None or column not in batch:
            wanted = repr(self._column) if self._column else f"any of {', '.join(_COLUMNS)}"
            raise Error(f"the data set has no column {wanted}; it has {', '.join(batch)}")
        images = [_image(image) for image in batch[column]]
        found = located(Images(images, names=_names(batch, len(images))))
        # The command wants a file to write; the same extraction in memory writes none.
        typed = line("features", {"data": found.path, "out": "features.npz", **self._options}, "features")
        values = self._model._loaded.features(typed, None)[0]
        kept = {name: values for name, values in batch.items() if name != column or name in _PATHS}
        return {**kept, self._output: values}


class Rows(Extractor):
    """Batches as rows of a feature file: `features`, `label` (−1 where unknown), and `path`."""

    def __init__(self, model: Any, label: str | None, classes: Sequence[str], **options: Any) -> None:
        super().__init__(model, **options)
        self._label, self._position = label, {name: index for index, name in enumerate(classes)}

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The rows of a batch."""
        import numpy

        values = super().__call__(batch)[self._output]
        labels = [-1] * len(values) if self._label is None else [self._position.get(_text(x), -1) for x in batch[self._label]]
        names = _names(batch, len(values)) or [""] * len(values)
        return {"features": values, "label": numpy.array(labels, dtype=numpy.int64), "path": numpy.array(names, dtype=object)}


def extract(
    model: Any,
    data: Any,
    out: str,
    *,
    actors: int,
    threads: int,
    batch_size: int,
    layer: str,
    precision: str = "float32",
    **options: Any,
) -> None:
    """Writes the features of a data set of Ray, or of a location that Ray reads, as a folder of Parquet files.

    Each file is written once, under its own name, whatever is lost on the way, and `_SUCCESS` when all are there.

    Raises `retune.Error` if `out` is complete already, and for the precision `auto`, which machines may understand
    differently.
    """
    if precision == "auto":
        raise Error("precision must be float32 or bfloat16 with a data set of Ray: auto may differ between machines")
    from . import _ray

    _ray.cluster()
    shards = _shards(out)
    shards.prepare()
    dataset = _opened(data)
    # The order of files and of rows in them is that of the data set.
    dataset.context.execution_options.preserve_order = True
    columns = dataset.columns() or []
    label = next((name for name in _LABELS if name in columns), None)
    classes = [] if label is None else _classes(dataset.unique(label))
    rows = dataset.map_batches(
        Rows,
        fn_constructor_args=[model, label, classes],
        fn_constructor_kwargs={
            "layer": layer,
            "threads": threads,
            "batch_size": batch_size,
            "precision": precision,
            **options,
        },
        batch_size=batch_size,
        num_cpus=threads,
        concurrency=(1, max(1, actors)),
    )
    shards.classes = classes
    shards.precision = precision
    rows.write_datasink(shards)


def is_dataset(data: Any) -> bool:
    """Whether this is a data set of Ray, or a location that its readers take and retune's own do not."""
    return (hasattr(data, "map_batches") and hasattr(data, "write_datasink")) or _is_remote(data)


def _is_remote(data: Any) -> bool:
    return isinstance(data, str) and "://" in data


def _opened(data: Any) -> Any:
    if not _is_remote(data):
        return data
    from ray import data as of_ray

    if data.rstrip("/").endswith(".parquet"):
        return of_ray.read_parquet(data)
    if data.endswith(".tar"):
        return of_ray.read_webdataset(data, decoder=None)
    return of_ray.read_binary_files(data, include_paths=True, file_extensions=list(_EXTENSIONS))


def _classes(labels: Sequence[Any]) -> list[str]:
    """Names of classes in order: numbers by their size, others by the alphabet."""
    known = {_text(label) for label in labels if label is not None} - {"-1"}
    are_numbers = all(name.isdecimal() for name in known)
    return sorted(known, key=int) if are_numbers else sorted(known)


def _text(label: Any) -> str:
    return label.decode() if isinstance(label, bytes) else str(label)


def _shards(out: str) -> Any:
    """Writes each task's rows to a file of a folder, as `retune features` writes a Parquet file."""
    import uuid

    import pyarrow
    from pyarrow import fs, parquet
    from ray.data import Datasink
    from ray.data.block import BlockAccessor

    class Shards(Datasink):  # type: ignore[misc]
        def __init__(self) -> None:
            self.system, self.folder = fs.FileSystem.from_uri(out)
            # A reader that finds files of two attempts must not mix them.
            self.attempt = uuid.uuid4().hex[:8]
            self.classes: Sequence[str] = ()
            self.precision = "float32"

        def prepare(self) -> None:
            """Makes the folder, without what an attempt left in it that was lost."""
            self.system.create_dir(self.folder, recursive=True)
            files = self.system.get_file_info(fs.FileSelector(self.folder))
            if any(file.base_name == _SUCCESS for file in files):
                raise Error(f"{out} exists; choose another out")
            for file in files:
                if file.base_name.startswith("part-"):
                    self.system.delete_file(file.path)

        def write(self, blocks: Any, ctx: Any) -> int:
            tables = [BlockAccessor.for_block(block).to_arrow() for block in blocks]
            tables = [_plain(table) for table in tables if table.num_rows]
            if not tables:
                return 0
            metadata = {"classes": json.dumps(list(self.classes))}
            if self.precision != "float32":
                metadata["precision"] = self.precision
            table = pyarrow.concat_tables(tables).replace_schema_metadata(metadata)
            name = f"{self.folder}/part-{self.attempt}-{ctx.task_idx:06}.parquet"
            # A task that is started again writes the same file.
            half = f"{self.folder}/.{uuid.uuid4().hex}"
            with self.system.open_output_stream(half) as stream:
                parquet.write_table(table, stream)
            self.system.move(half, name)
            return int(table.num_rows)

        def on_write_complete(self, write_result: Any) -> None:
            for file in self.system.get_file_info(fs.FileSelector(self.folder)):
                if file.base_name.startswith("."):
                    self.system.delete_file(file.path)
            with self.system.open_output_stream(f"{self.folder}/{_SUCCESS}"):
                pass

    return Shards()


def _plain(table: Any) -> Any:
    """A table whose features are lists, as every reader of Parquet knows them."""
    import pyarrow

    values = table.column("features").combine_chunks()
    if isinstance(values, pyarrow.ChunkedArray):
        values = values.chunk(0)
    matrix = values.to_numpy_ndarray() if hasattr(values, "to_numpy_ndarray") else None
    if matrix is not None:
        flat = pyarrow.array(matrix.reshape(-1), type=pyarrow.float32())
        offsets = pyarrow.array(range(0, matrix.size + 1, matrix.shape[1]), type=pyarrow.int32())
        values = pyarrow.ListArray.from_arrays(offsets, flat)
    columns = {"features": values, "label": table.column("label"), "path": table.column("path").cast(pyarrow.string())}
    return pyarrow.table(columns)


def _image(value: Any) -> Any:
    """An image as `retune.Images` takes it, out of a column."""
    if isinstance(value, Mapping):
        # As Hugging Face's data sets are in Parquet.
        return value["bytes"] if value.get("bytes") is not None else value["path"]
    return bytes(value) if isinstance(value, (bytearray, memoryview)) else value


def _names(batch: Mapping[str, Any], count: int) -> Sequence[str] | None:
    """What errors call the images."""
    name = next((name for name in (*_PATHS, "__key__") if name in batch), None)
    return None if name is None else [str(value) for value in batch[name]][:count]
