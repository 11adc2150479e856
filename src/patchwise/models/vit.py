"""The vision transformer that the methods train and the protocols evaluate.

State-dict keys are those of DINO's published backbones (the names of timm), with ``ls1.gamma``,
``ls2.gamma``, ``register_tokens`` and ``mlp.w12`` as in DINOv2, and ``rope_embed.periods`` as in
DINOv3.

Letters: B images, H W pixels, N patches, D channels, T = 1 + registers + N tokens: CLS, registers,
patches row by row.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from patchwise.checks import check_within
from patchwise.configs.backbone import Interpolation, ViTConfig
from patchwise.configs.normalisation import Normalisation
from patchwise.errors import RangeError, ShapeError
from patchwise.models.backbone import BackboneOutput
from patchwise.models.block import Block
from patchwise.models.rotary import RotaryPositions, Rotation

Grid = tuple[int, int]  # rows, columns
Result = TypeVar("Result")

_INIT_STD = 0.02


class PatchEmbed(nn.Module):
    """One linear map of the pixels of every patch, stored as a convolution."""

    def __init__(self, dim: int, patch_px: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=patch_px, stride=patch_px)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B N D"]:
        """Return the tokens of the patches, row by row."""
        patches: Tensor = self.proj(images)
        return patches.flatten(2).mT


class ViT(nn.Module):
    """Vision transformer for images of any height and width that are multiples of the patch.

    1. Patches become tokens; the position embedding, resized to their grid, is added.
    2. CLS (with its own position) and registers (without) are put before them.
    3. ``depth`` blocks, then one LayerNorm; registers are dropped.

    Where positions are rotary, nothing is added in 1 and 2; see `RotaryPositions`.

    The resizing rule is `ViTConfig.interpolation`; it is saved with the weights, for features of
    the same weights differ between libraries at other than the stored size. All are bicubic:

    ============== =============================================== ==============================
    rule           resized                                         used by
    ============== =============================================== ==============================
    dino           by scale factor (patches + 0.1) / stored        DINO; DINOv2 hub, no registers
    size           to the exact size                               Hugging Face ViT and Dinov2
    size-antialias to the exact size, antialiased                  timm; Hugging Face Dinov2 with
                                                                   registers; DINOv2 hub likewise
    ============== =============================================== ==============================

    At the stored size nothing is resized and all agree.

    Source: Dosovitskiy et al. 2021, arXiv:2010.11929, in the form of DINO, Caron et al. 2021,
        arXiv:2104.14294.
    Differs: registers start like CLS (std 0.02; DINOv2: 1e-6).
    """

    pos_embed: nn.Parameter  # where positions are learned
    rope_embed: RotaryPositions  # where they are rotary

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        self.dim, self.patch_px = config.dim, config.patch_px
        self.patch_embed = PatchEmbed(config.dim, config.patch_px)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        if config.positions == "learned":
            self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.grid**2, config.dim))
        else:
            self.rope_embed = RotaryPositions(config.dim // config.heads)
        if config.registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, config.registers, config.dim))
        self.blocks = nn.ModuleList(Block(config, rate) for rate in config.drop_rates)
        self.norm = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.checkpointed = False
        """Whether training keeps only the tokens between blocks, and computes the rest again."""
        self._initialise()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.cls_token.device

    @property
    def normalisation(self) -> Normalisation:
        """How its images are normalised, which callers do."""
        return self.config.normalisation

    def forward(
        self,
        images: Float[Tensor, "B 3 H W"],
        *,
        attention: bool = False,
        kept: Bool[Tensor, "B depth 2"] | None = None,
    ) -> BackboneOutput:
        """Return the features of ``images``, with the last block's CLS attention if asked for.

        Args:
            images: Normalised.
            attention: Whether attention is returned.
            kept: Stochastic depth: for each image, which blocks' attention and MLP are kept. None:
                drawn from torch's generator in training, and all in evaluation.

        Raises:
            ShapeError: height or width is not a multiple of the patch.
            RangeError: ``images`` are not floating-point numbers.
        """
        kept = self.draw_kept(len(images)) if kept is None else kept
        tokens, grid = self.before_last_block(images, kept)
        left, to_patches = self.through_last_block(tokens, grid, attention=attention, kept=kept)
        tokens, first = self.norm(left), 1 + self.config.registers
        return BackboneOutput(tokens[:, 0], tokens[:, first:], grid, to_patches)

    def last_blocks(
        self, images: Float[Tensor, "B 3 H W"], *, count: int
    ) -> tuple[BackboneOutput, ...]:
        """Return what each of the last ``count`` blocks gives, after the one LayerNorm.

        The last one's is that of `forward`, in evaluation.

        Raises:
            RangeError: There are not as many blocks.
        """
        check_within("ViT.last_blocks", 1, len(self.blocks), count=count)
        tokens, grid = self.embed(images)
        first = 1 + self.config.registers
        rotation = self.rotation(grid)
        outputs = []
        for index in range(len(self.blocks)):
            tokens = self._run(index, tokens, None, rotation)
            if index >= len(self.blocks) - count:
                seen = self.norm(tokens)
                outputs.append(BackboneOutput(seen[:, 0], seen[:, first:], grid))
        return tuple(outputs)

    def before_last_block(
        self, images: Float[Tensor, "B 3 H W"], kept: Bool[Tensor, "B depth 2"] | None = None
    ) -> tuple[Float[Tensor, "B T D"], Grid]:
        """Return the tokens that enter the last block, and the grid of their patches."""
        tokens, grid = self.embed(images)
        rotation = self.rotation(grid)
        for index in range(len(self.blocks) - 1):
            tokens = self._run(index, tokens, kept, rotation)
        return tokens, grid

    def through_last_block(
        self,
        tokens: Float[Tensor, "B T D"],
        grid: Grid,
        *,
        attention: bool = False,
        kept: Bool[Tensor, "B depth 2"] | None = None,
    ) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B heads N"] | None]:
        """Return what `before_last_block` gives after that block, without the final LayerNorm.

        And the CLS attention of the block to the patches, if asked for.
        """
        rotation, to_patches = self.rotation(grid), None
        if attention:
            to_all = self.last_block.cls_attention(tokens, rotation)
            to_patches = to_all[..., 1 + self.config.registers :]
        return self._run(-1, tokens, kept, rotation), to_patches

    def draw_kept(self, count: int) -> Bool[Tensor, "B depth 2"] | None:
        """Draw by torch's generator what stochastic depth keeps of ``count`` images.

        None in evaluation and without stochastic depth: everything.
        """
        if not (self.training and self.config.drop_path):
            return None
        rates = torch.tensor(self.config.drop_rates, device=self.device)
        return torch.rand(count, len(rates), 2, device=self.device) >= rates[:, None]

    def rotation(self, grid: Grid) -> Rotation | None:
        """Return what every block needs to know of where patches lie; None if nothing."""
        return self.rope_embed(grid) if self.config.positions == "rotary" else None

    @property
    def last_block(self) -> Block:
        """The last block, whose parts are open to filters built on them."""
        block = self.blocks[-1]
        assert isinstance(block, Block), "all blocks are of this file's class"
        return block

    def embed(self, images: Float[Tensor, "B 3 H W"]) -> tuple[Float[Tensor, "B T D"], Grid]:
        """Return the tokens that enter the first block, and the grid of their patches."""
        self._check(images)
        grid = images.shape[-2] // self.patch_px, images.shape[-1] // self.patch_px
        patches: Tensor = self.patch_embed(images)
        front: Tensor = self.cls_token
        if self.config.positions == "learned":
            positions = resize_positions(self.pos_embed, grid, rule=self.config.interpolation)
            patches, front = patches + positions[:, 1:], front + positions[:, :1]
        if self.config.registers:
            front = torch.cat([front, self.register_tokens], dim=1)
        front = front.to(patches.dtype).expand(len(images), -1, -1)
        return torch.cat([front, patches], dim=1), grid

    def _run(
        self, index: int, tokens: Tensor, kept: Tensor | None, rotation: Rotation | None
    ) -> Tensor:
        mine = None if kept is None else kept[:, index]
        block: Callable[..., Tensor] = self.blocks[index]
        return self.run_part(block, tokens, mine, rotation)

    def run_part(self, part: Callable[..., Result], *inputs: object) -> Result:
        """Return ``part(*inputs)``; what it computes on the way is kept, or computed again.

        Nothing random may happen inside the part. See `checkpointed`.
        """
        if not (self.checkpointed and torch.is_grad_enabled()):
            return part(*inputs)
        again: Result = checkpoint(part, *inputs, use_reentrant=False, preserve_rng_state=False)
        return again

    def _check(self, images: Tensor) -> None:
        if images.ndim != 4 or images.shape[1] != 3:
            raise ShapeError(f"ViT: images must have shape (B, 3, H, W), got {tuple(images.shape)}")
        if not images.is_floating_point():
            raise RangeError(
                f"ViT: images must be normalised floating-point numbers, got {images.dtype}"
            )
        patch, (height, width) = self.patch_px, images.shape[-2:]
        if height % patch or width % patch or not height * width:
            nearest = [max(1, round(side / patch)) * patch for side in (height, width)]
            raise ShapeError(
                f"ViT: images must have a height and width that are multiples of the patch of "
                f"{patch} px, got {height} x {width}; resize or crop to {nearest[0]} x {nearest[1]}"
            )

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=_INIT_STD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for name, parameter in self.named_parameters(recurse=False):
            assert name in {"cls_token", "pos_embed", "register_tokens"}, "tokens only"
            nn.init.trunc_normal_(parameter, std=_INIT_STD)


def resize_positions(
    pos_embed: Float[Tensor, "1 stored D"], grid: Grid, *, rule: Interpolation
) -> Float[Tensor, "1 needed D"]:
    """Return the position embedding of CLS and of a grid of patches, row by row.

    Args:
        pos_embed: Embedding of CLS, then of a square grid.
        grid: Rows and columns that are needed.
        rule: See `ViT`.
    """
    side = round((pos_embed.shape[1] - 1) ** 0.5)
    if grid == (side, side):
        return pos_embed
    # In float32 whatever the weights are in: the tiny grid costs nothing, the precision matters.
    stored = pos_embed[:, 1:].float().mT.reshape(1, -1, side, side)
    if rule == "dino":
        factors = [(length + 0.1) / side for length in grid]  # 0.1: never one too few by rounding
        resized = F.interpolate(stored, scale_factor=factors, mode="bicubic")
    else:
        antialias = rule == "size-antialias"
        resized = F.interpolate(stored, size=grid, mode="bicubic", antialias=antialias)
    return torch.cat([pos_embed[:, :1], resized.flatten(2).mT.to(pos_embed.dtype)], dim=1)
