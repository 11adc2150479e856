"""Does the choice without labels hold for one run on photographs?

    PATCHWISE_DATA=FOLDER_OF_TARS python -m studies.sets runs/sets
    patchwise train runs/sets/mix --recipe small --out runs/mix --set train.keep_checkpoints=8 [...]
    python -m studies.choice_photographs --sets runs/sets --run runs/mix

scores every backbone that the run has kept without labels, on VOC's test images, and with their
labels: in-context and k-NN of patches, at 96 px. Results are written to
``studies/choice_photographs.json``; a call goes on where the last one was stopped.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from scipy.stats import kendalltau, spearmanr

import patchwise
from patchwise.configs.loader import read_config
from patchwise.eval.results import headline
from patchwise.files import write_text
from patchwise.training.folder import RunFolder
from patchwise.training.kept import list_kept

RESULTS = Path(__file__).with_suffix(".json")
SIDE_PX = 96
WITH_LABELS: dict[str, dict[str, Any]] = {
    "incontext/hummingbird-1of8-short": {"size_px": SIDE_PX},
    "knn/patches-short": {"size_px": SIDE_PX, "memory": 20_000, "queries": 20_000},
}


def main() -> None:
    """Score what is not scored yet, print rank correlations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    chosen = parser.parse_args()
    folder, voc = RunFolder(chosen.run), chosen.sets / "voc"
    found: dict[str, dict[str, float]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for kept in list_kept(folder):
        if kept.path == folder.backbone:  # that of the last checkpoint
            continue
        scores = found.setdefault(kept.path.name, {})
        backbone, _ = kept.load(read_config(folder.config))
        data = {"health/dense": voc / "images/val", "health/features": voc / "images/val"}
        settings = {name: {"size_px": SIDE_PX} for name in data} | WITH_LABELS
        for protocol, changes in settings.items():
            if protocol not in scores:
                result = patchwise.evaluate(
                    backbone, protocol=protocol, data=data.get(protocol, voc), settings=changes
                )
                scores[protocol] = headline(result)[1]
                write_text(RESULTS, json.dumps(found, indent=2) + "\n")
        print(kept.path.name, scores, flush=True)
    for label_free in ("health/dense", "health/features"):
        for protocol in WITH_LABELS:
            pairs = [(scores[label_free], scores[protocol]) for scores in found.values()]
            rho, tau = spearmanr(pairs).statistic, kendalltau(*zip(*pairs, strict=True)).statistic
            print(f"{label_free} and {protocol}: Spearman {rho:.2f}, Kendall {tau:.2f}")


if __name__ == "__main__":
    main()
