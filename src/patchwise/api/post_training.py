"""What can be told of a CoTAP run before it is begun: what cannot be, and what would be in vain."""

from collections.abc import Mapping

from patchwise.configs.cotap import CoTAPConfig
from patchwise.configs.run import RunConfig
from patchwise.data.source import ImageSource
from patchwise.errors import ConfigError
from patchwise.models.filtered_vit import FilteredViT
from patchwise.training.plan import Plan

_SAMPLES = 4  # two global views of an image, and of its neighbour


def check_post_training(config: RunConfig, sources: Mapping[str, ImageSource]) -> None:
    """Check settings of CoTAP that do not go with the images, before anything takes time.

    Raises:
        ConfigError: An image would need more neighbours than there are other images, or maps
            would be cut into more cells than they have patches, or nothing would be trained on
            one of two image sets.
    """
    method = config.method
    if not isinstance(method, CoTAPConfig):
        return
    _check_use(method, sources)
    k = method.neighbours.k
    for source in sources.values():
        if len(source) <= k:
            advice = f"use --set method.neighbours.k={len(source) - 1}"
            raise ConfigError(
                f"config: key 'method.neighbours.k' must be less than the number of images, got "
                f"{k} for {len(source)} images of {source.name}; "
                f"{advice if len(source) > 1 else 'add images'}"
            )
    side = method.views.global_px // config.backbone.patch_px
    most = max(method.ranking_cells)
    if method.ranking_weight and most > side:
        fitting = [cells for cells in method.ranking_cells if cells <= side] or [side]
        raise ConfigError(
            f"config: key 'method.ranking_cells' must be at most the {side} patches of a side of "
            f"the global views, got {most}; use --set method.ranking_cells={fitting}"
        )


def _check_use(method: CoTAPConfig, sources: Mapping[str, ImageSource]) -> None:
    """Check that there is a part of the loss for each of two image sets."""
    scenes, objects = sources["scenes"], sources.get("objects", sources["scenes"])
    if scenes is objects or (method.trains_patches and method.trains_images):
        return
    if method.trains_patches:
        raise ConfigError(
            "train: objects must be left out where method.image_weight and "
            f"method.neighbour_weight are 0: nothing is trained on them, got {objects.name}"
        )
    raise ConfigError(
        "train: objects must be left out, and given as the data, where method.dense_weight and "
        f"method.ranking_weight are 0: nothing is trained on {scenes.name}, got {objects.name}"
    )


def note_on_prototypes(plan: Plan) -> str | None:
    """Return what is to be said of prototypes that would be as random at the end as they began."""
    method = plan.config.method
    if not isinstance(method, CoTAPConfig) or isinstance(plan.initial, FilteredViT):
        return None
    samples = plan.total_steps * plan.config.train.batch * _SAMPLES
    if not method.filter_prototypes or samples >= method.bank_samples:
        return None
    return (
        f"note: the filter's prototypes stay random: {plan.total_steps} steps give {samples} "
        f"samples, and they are made of {method.bank_samples}; train longer, or use --set "
        f"method.bank_samples={max(method.filter_prototypes, samples // 2)}"
    )
