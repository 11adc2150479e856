"""Which matcher trains better features: the demo on synthetic scenes, with each, on some seeds.

Scores are those of `studies.scenes`. One command, which goes on where it was stopped:

    python -m studies.matching --out runs/matching --seeds 0 1 2

Results are written to ``studies/matching.json``.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import patchwise
from patchwise.files import write_text
from studies.scenes import SCENES, score, train

RESULTS = Path(__file__).with_suffix(".json")
MATCHINGS = ("thinned", "nearest")


def main() -> None:
    """Train and score what is not scored yet, write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("runs/matching"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    scores: dict[str, dict[str, float]] = (
        json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    )
    for seed in arguments.seeds:
        for matching in MATCHINGS:
            name = f"{matching}-{seed}"
            settings: dict[str, Any] = {"train.seed": seed, "method.matching": matching}
            if name not in scores:
                if not train(SCENES, arguments.out / name, settings):
                    raise SystemExit(f"stopped in {name}; call again to go on")
                backbone = patchwise.load_backbone(arguments.out / name / "backbone.safetensors")
                scores[name] = asdict(score(backbone))
                write_text(RESULTS, json.dumps(scores, indent=2) + "\n")
            print(name, scores[name], flush=True)


if __name__ == "__main__":
    main()
