"""Features that are wanted, among those that are stored."""

from dataclasses import replace
from pathlib import Path

from patchwise.features.content import Content, Request, describe, differences
from patchwise.features.embed import embed_source
from patchwise.features.store import INDEX, FeatureStore, open_store
from patchwise.features.subject import Subject


def find_store(subject: Subject, request: Request, *, worth_it: bool) -> FeatureStore | None:
    """Return a complete store that holds what is wanted, or more; None: there is none.

    It is looked for in ``subject.stores``, which is a store or holds some. Where none agrees in
    weights, data, transform, size, windows, layer and precision, the one that comes nearest is
    named with what differs, and the features are written into a new one.

    Args:
        subject: Whose features; where stores are, and who is told.
        request: Which features.
        worth_it: Write a store if there is none; else only look for one.

    Raises:
        DataError: A store is damaged or cannot be written, or an image is bad.
        RangeError: A feature cannot be stored.
    """
    if subject.stores is None:
        return None
    if subject.identity.sha256 is None:
        subject.notes.say_once(
            f"features of {subject.identity.name} are not stored: it cannot be told from others"
        )
        return None
    wanted = describe(subject, request)
    held = list_stores(subject.stores)
    agreeing = [
        store
        for store in held
        if store.has_patches >= request.patches and not differences(store.content, wanted)
    ]
    complete = [store for store in agreeing if store.complete]
    if complete or not worth_it:
        return complete[0] if complete else None
    if agreeing:
        begun = agreeing[0]
        return embed_source(subject, replace(request, patches=begun.has_patches), begun.path)
    path = subject.stores / wanted.digest()
    subject.notes.say_once(_explain(held, wanted, path))
    return embed_source(subject, request, path)


def list_stores(folder: Path) -> list[FeatureStore]:
    """Return the stores in a folder, which may be one itself."""
    found = sorted(folder.glob(f"*/{INDEX}"))
    return [open_store(index.parent) for index in (folder / INDEX, *found) if index.exists()]


def _explain(held: list[FeatureStore], wanted: Content, path: Path) -> str:
    """Say where features go, and why those that are stored do not serve."""
    told = f"features of {wanted.data} are written to '{path}'"
    if not held:
        return told
    reasons = []
    for store in held:
        wrong = differences(store.content, wanted)
        if wanted.patches and not store.has_patches:
            wrong.append("patches (CLS alone, wanted CLS and patches)")
        reasons.append((len(wrong), f"those in '{store.path}' differ in {', '.join(wrong)}"))
    return f"{told}: {min(reasons)[1]}"
