"""The options of every command, for type checkers. Written by scripts/python_options.py; do not edit."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

Path = str | os.PathLike[str]


class AdviseOptions(TypedDict, total=False):
    """Options of `retune advise`."""

    arch: str | None
    from_scratch: bool | None
    classes: Path | None
    device: str | None
    source: Any | None
    candidates: int | None
    gradient_batches: int | None
    trial_images: int | None
    held_out: int | None
    trial_epochs: int | None
    trial_lr: float | str | Sequence[float] | None
    out: Path | None
    multi_label: bool | None
    val_fraction: float | None
    split_by: Literal['image', 'group'] | None
    batch_size: int | None
    accumulate: int | None
    sampling: Literal['all', 'balanced'] | None
    drop_path: float | None
    no_shuffle: bool | None
    label_smoothing: float | None
    class_weights: Literal['none', 'balanced'] | None
    augment: Literal['none', 'flip', 'standard', 'randaugment'] | None
    mixup: float | None
    cutmix: float | None
    optimizer: Literal['sgd', 'adam', 'adamw'] | None
    momentum: float | None
    weight_decay: float | None
    clip_norm: float | None
    bn: Literal['frozen', 'train', 'recalibrate'] | None
    head_init: Literal['known', 'zeros', 'normal', 'probe', 'keep'] | None
    save: Literal['best', 'last'] | None
    select: Literal['accuracy', 'balanced-accuracy', 'macro-f1', 'loss', 'auroc', 'map'] | None
    checkpoint_every: int | None
    cache_mb: int | None
    precision: Literal['float32', 'bfloat16', 'auto'] | None
    frozen_precision: Literal['float32', 'bfloat16'] | None
    activation_mb: int | None
    half_activations: bool | None
    views: int | None
    skip_bad: bool | None
    seed: int | None
    in_chans: int | None
    size: float | str | Sequence[float] | None
    interpolation: Literal['nearest', 'box', 'bilinear', 'hamming', 'bicubic', 'lanczos', 'opencv-nearest', 'opencv-bilinear', 'opencv-bicubic', 'opencv-area', 'opencv-lanczos4', 'pytorch-nearest', 'pytorch-bilinear', 'pytorch-bicubic'] | None
    crop_mode: Literal['center', 'squash', 'border'] | None
    crop_pct: float | None
    mean: float | str | Sequence[float] | None
    std: float | str | Sequence[float] | None
    white: int | None
    color: Literal['auto', 'always', 'never'] | None
    quiet: bool | None
    verbose: bool | None
    threads: int | None
    kernels: Literal['fused', 'avx512', 'avx2', 'plain'] | None


class AuditOptions(TypedDict, total=False):
    """Options of `retune audit`."""

    arch: str | None
    from_scratch: bool | None
    classes: Path | None
    device: str | None
    split: str | None
    skip_bad: bool | None
    batch_size: int | None
    precision: Literal['float32', 'bfloat16', 'auto'] | None
    interpolations: Literal['nearest', 'box', 'bilinear', 'hamming', 'bicubic', 'lanczos', 'opencv-nearest', 'opencv-bilinear', 'opencv-bicubic', 'opencv-area', 'opencv-lanczos4', 'pytorch-nearest', 'pytorch-bilinear', 'pytorch-bicubic'] | str | Sequence[str] | None
    sizes: float | str | Sequence[float] | None
    crop_pcts: float | str | Sequence[float] | None
    out: Path | None
    bootstrap: int | None
    max_images: int | None
    seed: int | None
    memory: int | None
    in_chans: int | None
    size: float | str | Sequence[float] | None
    interpolation: Literal['nearest', 'box', 'bilinear', 'hamming', 'bicubic', 'lanczos', 'opencv-nearest', 'opencv-bilinear', 'opencv-bicubic', 'opencv-area', 'opencv-lanczos4', 'pytorch-nearest', 'pytorch-bilinear', 'pytorch-bicubic'] | None
    crop_mode: Literal['center', 'squash', 'border'] | None
    crop_pct: float | None
    mean: float | str | Sequence[float] | None
    std: float | str | Sequence[float] | None
    white: int | None
    color: Literal['auto', 'always', 'never'] | None
    quiet: bool | None
    verbose: bool | None
    threads: int | None
    kernels: Literal['fused', 'avx512', 'avx2', 'plain'] | None


class CkaOptions(TypedDict, total=False):
    """Options of `retune cka`."""

    arch: str | None
    from_scratch: bool | None
    classes: Path | None
    device: str | None
    split: str | None
    skip_bad: bool | None
    batch_size: int | None
    precision: Literal['float32', 'bfloat16', 'auto'] | None
    interpolations: Literal['nearest', 'box', 'bilinear', 'hamming', 'bicubic', 'lanczos', 'opencv-nearest', 'opencv-bilinear', 'opencv-bicubic', 'opencv-area', 'opencv-lanczos4', 'pytorch-nearest', 'pytorch-bilinear', 'pytorch-bicubic'] | str | Sequence[str] | None
    layers: bool | None
    against: Any | None
    layer: str | Sequence[str] | None
    out: Path | None
    kernel: Literal['linear', 'rbf'] | None
    bandwidth: float | None
    estimator: Literal['biased', 'debiased'] | None
    pool: bool | None
    bootstrap: int | None
    max_images: int | None
    seed: int | None
    memory: int | None
    in_chans: int | None
    size: float | str | Sequence[float] | None
    interpolation: Literal['nearest', 'box', 'bilinear', 'hamming', 'bicubic', 'lanczos', 'opencv-nearest', 'opencv-bilinear', 'opencv-bicubic', 'opencv-area', 'opencv-lanczos4', 'pytorch-nearest', 'pytorch-bilinear', 'pytorch-bicubic'] | None
    crop_mode: Literal['center', 'squash', 'border'] | None
    crop_pct: float | None
    mean: float | str | Sequence[float] | None
    std: float | str | Sequence[float] | None
    white: int | None
    color: Literal['auto', 'always', 'never'] | None
    quiet: bool | None
    verbose: bool | None
    threads: int | None
    kernels: Literal['fused', 'avx512', 'avx2', 'plain'] | None


class CompareOptions(TypedDict, total=False):
    """Options of `retune compare`."""

    arch: str | None
    from_scratch: bool | None
    classes: Path | None
    device: str | None
    eval: Mapping[str, Any] | None
    no_report: bool | None
    methods: str | Sequence[str] | None
    seeds: int | Sequence[int] | None
    jobs: int | None
    shard: float | None
    epochs: int | None
    lr: float | str | Sequence[float] | None
    search: Literal['halving', 'full'] | None
    patience: int | None
    schedule: Literal['constant', 'linear', 'cosine', 'slanted'] | None
    warmup_epochs: float | None
    warmup: Literal['linear', 'exponential'] | None
    ema: float | None
    swa_from: int | None
    first: str | None
    last: str | None
    layers: str | Sequence[str] | None
    rgn_batches: int | None
    rgn_granularity: Literal['tensor', 'block', 'stage'] | None
    rgn_mode: Literal['paper', 'notebook'] | None
    snr_mode: Literal['paper', 'official'] | None
    snr_threshold: float | None
    granularity: Literal['stage', 'block', 'tensor'] | None
    decay: float | None
    decay_min: float | None
    lr_range: float | str | Sequence[float] | None
    reinit: int | None
    unfreeze: Literal['last-to-first', 'first-to-last'] | None
    alpha: float | str | Sequence[float] | None
    anchor: float | None
    anchor_head: float | None
    lora_rank: int | None
    lora_alpha: float | None
    multi_label: bool | None
    val_fraction: float | None
    split_by: Literal['image', 'group'] | None
    batch_size: int | None
    accumulate: int | None
    sampling: Literal['all', 'balanced'] | None
    drop_path: float | None
    no_shuffle: bool | None
    label_smoothing: float | None
    class_weights: Literal['none', 'balanced'] | None
    augment: Literal['none', 'flip', 'standard', 'randaugment'] | None
    mixup: float | None
    cutmix: float | None
    optimizer: Literal['sgd', 'adam', 'adamw'] | None
    momentum: float | None
    weight_decay: float | None
    clip_norm: float | None
    bn: Literal['frozen', 'train', 'recalibrate'] | None
    head_init: Literal['known', 'zeros', 'normal', 'probe', 'keep'] | None
    save: Literal['best', 'last'] | None
    select: Literal['accuracy', 'balanced-accuracy', 'macro-f1', 'loss', 'auroc', 'map'] | None
    checkpoint_every: int | None
    cache_mb: int | None
    precision: Literal['float32', 'bfloat16', 'auto'] | None
    frozen_precision: Literal['float32', 'bfloat16'] | None
    activation_mb: int | None
    half_activations: bool | None
    views: int | None
    skip_bad: bool | None
    seed: int | None
    in_chans: int | None
    size: float | str | Sequence[float] | None
    interpolation: Literal['nearest', 'box', 'bilinear', 'hamming', 'bicubic', 'lanczos', 'opencv-nearest', 'opencv-bilinear', 'opencv-bicubic', 'opencv-area', 'opencv-lanczos4', 'pytorch-nearest', 'pytorch-bilinear', 'pytorch-bicubic'] | None
    crop_mode: Literal['center', 'squash', 'border'] | None
    crop_pct: float | None
    mean: float | str | Sequence[float] | None
    std: float | str | Sequence[float] | None
    white: int | None
    color: Literal['auto', 'always', 'never'] | None
    quiet: bool | None
    verbose: bool | None
    threads: int | None
    kernels: Literal['fused', 'avx512', 'avx2', 'plain'] | None


class EvaluateOptions(TypedDict, total=False):
    """Options of `retune eval`."""

    arch: str | None
    from_scratch: bool | None
    classes: Path | None
    device: str | None
    split: str | None
    skip_bad: bool | None
    batch_size: int | None
    precision: Literal['float32', 'bfloat16', 'auto'] | None
    eval: Mapping[str, Any] | None
    against: Any | None
    per_class: bool | None
    in_chans: int | None
    size: float | str | Sequence[float] | None
    interpolation: Literal['nearest', 'box', 'bilinear', 'hamming', 'bicubic', 'lanczos', 'opencv-nearest', 'opencv-bilinear', 'opencv-bicubic', 'opencv-area', 'opencv-lanczos4', 'pytorch-nearest', 'pytorch-bilinear', 'pytorch-bicubic'] | None
    crop_mode: Literal['center', 'squash', 'border'] | None
    crop_pct: float | None
    mean: float | str | Sequence[float] | None
    std: float | str | Sequence[float] | None
    white: int | None
    color: Literal['auto', 'always', 'never'] | None
    quiet: bool | None
    verbose: bool | None
    threads: int | None
    kernels: Literal['fused', 'avx512', 'avx2', 'plain'] | None


class FeaturesOptions(TypedDict, total=False):
    """Options of `retune features`."""

    shard: float | None
    arch: str | None
    from_scratch: bool | None
    classes: Path | None
    device: str | None
    split: str | None
    skip_bad: bool | None
    batch_size: int | None
    precision: Literal['float32', 'bfloat16', 'auto'] | None
    in_chans: int | None
    size: float | str | Sequence[float] | None
    interpolation: Literal['nearest', 'box', 'bilinear', 'hamming', 'bicubic', 'lanczos', 'opencv-nearest', 'opencv-bilinear', 'opencv-bicubic', 'opencv-area', 'opencv-lanczos4', 'pytorch-nearest', 'pytorch-bilinear', 'pytorch-bicubic'] | None
    crop_mode: Literal['center', 'squash', 'border'] | None
    crop_pct: float | None
    mean: float | str | Sequence[float] | None
    std: float | str | Sequence[float] | None
    white: int | None
    color: Literal['auto', 'always', 'never'] | None
    quiet: bool | None
    verbose: bool | None
    threads: int | None
    kernels: Literal['fused', 'avx512', 'avx2', 'plain'] | None


class FitOptions(TypedDict, total=False):
    """Options of `retune fit`."""

    arch: str | None
    from_scratch: bool | None
    classes: Path | None
    device: str | None
    eval: Mapping[str, Any] | None
    config: Path | None
    from_: Any | None
    log_to: Literal['tensorboard'] | None
    no_report: bool | None
    method: Literal['lp', 'ft', 'lp-ft', 'freeze-embed', 'surgical', 'auto-rgn', 'auto-snr', 'discriminative', 'ulmfit', 'wise-ft', 'uniform-soup', 'greedy-soup', 'l2-sp', 'norms', 'biases', 'lora'] | None
    plan: Any | None
    epochs: int | None
    lr: float | str | Sequence[float] | None
    search: Literal['halving', 'full'] | None
    patience: int | None
    schedule: Literal['constant', 'linear', 'cosine', 'slanted'] | None
    warmup_epochs: float | None
    warmup: Literal['linear', 'exponential'] | None
    ema: float | None
    swa_from: int | None
    first: str | None
    last: str | None
    layers: str | Sequence[str] | None
    rgn_batches: int | None
    rgn_granularity: Literal['tensor', 'block', 'stage'] | None
    rgn_mode: Literal['paper', 'notebook'] | None
    snr_mode: Literal['paper', 'official'] | None
    snr_threshold: float | None
    granularity: Literal['stage', 'block', 'tensor'] | None
    decay: float | None
    decay_min: float | None
    lr_range: float | str | Sequence[float] | None
    reinit: int | None
    unfreeze: Literal['last-to-first', 'first-to-last'] | None
    alpha: float | str | Sequence[float] | None
    anchor: float | None
    anchor_head: float | None
    lora_rank: int | None
    lora_alpha: float | None
    multi_label: bool | None
    val_fraction: float | None
    split_by: Literal['image', 'group'] | None
    batch_size: int | None
    accumulate: int | None
    sampling: Literal['all', 'balanced'] | None
    drop_path: float | None
    no_shuffle: bool | None
    label_smoothing: float | None
    class_weights: Literal['none', 'balanced'] | None
    augment: Literal['none', 'flip', 'standard', 'randaugment'] | None
    mixup: float | None
    cutmix: float | None
    optimizer: Literal['sgd', 'adam', 'adamw'] | None
    momentum: float | None
    weight_decay: float | None
    clip_norm: float | None
    bn: Literal['frozen', 'train', 'recalibrate'] | None
    head_init: Literal['known', 'zeros', 'normal', 'probe', 'keep'] | None
    save: Literal['best', 'last'] | None
    select: Literal['accuracy', 'balanced-accuracy', 'macro-f1', 'loss', 'auroc', 'map'] | None
    checkpoint_every: int | None
    cache_mb: int | None
    precision: Literal['float32', 'bfloat16', 'auto'] | None
    frozen_precision: Literal['float32', 'bfloat16'] | None
    activation_mb: int | None
    half_activations: bool | None
    views: int | None
    skip_bad: bool | None
    seed: int | None
    budget: str | None
    in_chans: int | None
    size: float | str | Sequence[float] | None
    interpolation: Literal['nearest', 'box', 'bilinear', 'hamming', 'bicubic', 'lanczos', 'opencv-nearest', 'opencv-bilinear', 'opencv-bicubic', 'opencv-area', 'opencv-lanczos4', 'pytorch-nearest', 'pytorch-bilinear', 'pytorch-bicubic'] | None
    crop_mode: Literal['center', 'squash', 'border'] | None
    crop_pct: float | None
    mean: float | str | Sequence[float] | None
    std: float | str | Sequence[float] | None
    white: int | None
    color: Literal['auto', 'always', 'never'] | None
    quiet: bool | None
    verbose: bool | None
    threads: int | None
    kernels: Literal['fused', 'avx512', 'avx2', 'plain'] | None


class LoadOptions(TypedDict, total=False):
    """Options of `retune layers`."""

    arch: str | None
    from_scratch: bool | None
    classes: Path | None
    device: str | None
    in_chans: int | None
    size: float | str | Sequence[float] | None
    interpolation: Literal['nearest', 'box', 'bilinear', 'hamming', 'bicubic', 'lanczos', 'opencv-nearest', 'opencv-bilinear', 'opencv-bicubic', 'opencv-area', 'opencv-lanczos4', 'pytorch-nearest', 'pytorch-bilinear', 'pytorch-bicubic'] | None
    crop_mode: Literal['center', 'squash', 'border'] | None
    crop_pct: float | None
    mean: float | str | Sequence[float] | None
    std: float | str | Sequence[float] | None
    white: int | None
    color: Literal['auto', 'always', 'never'] | None
    quiet: bool | None
    verbose: bool | None
    threads: int | None
    kernels: Literal['fused', 'avx512', 'avx2', 'plain'] | None


class LrFindOptions(TypedDict, total=False):
    """Options of `retune lr-find`."""

    arch: str | None
    from_scratch: bool | None
    classes: Path | None
    device: str | None
    groups: bool | None
    from_: Any | None
    to: float | None
    steps: int | None
    out: Path | None
    multi_label: bool | None
    val_fraction: float | None
    split_by: Literal['image', 'group'] | None
    batch_size: int | None
    accumulate: int | None
    sampling: Literal['all', 'balanced'] | None
    drop_path: float | None
    no_shuffle: bool | None
    label_smoothing: float | None
    class_weights: Literal['none', 'balanced'] | None
    augment: Literal['none', 'flip', 'standard', 'randaugment'] | None
    mixup: float | None
    cutmix: float | None
    optimizer: Literal['sgd', 'adam', 'adamw'] | None
    momentum: float | None
    weight_decay: float | None
    clip_norm: float | None
    bn: Literal['frozen', 'train', 'recalibrate'] | None
    head_init: Literal['known', 'zeros', 'normal', 'probe', 'keep'] | None
    save: Literal['best', 'last'] | None
    select: Literal['accuracy', 'balanced-accuracy', 'macro-f1', 'loss', 'auroc', 'map'] | None
    checkpoint_every: int | None
    cache_mb: int | None
    precision: Literal['float32', 'bfloat16', 'auto'] | None
    frozen_precision: Literal['float32', 'bfloat16'] | None
    activation_mb: int | None
    half_activations: bool | None
    views: int | None
    skip_bad: bool | None
    seed: int | None
    in_chans: int | None
    size: float | str | Sequence[float] | None
    interpolation: Literal['nearest', 'box', 'bilinear', 'hamming', 'bicubic', 'lanczos', 'opencv-nearest', 'opencv-bilinear', 'opencv-bicubic', 'opencv-area', 'opencv-lanczos4', 'pytorch-nearest', 'pytorch-bilinear', 'pytorch-bicubic'] | None
    crop_mode: Literal['center', 'squash', 'border'] | None
    crop_pct: float | None
    mean: float | str | Sequence[float] | None
    std: float | str | Sequence[float] | None
    white: int | None
    color: Literal['auto', 'always', 'never'] | None
    quiet: bool | None
    verbose: bool | None
    threads: int | None
    kernels: Literal['fused', 'avx512', 'avx2', 'plain'] | None


class PlanOptions(TypedDict, total=False):
    """Options of `retune plan`."""

    arch: str | None
    from_scratch: bool | None
    classes: Path | None
    device: str | None
    method: Literal['lp', 'ft', 'lp-ft', 'freeze-embed', 'surgical', 'auto-rgn', 'auto-snr', 'discriminative', 'ulmfit', 'wise-ft', 'uniform-soup', 'greedy-soup', 'l2-sp', 'norms', 'biases', 'lora'] | None
    plan: Any | None
    epochs: int | None
    lr: float | str | Sequence[float] | None
    search: Literal['halving', 'full'] | None
    patience: int | None
    schedule: Literal['constant', 'linear', 'cosine', 'slanted'] | None
    warmup_epochs: float | None
    warmup: Literal['linear', 'exponential'] | None
    ema: float | None
    swa_from: int | None
    first: str | None
    last: str | None
    layers: str | Sequence[str] | None
    rgn_batches: int | None
    rgn_granularity: Literal['tensor', 'block', 'stage'] | None
    rgn_mode: Literal['paper', 'notebook'] | None
    snr_mode: Literal['paper', 'official'] | None
    snr_threshold: float | None
    granularity: Literal['stage', 'block', 'tensor'] | None
    decay: float | None
    decay_min: float | None
    lr_range: float | str | Sequence[float] | None
    reinit: int | None
    unfreeze: Literal['last-to-first', 'first-to-last'] | None
    alpha: float | str | Sequence[float] | None
    anchor: float | None
    anchor_head: float | None
    lora_rank: int | None
    lora_alpha: float | None
    eval: Mapping[str, Any] | None
    multi_label: bool | None
    val_fraction: float | None
    split_by: Literal['image', 'group'] | None
    batch_size: int | None
    accumulate: int | None
    sampling: Literal['all', 'balanced'] | None
    drop_path: float | None
    no_shuffle: bool | None
    label_smoothing: float | None
    class_weights: Literal['none', 'balanced'] | None
    augment: Literal['none', 'flip', 'standard', 'randaugment'] | None
    mixup: float | None
    cutmix: float | None
    optimizer: Literal['sgd', 'adam', 'adamw'] | None
    momentum: float | None
    weight_decay: float | None
    clip_norm: float | None
    bn: Literal['frozen', 'train', 'recalibrate'] | None
    head_init: Literal['known', 'zeros', 'normal', 'probe', 'keep'] | None
    save: Literal['best', 'last'] | None
    select: Literal['accuracy', 'balanced-accuracy', 'macro-f1', 'loss', 'auroc', 'map'] | None
    checkpoint_every: int | None
    cache_mb: int | None
    precision: Literal['float32', 'bfloat16', 'auto'] | None
    frozen_precision: Literal['float32', 'bfloat16'] | None
    activation_mb: int | None
    half_activations: bool | None
    views: int | None
    skip_bad: bool | None
    seed: int | None
    in_chans: int | None
    size: float | str | Sequence[float] | None
    interpolation: Literal['nearest', 'box', 'bilinear', 'hamming', 'bicubic', 'lanczos', 'opencv-nearest', 'opencv-bilinear', 'opencv-bicubic', 'opencv-area', 'opencv-lanczos4', 'pytorch-nearest', 'pytorch-bilinear', 'pytorch-bicubic'] | None
    crop_mode: Literal['center', 'squash', 'border'] | None
    crop_pct: float | None
    mean: float | str | Sequence[float] | None
    std: float | str | Sequence[float] | None
    white: int | None
    color: Literal['auto', 'always', 'never'] | None
    quiet: bool | None
    verbose: bool | None
    threads: int | None
    kernels: Literal['fused', 'avx512', 'avx2', 'plain'] | None


class PredictOptions(TypedDict, total=False):
    """Options of `retune predict`."""

    top: int | None
    out: Path | None
    temperature: float | str | None
    skip_bad: bool | None
    batch_size: int | None
    precision: Literal['float32', 'bfloat16', 'auto'] | None
    arch: str | None
    from_scratch: bool | None
    classes: Path | None
    device: str | None
    in_chans: int | None
    size: float | str | Sequence[float] | None
    interpolation: Literal['nearest', 'box', 'bilinear', 'hamming', 'bicubic', 'lanczos', 'opencv-nearest', 'opencv-bilinear', 'opencv-bicubic', 'opencv-area', 'opencv-lanczos4', 'pytorch-nearest', 'pytorch-bilinear', 'pytorch-bicubic'] | None
    crop_mode: Literal['center', 'squash', 'border'] | None
    crop_pct: float | None
    mean: float | str | Sequence[float] | None
    std: float | str | Sequence[float] | None
    white: int | None
    color: Literal['auto', 'always', 'never'] | None
    quiet: bool | None
    verbose: bool | None
    threads: int | None
    kernels: Literal['fused', 'avx512', 'avx2', 'plain'] | None


class SoupOptions(TypedDict, total=False):
    """Options of `retune soup`."""

    greedy: bool | None
    eval: Mapping[str, Any] | None
    color: Literal['auto', 'always', 'never'] | None
    quiet: bool | None
    verbose: bool | None
    threads: int | None
    kernels: Literal['fused', 'avx512', 'avx2', 'plain'] | None


class WiseFtOptions(TypedDict, total=False):
    """Options of `retune wise-ft`."""

    from_: Any | None
    alphas: float | str | Sequence[float] | None
    eval: Mapping[str, Any] | None
    out: Path | None
    save_alpha: float | str | None
    color: Literal['auto', 'always', 'never'] | None
    quiet: bool | None
    verbose: bool | None
    threads: int | None
    kernels: Literal['fused', 'avx512', 'avx2', 'plain'] | None
