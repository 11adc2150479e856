"""DINO."""

from dataclasses import asdict

from patchwise.configs.methods import DINOConfig, PWSelfConfig
from patchwise.methods.pwself import PWSelf
from patchwise.models.vit import ViT


class DINO(PWSelf):
    """PW-Self with matching and patch colour off: only the CLS tokens of two views are matched.

    Source: Caron et al. 2021, arXiv:2104.14294.
    Differs: images are reduced by their short side first, not cropped at full size; the blur is a
        true Gaussian, where PIL's is three box blurs; the teacher's temperature warms up
        continuously, not epoch by epoch.
    """

    def __init__(self, backbone: ViT, config: DINOConfig) -> None:
        shared = {name: value for name, value in asdict(config).items() if name != "name"}
        shared["views"] = config.views
        super().__init__(backbone, PWSelfConfig(**shared, matching="none", recolour_patches=False))
