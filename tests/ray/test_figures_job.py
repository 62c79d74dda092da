"""The stages `statistics` and `figures` on a real Ray: the same files whatever the partitions and CPUs, and only what changed is drawn again."""

import pytest

from codelib.contracts import ANNOTATED, SPLIT
from codelib.core.stage import Part, Work, run
from codelib.core.store import Store, Workspace
from codelib.data import figures
from codelib.data.release import run_writing
from codelib.data.settings import DatasetSettings
from codelib.data.stages import Stages
from tests.jobs import tree, with_key
from tests.unit.test_figures import clinic, tables

SETTINGS = DatasetSettings()


def parts_of(store: Store, visits: list[dict], size: int) -> list[tuple[Part, Part]]:
    """Committed ANNOTATED and SPLIT partitions of so many visits each."""
    found = []
    for start in range(0, len(visits), size):
        pair = []
        for contract, table in zip((ANNOTATED, SPLIT), tables(visits[start : start + size]), strict=True):
            part = Part(f"{contract.name}-{size}-{start}-{len(table)}", contract.name, store.root, len(table), {"ok": len(table)})
            store.commit_table(part.name, table)
            pair.append(part)
        found.append((pair[0], pair[1]))
    return found


def release_figures(workspace: Workspace, pairs: list[tuple[Part, Part]]) -> dict[str, str]:
    stages = Stages(workspace, Store(workspace.public.path("export")), SETTINGS, frozenset())
    counted = run(stages.statistics, [Work(pair) for pair in pairs], workspace.public)
    work = figures.figures_work(figures.add_up(counted, SETTINGS.figures), SETTINGS.figures, True, False)
    return run_writing(stages.figures, work, figures.FOLDER, workspace.public, stages.release_store, workspace.private)


@pytest.mark.usefixtures("cluster")
def test_the_cut_changes_nothing_and_only_what_is_new_is_drawn(tmp_path, capfd):
    visits = clinic()
    one, other = (Workspace.at(str(with_key(tmp_path / name))) for name in ("one", "other"))
    sums = release_figures(one, parts_of(one.public, visits, 7))
    assert release_figures(other, parts_of(other.public, visits, 60)) == sums
    folder = tmp_path / "one" / "release" / "figures"
    drawn = tree(folder)
    assert {f"figures/{name}": digest for name, digest in drawn.items()} == sums
    assert tree(tmp_path / "other" / "release" / "figures") == drawn

    capfd.readouterr()
    release_figures(one, parts_of(one.public, visits, 7))
    assert capfd.readouterr().out.count("nothing new") == 2

    (folder / "age.svg").unlink()
    (folder / "left_behind.png").write_bytes(b"of an older version")
    release_figures(one, parts_of(one.public, visits, 7))
    assert tree(folder) == drawn

    capfd.readouterr()
    older = [v | {"age": 80} if v["patient_id"] == "0003" else v for v in visits]
    release_figures(one, _renamed(one.public, older))
    assert {name for name, digest in tree(folder).items() if drawn[name] != digest} == {
        *("age.csv", "age.svg", "age.png", "overview.svg", "overview.png", "summary.csv", "summary.md")
    }


def _renamed(store: Store, visits: list[dict]) -> list[tuple[Part, Part]]:
    """The same cut under other keys: their content is another."""
    found = []
    for annotated, split in parts_of(store, visits, 7):
        new = Part(f"new-{annotated.key}", annotated.stage, store.root, annotated.rows, annotated.counts)
        store.commit_table(new.name, store.read_table(annotated.name))
        found.append((new, split))
    return found
