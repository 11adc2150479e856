"""What training would be shown of one image."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from patchwise.configs.loader import apply_settings, dump_toml, read_settings
from patchwise.configs.run import RunConfig
from patchwise.data.folder import printable
from patchwise.data.images import ResizeRule, collate, decode_image, resize_image
from patchwise.errors import ConfigError, DataError
from patchwise.files import atomic_path, write_text
from patchwise.pictures.sheet import draw_sheet
from patchwise.pictures.views import view_figures
from patchwise.recipes import Facts, make_config
from patchwise.reporting.page import figures_page

_DEFAULT_RECIPE = "small"
_ASSUMED_IMAGES = 10_000  # for recipes that count them; no view depends on it


def views(  # noqa: PLR0913 - one option each
    image: str | Path,
    *,
    out: str | Path,
    recipe: str | None = None,
    settings: Mapping[str, Any] | None = None,
    config: str | Path | None = None,
    seed: int | None = None,
    tile_px: int = 240,
) -> Path:
    """Draw the views of an image as training makes them: boxes, colours, matched patches.

    Args:
        image: An image file.
        out: A ``.png`` or ``.html`` file.
        recipe: Name of a set of settings; ``"small"`` if None.
        settings: Options to change, by dotted name.
        config: TOML file of options to change, such as ``config.toml`` of a run; ``settings`` go
            over it.
        seed: Of the draws; None: that of the settings.
        tile_px: Long side of each image of a PNG.

    Returns:
        ``out`` as a path.

    Raises:
        PatchwiseError: The image cannot be read, or the settings do not fit.
    """
    path, source = Path(out).expanduser(), Path(image).expanduser()
    if path.suffix.lower() not in {".png", ".html"}:
        raise DataError(f"views: out must end in .png or .html, got '{path}'")
    pixels = decode_image(source)
    changes = {**({} if config is None else read_settings(Path(config).expanduser())),
               **(settings or {})}  # fmt: skip
    if seed is not None:
        changes["train.seed"] = seed
    name = recipe or str(changes.get("recipe", _DEFAULT_RECIPE))
    facts = Facts(_ASSUMED_IMAGES, min(pixels.shape[:2]), "cpu")
    resolved = apply_settings(make_config(name, facts), changes)
    _check_sides(resolved)
    rule = ResizeRule(base_px=resolved.method.views.base_px, base=resolved.method.views.base)
    title = printable(bytes(source.name, "utf-8", "surrogateescape"))
    batch = collate([resize_image(pixels, rule)], [0], epoch=0)
    figures = view_figures(
        batch,
        [title],
        resolved.method,
        patch_px=resolved.backbone.patch_px,
        seed=resolved.train.seed,
        most_local=resolved.method.views.local_count,
    )
    try:
        if path.suffix.lower() == ".png":
            with atomic_path(path) as temporary:
                Image.fromarray(draw_sheet(figures, tile_px=tile_px)).save(temporary, "PNG")
        else:
            write_text(path, figures_page(f"Views of {title}", figures, dump_toml(resolved)))
    except OSError as error:
        raise DataError(f"views: out must be a file that can be written, got {error}") from error
    return path


def _check_sides(config: RunConfig) -> None:
    patch_px, views = config.backbone.patch_px, config.method.views
    for name, side_px in {"global_px": views.global_px, "local_px": views.local_px}.items():
        if side_px % patch_px:
            raise ConfigError(
                f"config: key 'method.views.{name}' must be a multiple of backbone.patch_px "
                f"{patch_px}, got {side_px}"
            )
