"""How images are to be normalised for published weights, as the files beside them say.

How images are cut and resized is the protocol's matter; nothing of that is read.
"""

import math
from dataclasses import replace

from patchwise.configs.backbone import ViTConfig
from patchwise.configs.normalisation import IMAGENET, Normalisation
from patchwise.errors import WeightsError
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.folder import CONFIG, PREPROCESSING
from patchwise.models.weights.options import Options

HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_AS_THEY_ARE = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def with_normalisation(config: ViTConfig, normalisation: Normalisation) -> ViTConfig:
    """Return the architecture of a backbone whose images are normalised so."""
    return replace(config, pixel_mean=normalisation.mean, pixel_std=normalisation.std)


def read_preprocessor(file: WeightsFile, *, absent: Normalisation = IMAGENET) -> Normalisation:
    """Return what transformers' preprocessor_config.json says.

    Args:
        file: Of the weights.
        absent: What the weights of a folder without it were trained with.

    Raises:
        WeightsError: Pixels do not come to lie in [0, 1], or mean or deviation make no sense.
    """
    if not file.preprocessing:
        return absent
    options = Options(file.path, file.preprocessing, PREPROCESSING)
    options.require("do_rescale", True, "pixels in [0, 1]")
    factor = options.number("rescale_factor", 1 / 255)
    if not math.isclose(factor, 1 / 255, rel_tol=1e-6):
        raise WeightsError(
            f"load_backbone: option rescale_factor in {PREPROCESSING} of '{file.path}' must be "
            f"1/255 (pixels in [0, 1]), got {factor}"
        )
    if not options.flag("do_normalize", True):
        return _AS_THEY_ARE
    return Normalisation(options.rgb("image_mean"), options.rgb("image_std", positive=True))


def read_pretrained_cfg(file: WeightsFile) -> Normalisation:
    """Return what ``pretrained_cfg`` in timm's config.json says; what it leaves out is ImageNet's.

    In old files its options stand at the top.

    Raises:
        WeightsError: It is no table, or mean or deviation make no sense.
    """
    found = file.config.get("pretrained_cfg", file.config)
    if not isinstance(found, dict):
        raise WeightsError(
            f"load_backbone: pretrained_cfg in {CONFIG} of '{file.path}' must be a table of "
            f"options, got {found!r}"
        )
    options = Options(file.path, found)
    return Normalisation(
        options.rgb("mean", IMAGENET.mean), options.rgb("std", IMAGENET.std, positive=True)
    )
