"""The split of jobs.dataset as a user meets it: what is linked stays together, what leaks in a grown export fails the release."""

import io
import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from codelib.core.stage import manifest_parts, read_part
from codelib.core.store import Store
from tests.here import run
from tests.jobs import tree, with_key

PLAIN = ("--set", "partition_visits=4", "--set", "images.screens={text: 'off', faces: 'off', documents: 'off'}")
DRAWN = (*PLAIN, "--set", "split.test_size=4", "--set", "split.validation_size=3", "--set", "split.spectrum_test_size=4")
PHRASES = (
    *(
        "牙龈红肿",
        "探诊出血",
        "叩诊疼痛",
        "冷刺激敏感",
        "牙石二度",
        "咬合面龋洞",
        "牙体变色",
        "对颌牙伸长",
        "黏膜未见异常",
        "根尖区低密度影",
    ),
    *(
        "牙槽骨水平吸收",
        "开口度正常",
        "充填体边缘密合",
        "前牙拥挤",
        "后牙反颌",
        "颞下颌关节无弹响",
        "舌侧可见裂纹",
        "牙髓活力迟钝",
    ),
)
NAMES = ("深龋", "牙龈炎", "错颌畸形", "牙髓炎", "牙列缺损", "楔状缺损")


def picture(seed: int) -> Image.Image:
    """Smooth shapes that no other seed resembles."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)).resize((640, 480), Image.Resampling.BICUBIC)


def put(path: Path, image: Image.Image, quality: int = 92) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    path.write_bytes(buffer.getvalue())


def folder(export: Path, patient: int) -> Path:
    return export / "batch" / f"患者{patient:04d}-40-女" / "2022-03-05 09.30"


def record(patient: int) -> dict[str, str]:
    rng = random.Random(patient)
    return {
        "患者": f"{patient:04d}",
        "时间": "2022-03-05 09:30",
        "主诉": "要求检查",
        "病历": "初诊",
        "检查": "，".join(rng.sample(PHRASES, 7)),
        "X线检查示": "，".join(rng.sample(PHRASES, 3)),
        "诊断": NAMES[patient % 6],
        "治疗方案": "，".join(rng.sample(PHRASES, 3)),
        "医嘱": "不适随诊",
    }


def write_sheet(export: Path, records: list[dict[str, str]]) -> None:
    sheet = export / "batch" / "2022牙科数据_电子病历" / "牙科病历.jsonl"
    sheet.parent.mkdir(parents=True, exist_ok=True)
    sheet.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")


def clinic(export: Path, patients: range) -> list[dict[str, str]]:
    """A clinic of one visit and two photographs a patient, all unlike."""
    for patient in patients:
        for number in (1, 2):
            put(folder(export, patient) / "照片" / f"{number}.jpg", picture(10 * patient + number))
    records = [record(patient) for patient in patients]
    write_sheet(export, records)
    return records


def sides(workspace: Path) -> dict[int, tuple[str, str, str]]:
    """patient as in the export -> (checkup id, split, spectrum)."""
    public, private = Store(str(workspace)), Store(str(workspace / "private"))
    records = [r for p in manifest_parts(private, "records") for r in read_part(p).to_pylist()]
    source = {r["visit_key"]: int(r["patient"].removeprefix("患者")) for r in records}
    rows = [r for p in manifest_parts(public, "split") for r in read_part(p).to_pylist()]
    return {source[r["visit_key"]]: (r["checkup_id"], r["split"], r["spectrum"]) for r in rows}


def by_side(workspace: Path) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for patient, (_, split, _) in sorted(sides(workspace).items()):
        found.setdefault(split, []).append(patient)
    return found


def audit(workspace: Path) -> dict:
    return json.loads((workspace / "split-audit.json").read_text(encoding="utf-8"))


def test_planted_leaks_fail_a_release_that_stays_as_it_was(cluster, tmp_path):
    export, workspace = tmp_path / "export", with_key(tmp_path / "work")
    records = clinic(export, range(1, 31))
    run("dataset", "--input", export, "--workspace", workspace, *DRAWN)
    before, release = sides(workspace), tree(workspace / "release")
    assert audit(workspace)["passed"]
    found = by_side(workspace)
    assert {side: len(patients) for side, patients in found.items()} == {"train": 23, "validation": 3, "test": 4}
    test, train, held = found["test"][0], found["train"][0], found["validation"][0]

    # a photograph of a test patient, smaller and re-encoded, comes to lie in the old visit of a training patient; a test patient's report,
    # a word longer, in the record of a validation patient
    plant = folder(export, train) / "照片" / "3.jpg"
    put(plant, picture(10 * test + 1).resize((520, 390)), 60)
    copied = {**next(r for r in records if int(r["患者"]) == test), "患者": f"{held:04d}"}
    copied["治疗方案"] += "，定期复查"
    write_sheet(export, [copied if int(r["患者"]) == held else r for r in records])
    said = run("dataset", "--input", export, "--workspace", workspace, *DRAWN, code=1)
    assert said.strip().splitlines()[-1].startswith("failed: the split leaks, so nothing new is released"), said
    for words in (
        f"1 near-duplicate pictures across sides ({before[test][0]} in test, {before[train][0]} in train)",
        f"1 checkups whose report was copied across sides ({before[test][0]} in test, {before[held][0]} in validation)",
        "queue/image-answers.csv",
        "split.audit.report_min_chars",
    ):
        assert words in said
    leaks = audit(workspace)["six_class"]["fails"]
    assert leaks["near_pictures"]["codes"] == [[before[test][0], "test", before[train][0], "train"]]
    assert leaks["reports"]["codes"] == [[before[test][0], "test", before[held][0], "validation"]]
    assert tree(workspace / "release") == release
    assert sides(workspace) == before

    # the ways out: the picture goes; the report is taken for a stereotype
    plant.unlink()
    loose = (*DRAWN, "--set", "split.audit.report_similarity=1")
    run("dataset", "--input", export, "--workspace", workspace, *loose, "--reconfigure")
    assert sides(workspace) == before  # an audit's threshold moves nobody

    # an old decision put a second visit of a test patient into training: what a by-checkup split does
    put(folder(export, test).parent / "2023-03-05 09.30" / "照片" / "1.jpg", picture(9001))
    second = {**record(900), "患者": f"{test:04d}", "时间": "2023-03-05 09:30"}
    write_sheet(export, [*records, second])
    run("dataset", "--input", export, "--workspace", workspace, *loose)
    code = before[test][0].split("-")[0]
    store = Store(str(workspace))
    for part in manifest_parts(store, "split"):
        table = read_part(part)
        if f"{code}-002" in table["checkup_id"].to_pylist():
            rows = [r | {"split": "train"} if r["checkup_id"] == f"{code}-002" else r for r in table.to_pylist()]
            store.commit_table(part.name, pa.Table.from_pylist(rows, schema=table.schema))
    said = run("dataset", "--input", export, "--workspace", workspace, *loose, code=1)
    assert f"six_class: 1 patients on two sides ({code})" in said


def test_what_is_alike_is_drawn_together_and_grows_together(cluster, tmp_path):
    export, workspace = tmp_path / "export", with_key(tmp_path / "work")
    records = clinic(export, range(1, 31))
    for one in range(1, 10, 2):  # like photographs in pairs of patients, and one report in three records
        put(folder(export, one) / "照片" / "3.jpg", picture(10 * (one + 1) + 1).resize((520, 390)), 60)
    for copy in (12, 13):
        records[copy - 1] |= {k: v for k, v in records[10].items() if k not in ("患者", "诊断")}
    write_sheet(export, records)
    run("dataset", "--input", export, "--workspace", workspace, *DRAWN)
    first = sides(workspace)
    assert audit(workspace)["kept_together"] | {"patients_in_the_largest": 3} == audit(workspace)["kept_together"]
    assert audit(workspace)["kept_together"]["groups_of_several_patients"] == 6
    for group in (*((n, n + 1) for n in range(1, 10, 2)), (11, 12, 13)):
        assert len({first[n][1:] for n in group}) == 1, group
        assert first[group[0]][1] == "train"  # single patients are drawn before linked ones

    # new patients: one whose photograph is a test patient's, one whose photographs are of both sides
    found = by_side(workspace)
    clinic(export, range(31, 34))
    put(folder(export, 31) / "照片" / "3.jpg", picture(10 * found["test"][0] + 2).resize((520, 390)), 60)
    put(folder(export, 32) / "照片" / "3.jpg", picture(10 * found["test"][0] + 1).resize((520, 390)), 60)
    put(folder(export, 32) / "照片" / "4.jpg", picture(10 * found["train"][-1] + 1).resize((520, 390)), 60)
    write_sheet(export, [*records, *(record(n) for n in range(31, 34))])
    run("dataset", "--input", export, "--workspace", workspace, *DRAWN)
    now = sides(workspace)
    assert {n: now[n] for n in first} == first
    assert now[31][1] in ("test", "excluded")
    assert now[32][1] == "excluded"
    assert now[33][1] == "train"
    assert audit(workspace)["passed"]
    with (workspace / "release" / "complete-dataset.csv").open(encoding="utf-8") as table:
        assert sum(line.rstrip().endswith(",validation") for line in table) == 3
    training = json.loads((workspace / "release" / "train-cls.json").read_text(encoding="utf-8"))
    held = {now[n][0] for n in found["validation"]}
    assert held <= {row["images"][0].rsplit("/", 1)[1][:8] for row in training}
