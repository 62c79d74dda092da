"""What a person wrote into a release's card or its companions: kept before they are written anew, or taken away."""

from __future__ import annotations

from hashlib import sha256

from codelib.core.store import Store, Workspace
from codelib.data.release import INCOMPLETE

RELEASED = "released.json"  # what the release was made of: not in it, since it tells of the export's files and times


def keep_edited(store: Store, workspace: Workspace) -> None:
    """Copy to WORKSPACE/edited what somebody wrote into the last release's card or its companions: this build writes them anew."""
    if store.exists(INCOMPLETE) or not workspace.private.exists(RELEASED):
        return  # a build that was killed had kept them before it wrote anything
    written = workspace.private.read_json(RELEASED).get("documents", {})
    texts = {name: store.read(name) for name in written if store.exists(name)}
    edited = sorted(name for name, text in texts.items() if sha256(text).hexdigest() != written[name])
    for name in edited:
        workspace.public.commit(f"edited/{name}", texts[name])
    if edited:
        print(
            f"note: {', '.join(edited)} of the last release were changed by hand; they are written anew, and yours are kept in "
            f"{workspace.public.root}/edited. What dataset.card in the recipe says stays from build to build"
        )
