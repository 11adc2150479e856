"""Folders as timm saves its models: config.json names the architecture.

What differs from it stands in ``model_args``: each is honoured, changes no feature, or is refused.

Source: timm, ``save_for_hf``.
Differs: of what preprocesses images (``pretrained_cfg``), mean and deviation are taken over, not
    sizes and crops.
"""

import re
from typing import Any

from patchwise.errors import WeightsError
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.layout import Layout, Loaded
from patchwise.models.weights.options import Options
from patchwise.models.weights.timm import read_timm
from patchwise.models.weights.timm_dinov3 import ARGUMENTS, is_timm_dinov3, read_timm_dinov3
from patchwise.models.weights.vit_keys import Heads

# Of model_args: what names and shapes of the weights tell, what acts in training only, and what
# comes after the tokens or checks images.
_TOLD = {
    *("embed_dim", "depth", "patch_size", "img_size", "mlp_ratio", "in_chans", "qkv_bias"),
    *("no_embed_class", "class_token", "pos_embed", "fc_norm", "final_norm"),
}
_TRAINING = {
    *("init_values", "drop_rate", "drop_path_rate", "proj_drop_rate", "attn_drop_rate"),
    *("pos_drop_rate", "patch_drop_rate", "weight_init", "fix_init"),
}
_ELSEWHERE = {"num_classes", "global_pool", "pool_include_prefix"} | {
    *("dynamic_img_size", "strict_img_size"),
}


def is_timm_folder(file: WeightsFile) -> bool:
    """Tell whether a file came with timm's config.json."""
    return "architecture" in file.config


def read_timm_folder(file: WeightsFile) -> Loaded:
    """Return the ViT of a folder that timm saved.

    Raises:
        WeightsError: An argument of the model cannot be honoured, or the weights do not fit.
    """
    if not isinstance(file.config.get("architecture"), str):
        raise WeightsError(
            f"load_backbone: '{file.path}' must come with its config.json, which names an "
            f"architecture (read as a folder of timm), got {file.config.get('architecture')!r}; "
            f"give the folder that holds both"
        )
    if is_timm_dinov3(file.config["architecture"]):
        return read_timm_dinov3(file, _arguments(file, ARGUMENTS))
    arguments = _arguments(file, frozenset({"num_heads", "reg_tokens"}))
    if "num_heads" in arguments.values:
        heads = arguments.count("num_heads")
        loaded = read_timm(file, Heads("the width of its heads", lambda _: heads))
    else:
        loaded = read_timm(file)
    _check_registers(loaded, file, arguments)
    return loaded


def _check_registers(loaded: Loaded, file: WeightsFile, arguments: Options) -> None:
    """Raise `WeightsError` if there are not as many as the architecture has: shapes do not tell."""
    named = re.search(r"_reg(\d+)_", str(file.config["architecture"]))
    wanted = arguments.count("reg_tokens", int(named[1]) if named else 0)
    if loaded.vit.config.registers != wanted:
        raise WeightsError(
            f"load_backbone: '{file.path}' must hold {wanted} registers under 'reg_token', as its "
            f"config.json says, got {loaded.vit.config.registers}"
        )


def _arguments(file: WeightsFile, honoured: frozenset[str]) -> Options:
    found: Any = file.config.get("model_args", {})
    is_table = isinstance(found, dict)
    unknown = set(found) - _TOLD - _TRAINING - _ELSEWHERE - honoured if is_table else set()
    if not is_table or unknown:
        raise WeightsError(
            f"load_backbone: model_args in config.json of '{file.path}' must be arguments that "
            f"change no feature, or {', '.join(sorted(honoured))}, got "
            f"{', '.join(sorted(unknown)) or repr(found)}"
        )
    return Options(file.path, found)


TIMM_FOLDER = Layout("a folder of timm", is_timm_folder, read_timm_folder)
